import warnings

import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import auc, average_precision_score, roc_auc_score
from sklearn.metrics import precision_recall_curve as sklearn_curve

from concept_icd.metrics import area_metrics, precision_recall_curve
from tests.metrics.strategies import tied


def test_one_code_by_hand():
    # Falling score: + - + -. Pairs (+, -): the first + wins both, the second one of two: 3/4.
    gold, scores = np.array([[1], [0], [1], [0]]), np.array([[0.9], [0.8], [0.7], [0.6]])
    found = area_metrics(gold, scores)
    assert found["macro_auc"] == pytest.approx(3 / 4)
    assert found["macro_average_precision"] == pytest.approx((1 / 1 + 2 / 3) / 2)
    # Curve (R, P): (0, 1) (.5, 1) (.5, .5) (1, 2/3): trapezoids .5 * 1 and .5 * (1/2 + 2/3) / 2.
    assert found["macro_auprc"] == pytest.approx(0.5 + 0.5 * (1 / 2 + 2 / 3) / 2)


def test_a_tie_counts_one_half():
    assert area_metrics([[1], [0]], [[0.3], [0.3]])["micro_auc"] == 0.5


def test_the_trapezoid_and_average_precision_part_where_everything_ties():
    found = area_metrics([[1], [0], [0], [0]], [[0.5]] * 4)
    assert found["micro_average_precision"] == 0.25
    assert found["micro_auprc"] == (1 + 0.25) / 2


def test_macro_leaves_out_codes_without_gold_and_micro_does_not():
    gold, scores = np.array([[1, 0], [0, 0]]), np.array([[0.9, 0.95], [0.1, 0.2]])
    found = area_metrics(gold, scores)
    assert found["macro_auc"] == 1.0
    assert found["micro_auc"] == pytest.approx(2 / 3)


def test_undefined_everywhere_is_nan():
    assert all(np.isnan(value) for value in area_metrics([[0, 0]], [[0.1, 0.2]]).values())
    everything_gold = area_metrics([[1, 1]], [[0.1, 0.2]])
    assert np.isnan(everything_gold["micro_auc"])
    assert everything_gold["micro_average_precision"] == 1.0


@given(tied())
def test_equals_scikit_learn(case):
    gold, scores = case
    found = area_metrics(gold, scores)
    columns = [(gold[:, c], scores[:, c]) for c in range(gold.shape[1])]
    _same(found["micro_auc"], _auc(gold.ravel(), scores.ravel()))
    _same(found["macro_auc"], _mean([_auc(*column) for column in columns]))
    for name, reference in (("average_precision", average_precision_score), ("auprc", _trapezoid)):
        with_gold = [reference(*column) for column in columns if column[0].any()]
        _same(found[f"macro_{name}"], _mean(with_gold))
        _same(found[f"micro_{name}"], reference(gold.ravel(), scores.ravel()) if gold.any() else np.nan)


@given(tied())
def test_the_curve_is_scikit_learns(case):
    gold, scores = case
    recall, precision = precision_recall_curve(gold, scores)
    if not gold.any():
        assert recall.size == 0
        return
    expected_precision, expected_recall, _ = sklearn_curve(gold.ravel(), scores.ravel())
    expected = set(zip(expected_recall.round(9), expected_precision.round(9), strict=True))
    assert set(zip(recall.round(9), precision.round(9), strict=True)) <= expected
    assert recall[-1] == 1.0
    assert set(recall.round(9)) == set(expected_recall.round(9)) - {0.0}


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    random = np.random.default_rng(0)
    gold, scores = random.random((500, 10)) < 0.3, random.random((500, 10))
    recall, _ = precision_recall_curve(gold, scores, points=50)
    assert recall.size == 50
    assert (recall[0], recall[-1]) == (1 / gold.sum(), 1.0)


def _auc(gold, scores):
    return roc_auc_score(gold, scores) if 0 < gold.sum() < gold.size else np.nan


def _trapezoid(gold, scores):
    precision, recall, _ = sklearn_curve(gold, scores)
    return auc(recall, precision)


def _mean(values):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(values) if values else np.nan


def _same(found, expected):
    assert found == pytest.approx(expected, nan_ok=True)
