import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import coverage_error, label_ranking_average_precision_score, ndcg_score

from concept_icd.metrics import ranking_metrics
from concept_icd.metrics.ranking import ranks_of
from tests.metrics.strategies import distinct, tied

# Ten codes in falling score, gold at ranks 1, 3, 4, 9.
GOLD = np.array([[1, 0, 1, 1, 0, 0, 0, 0, 1, 0]])
SCORES = np.arange(10, 0, -1)[None, :].astype(float)


def test_one_note_by_hand():
    found = ranking_metrics(GOLD, SCORES)
    assert found["precision_at_5"] == 3 / 5
    assert found["recall_at_5"] == 3 / 4
    assert found["recall_at_8"] == 3 / 4
    assert found["precision_at_15"] == 4 / 15  # the denominator is k, also where there are fewer codes
    assert found["r_precision"] == 3 / 4
    assert found["map"] == pytest.approx((1 / 1 + 2 / 3 + 3 / 4 + 4 / 9) / 4)
    assert found["coverage"] == 9
    gain = 1 + 1 / np.log2(4) + 1 / np.log2(5) + 1 / np.log2(10)
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4) + 1 / np.log2(5)
    assert found["ndcg"] == found["ndcg_at_15"] == pytest.approx(gain / ideal)
    assert found["ndcg_at_5"] == pytest.approx((gain - 1 / np.log2(10)) / ideal)
    assert [found[f"rank_errors_at_{r}"] for r in (25, 50, 75, 100)] == [0, 1, 1, 5]


def test_the_ceiling_of_precision_is_what_the_gold_codes_allow():
    # Notes with 1, 4 and no gold codes: the first 5 codes hold at most 1/5 and 4/5, the first 2 at most 1/2 and 1.
    gold, scores = np.zeros((3, 10), int), np.vstack([SCORES] * 3)
    gold[0, 9] = 1
    gold[1] = GOLD[0]
    found = ranking_metrics(gold, scores, ks=[2, 5])
    assert found["precision_ceiling_at_5"] == pytest.approx((1 / 5 + 4 / 5) / 2)
    assert found["precision_ceiling_at_2"] == pytest.approx((1 / 2 + 2 / 2) / 2)


@given(tied())
def test_the_ceiling_is_the_precision_of_a_perfect_order(case):
    gold, scores = case
    perfect, found = ranking_metrics(gold, gold, ks=[1, 3]), ranking_metrics(gold, scores, ks=[1, 3])
    for k in (1, 3):
        assert found[f"precision_ceiling_at_{k}"] == pytest.approx(perfect[f"precision_at_{k}"], nan_ok=True)


def test_the_ideal_gain_at_k_stops_at_k():
    assert ranking_metrics(np.ones((1, 6), int), np.arange(6.0)[None], ks=[3])["ndcg_at_3"] == 1.0


def test_a_note_without_gold_codes_is_left_out():
    with_empty = ranking_metrics(np.vstack([GOLD, 0 * GOLD]), np.vstack([SCORES, SCORES]))
    assert with_empty == ranking_metrics(GOLD, SCORES)
    assert all(np.isnan(value) for value in ranking_metrics(0 * GOLD, SCORES).values())


def test_of_two_tied_codes_the_first_column_is_read_first():
    assert ranking_metrics([[1, 0]], [[0.5, 0.5]], ks=[1])["precision_at_1"] == 1.0
    assert ranking_metrics([[0, 1]], [[0.5, 0.5]], ks=[1])["precision_at_1"] == 0.0


@pytest.mark.parametrize("gold_codes", [3, 40], ids=["counted", "sorted"])
def test_few_gold_codes_of_many_and_many_are_ranked_alike(gold_codes):
    """3,000 codes with 50 different scores: each gold code by the definition of `ranks`."""
    rng = np.random.default_rng(gold_codes)
    scores = rng.integers(50, size=(2, 3000)).astype(float)
    gold = np.zeros(scores.shape, dtype=bool)
    for row in range(2):
        gold[row, rng.choice(3000, gold_codes, replace=False)] = True
    expected = [
        1 + int((scores[row] > scores[row, code]).sum() + (scores[row, :code] == scores[row, code]).sum())
        for row, code in zip(*np.nonzero(gold), strict=True)
    ]
    assert ranks_of(scores, *np.nonzero(gold)).tolist() == expected


def test_codes_without_a_score_may_be_minus_infinity():
    assert ranking_metrics([[0, 1, 0]], [[-np.inf, -5.0, -np.inf]])["coverage"] == 1


@given(distinct())
def test_equals_scikit_learn_where_nothing_ties(case):
    gold, scores = case
    found = ranking_metrics(gold, scores)
    kept = gold.any(axis=1)
    if not kept.any():
        return
    gold, scores = gold[kept], scores[kept]
    assert found["ndcg"] == pytest.approx(ndcg_score(gold, scores))
    assert found["ndcg_at_5"] == pytest.approx(ndcg_score(gold, scores, k=5))
    assert found["coverage"] == pytest.approx(coverage_error(gold, scores))
    assert found["map"] == pytest.approx(label_ranking_average_precision_score(gold, scores))


@given(tied())
def test_equals_the_definitions_read_slowly(case):
    gold, scores = case
    found = ranking_metrics(gold, scores, ks=[2])
    rows = []
    for truth, score in zip(gold, scores, strict=True):
        order = sorted(range(len(score)), key=lambda c: (-score[c], c))
        hits = [int(truth[c]) for c in order]
        total = sum(hits)
        if total:
            precision = [sum(hits[: i + 1]) / (i + 1) for i in range(len(hits)) if hits[i]]
            rows.append((sum(hits[:2]) / 2, sum(hits[:2]) / total, sum(hits[:total]) / total, sum(precision) / total))
    expected = np.mean(rows, axis=0) if rows else [np.nan] * 4
    names = ("precision_at_2", "recall_at_2", "r_precision", "map")
    assert [found[name] for name in names] == pytest.approx(list(expected), nan_ok=True)


@pytest.mark.parametrize("ks", [[0], [5, -1]])
def test_k_starts_at_one(ks):
    with pytest.raises(ValueError, match="k starts at 1"):
        ranking_metrics(GOLD, SCORES, ks=ks)
