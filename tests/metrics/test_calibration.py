from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from concept_icd.metrics import calibration_metrics, equal_count_bins
from tests.metrics.strategies import distinct, tied


def test_two_bins_by_hand():
    # Equal count: {.1, .2} with one positive of two, {.6, .9} with two of two.
    gold, probabilities = np.array([[0, 1], [1, 1]]), np.array([[0.1, 0.2], [0.6, 0.9]])
    found = calibration_metrics(gold, probabilities, bins=2)
    assert found["ece_positive"] == pytest.approx((2 * abs(0.5 - 0.15) + 2 * abs(1 - 0.75)) / 4)
    assert found["mce_positive"] == pytest.approx(0.35)
    # Confidence of the predicted side: {.6 right, .8 wrong} and {.9 right, .9 right}.
    assert found["ece"] == pytest.approx((2 * abs(0.5 - 0.7) + 2 * abs(1 - 0.9)) / 4)
    assert found["mce"] == pytest.approx(0.2)
    assert found["brier"] == pytest.approx((0.01 + 0.64 + 0.16 + 0.01) / 4)


def test_equal_count_and_equal_width_are_different_numbers():
    gold, probabilities = np.array([[0, 0, 0, 1]]), np.array([[0.1, 0.2, 0.3, 0.9]])
    found = calibration_metrics(gold, probabilities, bins=2)
    assert found["ece_positive"] == pytest.approx((2 * 0.15 + 2 * abs(0.5 - 0.6)) / 4)
    assert found["ece_equal_width"] == pytest.approx((3 * 0.2 + 1 * 0.1) / 4)
    assert found["mce_equal_width"] == pytest.approx(0.2)


def test_pairs_above_one_percent_are_told_apart():
    gold, probabilities = np.array([[0] * 98 + [1, 0]]), np.array([[0.001] * 98 + [0.5, 0.5]])
    found = calibration_metrics(gold, probabilities, bins=1)
    assert found["ece_above_1_percent"] == 0.0
    assert found["brier_above_1_percent"] == 0.25
    assert found["brier"] == pytest.approx((98 * 1e-6 + 2 * 0.25) / 100)
    assert np.isnan(calibration_metrics([[0, 1]], [[0.0, 0.01]])["ece_above_1_percent"])


def test_sure_and_right_is_zero():
    found = calibration_metrics([[0, 1]], [[0.0, 1.0]])
    assert [found[name] for name in ("ece", "mce", "ece_positive", "mce_positive", "brier")] == [0] * 5


@pytest.mark.parametrize(
    ("gold", "probabilities", "bins", "ece", "mce"),
    [  # the test cases of the study's released code, as columns (1 - p, p) there
        ([1] * 50 + [0] * 50, [0.5] * 100, 1, 0.0, 0.0),
        ([1] * 50 + [0] * 50, [0.0] * 100, 1, 0.5, 0.5),
        ([1] * 50 + [0] * 50, [0.1] * 100, 1, 0.4, 0.4),
        ([1] * 50 + [0] * 50, [0.9] * 50 + [0.7] * 50, 2, 0.4, 0.7),
    ],
)
def test_the_cases_of_the_study(gold, probabilities, bins, ece, mce):
    found = calibration_metrics([gold], [probabilities], bins=bins)
    assert (found["ece"], found["mce"]) == pytest.approx((ece, mce))


def test_sides_make_up_for_each_other_in_the_confidence_alone():
    gold, probabilities = np.array([[0, 0, 1, 0]]), np.array([[0.25, 0.25, 0.75, 0.75]])
    found = calibration_metrics(gold, probabilities, bins=1)
    assert found["ece"] == 0  # three of four right at a confidence of .75
    assert calibration_metrics(gold, probabilities, bins=2)["ece_positive"] == 0.25


