import numpy as np
import pytest
from hypothesis import given

from concept_icd.metrics import rank_errors_at_recall, ranking_metrics
from tests.metrics.strategies import distinct, tied

GOLD = np.array([[1, 0, 1, 1, 0, 0, 0, 0, 1, 0]])  # gold at ranks 1, 3, 4, 9
SCORES = np.arange(10, 0, -1)[None, :].astype(float)
QUARTERS = (0.25, 0.5, 0.75, 1.0)


def test_both_forms_by_hand():
    assert list(rank_errors_at_recall(GOLD, SCORES, QUARTERS).values()) == [0, 1, 1, 5]
    assert list(rank_errors_at_recall(GOLD, SCORES, QUARTERS, mode="interp").values()) == [0.75, 1, 2, 5]


def test_names_and_percentages():
    found = rank_errors_at_recall(GOLD, SCORES, QUARTERS)
    assert list(found) == ["rank_errors_at_25", "rank_errors_at_50", "rank_errors_at_75", "rank_errors_at_100"]
    assert rank_errors_at_recall(GOLD, SCORES, (25, 50, 75, 100)) == found
    assert list(rank_errors_at_recall(GOLD, SCORES, [0.07])) == ["rank_errors_at_7"]


@pytest.mark.parametrize("mode", ["step", "interp"])
def test_a_single_gold_code_counts_with_its_rank_less_one(mode):
    found = rank_errors_at_recall([[0, 0, 1]], [[3.0, 2.0, 1.0]], QUARTERS, mode=mode)
    assert list(found.values()) == [2, 2, 2, 2]


def test_float_rounding_does_not_ask_for_one_code_more():
    # 7 % of 100 gold codes are 7 codes, though .07 * 100 is 7.000000000000001; the 8th comes after a wrong one.
    gold = np.ones((1, 101), int)
    gold[0, 7] = 0
    assert rank_errors_at_recall(gold, -np.arange(101.0)[None], [0.07])["rank_errors_at_7"] == 0


@given(distinct())
def test_interp_is_the_difference_of_percentiles(case):
    gold, scores = case
    errors = []
    for truth, score in zip(gold, scores, strict=True):
        ranks = np.flatnonzero(truth[np.argsort(-score)]) + 1
        if ranks.size:
            wanted = np.arange(1, ranks.size + 1)
            errors.append([np.percentile(ranks, q) - np.percentile(wanted, q) for q in (10, 25, 50, 75, 100)])
    found = rank_errors_at_recall(gold, scores, (0.1, 0.25, 0.5, 0.75, 1.0), mode="interp")
    expected = np.mean(errors, axis=0) if errors else [np.nan] * 5
    assert list(found.values()) == pytest.approx(list(expected), nan_ok=True)


@given(tied())
def test_step_is_the_first_rank_that_reaches_the_recall(case):
    gold, scores = case
    recalls = (0.2, 0.25, 1 / 3, 0.5, 0.75, 1.0)
    errors = []
    for truth, score in zip(gold, scores, strict=True):
        hits = np.cumsum(truth[np.argsort(-score, kind="stable")])
        if hits[-1]:
            firsts = [int(np.argmax(hits / hits[-1] >= recall - 1e-12)) for recall in recalls]
            errors.append([first + 1 - hits[first] for first in firsts])
    expected = np.mean(errors, axis=0) if errors else [np.nan] * len(recalls)
    assert list(rank_errors_at_recall(gold, scores, recalls).values()) == pytest.approx(list(expected), nan_ok=True)


@given(tied())
def test_at_full_recall_it_is_coverage_less_the_gold_codes(case):
    gold, scores = case
    if gold.any():
        count = gold.sum(axis=1)
        expected = ranking_metrics(gold, scores)["coverage"] - count[count > 0].mean()
        for mode in ("step", "interp"):
            assert rank_errors_at_recall(gold, scores, [1], mode=mode)["rank_errors_at_100"] == pytest.approx(expected)


@pytest.mark.parametrize("recalls", [[0.0, 0.5], [-0.1], [101]])
def test_a_recall_out_of_range_is_told(recalls):
    with pytest.raises(ValueError, match="recalls lie in"):
        rank_errors_at_recall(GOLD, SCORES, recalls)


def test_another_mode_is_told():
    with pytest.raises(ValueError, match="'step' or 'interp'"):
        rank_errors_at_recall(GOLD, SCORES, QUARTERS, mode="linear")
