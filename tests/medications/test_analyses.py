"""The looks inside, worked by hand: entropy, ranks, bands of frequency, wards, agreement."""

import numpy as np
import pytest

from concept_icd.medications.study.figures import (
    agreement,
    binned_entropy_reduction,
    entropy,
    entropy_reduction,
    frequency_bands,
    mean_over_draws,
    median_ranks,
    reduction_by_chance,
    ward_rows,
)


def test_entropy_in_bits():
    assert entropy(np.array([0.0, 0.5, 1.0])).tolist() == [0.0, 1.0, 0.0]
    assert entropy(np.array([0.25]))[0] == pytest.approx(0.25 * 2 + 0.75 * np.log2(4 / 3))


def test_entropy_reduction():
    """Nearest-neighbour information (Ross 2014) by hand, k = 1, over the entropy in the full data."""
    outputs = np.array([0.0, 1.0, 3.0, 7.0, 15.0, 31.0])[:, None]
    gold = np.array([False, False, True, False, True, True])[:, None]
    # The nearest of the same kind lies 1, 1, 12, 6, 12, 16 away; nearer than that are 1, 1, 4, 2, 2, 1 stays, itself
    # among them. With psi(n) = 1 + 1/2 + ... + 1/(n - 1) - gamma: I = psi(6) + psi(1) - psi(3) - mean psi of these.
    information = (1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) + 0 - (1 + 1 / 2) - (0 + 0 + (1 + 1 / 2 + 1 / 3) + 1 + 1 + 0) / 6
    assert information == pytest.approx(0.14444, abs=1e-5)
    for share in (0.5, 0.1):
        nats = -share * np.log(share) - (1 - share) * np.log(1 - share)
        assert entropy_reduction(gold, outputs, np.array([share]), neighbours=1) == pytest.approx([information / nats])
    assert entropy_reduction(gold, outputs, np.array([0.001]), neighbours=1).tolist() == [1.0]  # clipped
    assert np.isnan(entropy_reduction(gold, outputs, np.array([0.0]))[0])
    assert np.isnan(entropy_reduction(gold[1:3], outputs[1:3], np.array([0.5]))[0])  # nobody has a neighbour
    # One output for everybody tells (next to) nothing; as many neighbours as there are is enough.
    assert entropy_reduction(gold, np.zeros((6, 1)), np.array([0.5]), neighbours=9)[0] < 0.3


def test_binned_entropy_reduction():
    """40 stays in two bins of 20; half of them have each code but the last, which nobody has."""
    outputs = np.arange(40.0)
    told = outputs >= 20
    half = np.concatenate([np.arange(20) < 5, np.arange(20) < 15])  # 5 of the lower bin, 15 of the upper
    gold = np.stack([told, half, told, np.zeros(40, dtype=bool)], axis=1)
    constant = np.zeros(40)
    found = binned_entropy_reduction(gold, np.stack([outputs, outputs, constant, outputs], axis=1), bins=2)
    assert found[:3].tolist() == pytest.approx([1.0, 1 - entropy(np.array([0.25]))[0], 0.0])
    assert np.isnan(found[3])
    # Fewer than 20 stays a bin: fewer bins.
    few = binned_entropy_reduction(gold[:30], np.stack([outputs] * 4, axis=1)[:30], bins=10)
    assert few[1] == pytest.approx(0.0)


def test_chance_reduces_the_entropy_of_rare_codes():
    """One stay of 40 has the first code: whichever bin of 20 it falls in, the same is left. The last one nobody has."""
    gold = np.stack([np.arange(40) == 7, np.arange(40) % 2 == 0, np.zeros(40, dtype=bool)], axis=1)
    found = reduction_by_chance(gold, bins=2, draws=50)
    one, all_stays = entropy(np.array([1 / 20, 1 / 40]))
    assert found[0] == pytest.approx((all_stays - one / 2) / all_stays)
    assert 0 < found[1] < 0.06
    assert np.isnan(found[2])


def test_median_ranks():
    outputs = np.array([[0.9, 0.5, 0.1], [0.2, 0.8, 0.3], [0.4, 0.4, 0.6], [0.5, 0.1, 0.2], [0.8, 0.9, 0.7]])
    gold = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 0], [1, 0, 0]], dtype=bool)
    # Ranks: 1 2 3; 3 1 2; 2 3 1 (a tie goes to the earlier column); 1 3 2; 2 1 3.
    with_it, without = median_ranks(gold, outputs)
    assert with_it[:2].tolist() == [2.0, 3.0]  # of 1 2 2, where the mean is 5/3; of 1 3 3
    assert np.isnan(with_it[2])
    assert without.tolist() == [2.0, 1.5, 2.0]  # of 3 1; 2 1; 3 2 1 2 3


def test_figures_of_codes_are_means_over_the_draws():
    def code(name, rank, told, train):
        others = dict.fromkeys(("binned_entropy_reduction", "binned_entropy_reduction_by_chance", "rank_without"), 2.0)
        return {"code": name, "level": "code", "train": train, "test": 1, "rank_with": rank, "entropy_reduction": told,
                **others}  # fmt: skip

    draws = [[code("a", 4.0, 0.5, 10), code("b", 7.0, None, 3)], [code("a", 6.0, None, 20)], [code("a", 11.0, 0.1, 30)]]
    first, second = mean_over_draws(draws)
    assert (first["code"], first["rank_with"], first["entropy_reduction"], first["train"]) == ("a", 7.0, 0.3, 20.0)
    assert (second["rank_with"], second["entropy_reduction"]) == (7.0, None)


def test_bands_of_frequency():
    def code(train, reduction):
        return {"train": train, "entropy_reduction": reduction, "binned_entropy_reduction": 0.2,
                "binned_entropy_reduction_by_chance": 0.1, "rank_with": 2.0, "rank_without": 4.0}  # fmt: skip

    bands = frequency_bands([code(0, np.nan), code(1, 0.2), code(9, 0.4), code(1000, 0.6), code(5000, 0.8)])
    assert [(band["from"], band["below"], band["codes"]) for band in bands] == [(0, 1, 1), (1, 10, 2), (1000, None, 2)]
    assert [band["entropy_reduction"] for band in bands[1:]] == pytest.approx([0.3, 0.7])
    assert np.isnan(bands[0]["entropy_reduction"])


def test_wards_and_agreement():
    rows = ward_rows(["medical", None, "newborn", "medical"])
    assert {ward: own.tolist() for ward, own in rows.items()} == {"medical": [0, 3], "newborn": [2], "unknown": [1]}
    assert agreement(np.array([0.1, 0.5, 0.3]), np.array([9.0, 2.0, 4.0])) == pytest.approx(-1.0)
    assert np.isnan(agreement(np.array([0.1, 0.2]), np.array([1.0, 2.0])))