def test_bins_of_confidence_equal_the_study_s_reading_of_equal_count():
    rng = np.random.default_rng(5)
    probabilities = np.concatenate([rng.beta(0.1, 2, 700), rng.integers(0, 6, 333) / 5])  # 1,033 pairs, ties, 0 and 1
    gold = rng.random(1033) < probabilities**0.7
    for bins in (1, 2, 10, 100, 500, 1033):
        confidence, right = np.maximum(probabilities, 1 - probabilities), (probabilities > 0.5) == gold
        ordered, size = np.sort(confidence), 1033 // bins  # the last bin has what is left over
        middles = [(ordered[b * size - 1] + ordered[b * size]) / 2 for b in range(1, bins)]
        bounds = [0.5, *middles, 1.0, np.inf]
        inside = [(low <= confidence) & (confidence < high) for low, high in pairwise(bounds)]
        inside = [members for members in inside if members.any()]
        gaps = [abs(right[members].mean() - confidence[members].mean()) for members in inside]
        found = calibration_metrics([gold], [probabilities], bins=bins)
        assert found["mce"] == pytest.approx(max(gaps))
        assert found["ece"] == pytest.approx(np.average(gaps, weights=[members.sum() for members in inside]))


def test_more_bins_than_pairs_is_a_bin_a_pair():
    found = calibration_metrics([[0, 1, 1]], [[0.1, 0.3, 0.8]])
    assert found["ece"] == pytest.approx((0.1 + 0.7 + 0.2) / 3)


@given(tied())
def test_the_order_of_notes_does_not_matter(case):
    gold, probabilities = case
    there, back = (calibration_metrics(gold[::step], probabilities[::step], bins=5) for step in (1, -1))
    assert there == pytest.approx(back, nan_ok=True)


@given(distinct())
def test_bins_of_equal_count_are_scikit_learns_quantiles(case):
    gold, probabilities = case
    bins = min(4, gold.size)
    found = equal_count_bins(gold.ravel().astype(bool), probabilities.ravel(), bins)
    assert found.pairs.sum() == gold.size
    assert found.pairs.max() - found.pairs.min() <= 1
    if gold.size % bins == 0:
        truth, confidence = calibration_curve(gold.ravel(), probabilities.ravel(), n_bins=bins, strategy="quantile")
        assert list(found.accuracy) == pytest.approx(list(truth))
        assert list(found.confidence) == pytest.approx(list(confidence))


@given(tied())
def test_equal_width_equals_a_slow_reading(case):
    gold, probabilities = case
    pairs = list(zip(gold.ravel(), probabilities.ravel(), strict=True))
    gaps = []
    for b in range(10):
        inside = [(y, p) for y, p in pairs if b / 10 <= p < (b + 1) / 10 or (b == 9 and p == 1)]
        if inside:
            gaps.append((len(inside), abs(np.mean([y for y, _ in inside]) - np.mean([p for _, p in inside]))))
    found = calibration_metrics(gold, probabilities, bins=10)
    assert found["ece_equal_width"] == pytest.approx(sum(n * gap for n, gap in gaps) / len(pairs))
    assert found["mce_equal_width"] == pytest.approx(max(gap for _, gap in gaps))
    assert found["brier"] == pytest.approx(brier_score_loss(gold.ravel(), probabilities.ravel(), pos_label=1))


@given(tied(), st.integers(1, 40))
def test_bins_of_equal_count_equal_a_slow_reading(case, bins):
    gold, probabilities = case
    members: dict[int, list[int]] = {}
    ordered = sorted(probabilities.ravel())
    for pair, p in enumerate(probabilities.ravel()):  # a pair goes where the first of its tie goes
        members.setdefault(ordered.index(p) * bins // len(ordered), []).append(pair)
    inside = [members[b] for b in sorted(members)]
    found = equal_count_bins(gold.ravel().astype(bool), probabilities.ravel(), bins)
    assert found.pairs.tolist() == [len(pairs) for pairs in inside]
    assert list(found.accuracy) == pytest.approx([gold.ravel()[pairs].mean() for pairs in inside])
    assert list(found.confidence) == pytest.approx([probabilities.ravel()[pairs].mean() for pairs in inside])


def test_at_least_one_bin():
    with pytest.raises(ValueError, match="at least one bin"):
        calibration_metrics([[0, 1]], [[0.0, 1.0]], bins=0)
