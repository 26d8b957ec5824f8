"""The looks inside, worked by hand: entropy, ranks, bands of frequency, wards, agreement."""

import numpy as np
import pytest

from concept_icd.models.medications.analyses import (
    agreement,
    entropy,
    entropy_reduction,
    frequency_bands,
    mean_ranks,
    reduction_by_chance,
    ward_rows,
)


def test_entropy_in_bits():
    assert entropy(np.array([0.0, 0.5, 1.0])).tolist() == [0.0, 1.0, 0.0]
    assert entropy(np.array([0.25]))[0] == pytest.approx(0.25 * 2 + 0.75 * np.log2(4 / 3))


def test_entropy_reduction():
    """40 stays in two bins of 20; half of them have each code but the last, which nobody has."""
    outputs = np.arange(40.0)
    told = outputs >= 20
    half = np.concatenate([np.arange(20) < 5, np.arange(20) < 15])  # 5 of the lower bin, 15 of the upper
    gold = np.stack([told, half, told, np.zeros(40, dtype=bool)], axis=1)
    constant = np.zeros(40)
    found = entropy_reduction(gold, np.stack([outputs, outputs, constant, outputs], axis=1), bins=2)
    assert found[:3].tolist() == pytest.approx([1.0, 1 - entropy(np.array([0.25]))[0], 0.0])
    assert np.isnan(found[3])
    # Fewer than 20 stays a bin: fewer bins.
    few = entropy_reduction(gold[:30], np.stack([outputs] * 4, axis=1)[:30], bins=10)
    assert few[1] == pytest.approx(0.0)


def test_chance_reduces_the_entropy_of_rare_codes():
    """One stay of 40 has the first code: whichever bin of 20 it falls in, the same is left. The last one nobody has."""
    gold = np.stack([np.arange(40) == 7, np.arange(40) % 2 == 0, np.zeros(40, dtype=bool)], axis=1)
    found = reduction_by_chance(gold, bins=2, draws=50)
    one, all_stays = entropy(np.array([1 / 20, 1 / 40]))
    assert found[0] == pytest.approx((all_stays - one / 2) / all_stays)
    assert 0 < found[1] < 0.06
    assert np.isnan(found[2])


def test_mean_ranks():
    outputs = np.array([[0.9, 0.5, 0.1], [0.2, 0.8, 0.3], [0.4, 0.4, 0.6]])
    gold = np.array([[True, False, False], [False, True, False], [True, True, False]])
    # Ranks: 1 2 3; 3 1 2; 2 3 1 (a tie goes to the earlier column).
    with_it, without = mean_ranks(gold, outputs)
    assert with_it[:2].tolist() == [1.5, 2.0]
    assert np.isnan(with_it[2])
    assert without.tolist() == [3.0, 2.0, 2.0]


def test_bands_of_frequency():
    def code(train, reduction):
        return {"train": train, "entropy_reduction": reduction, "entropy_reduction_by_chance": 0.1,
                "rank_with": 2.0, "rank_without": 4.0}  # fmt: skip

    bands = frequency_bands([code(0, np.nan), code(1, 0.2), code(9, 0.4), code(1000, 0.6), code(5000, 0.8)])
    assert [(band["from"], band["below"], band["codes"]) for band in bands] == [(0, 1, 1), (1, 10, 2), (1000, None, 2)]
    assert [band["entropy_reduction"] for band in bands[1:]] == pytest.approx([0.3, 0.7])
    assert np.isnan(bands[0]["entropy_reduction"])


def test_wards_and_agreement():
    rows = ward_rows(["medical", None, "newborn", "medical"])
    assert {ward: own.tolist() for ward, own in rows.items()} == {"medical": [0, 3], "newborn": [2], "unknown": [1]}
    assert agreement(np.array([0.1, 0.5, 0.3]), np.array([9.0, 2.0, 4.0])) == pytest.approx(-1.0)
    assert np.isnan(agreement(np.array([0.1, 0.2]), np.array([1.0, 2.0])))
