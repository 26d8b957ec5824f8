import numpy as np
import pytest

from concept_icd.metrics import (
    calibration_metrics,
    classification_metrics,
    decision_metrics,
    level_metrics,
    rank_errors_at_recall,
    ranking_metrics,
)

EVERY_METRIC = [
    classification_metrics,
    ranking_metrics,
    lambda gold, scores: rank_errors_at_recall(gold, scores, [0.5]),
    calibration_metrics,
    lambda gold, scores: level_metrics(scores, gold, ["code", "code"]),
]


@pytest.mark.parametrize("metric", EVERY_METRIC)
@pytest.mark.parametrize(
    ("gold", "scores", "message"),
    [
        ([[1, 0]], [[0.1, 0.2, 0.3]], "shape"),
        ([1, 0], [0.1, 0.2], r"must be \(notes, codes\)"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "at least one of each"),
        ([[2, 0]], [[0.1, 0.2]], "other than 0 and 1"),
        ([["428.0", "V3001"]], [[0.1, 0.2]], "other than 0 and 1"),
        ([[1, 0]], [[0.1, np.nan]], "note 0, code 1 is NaN"),
    ],
)
def test_bad_matrices_are_told(metric, gold, scores, message):
    with pytest.raises(ValueError, match=message):
        metric(gold, scores)


@pytest.mark.parametrize("metric", [classification_metrics, calibration_metrics])
def test_logits_are_not_taken_for_probabilities(metric):
    with pytest.raises(ValueError, match="apply the sigmoid first"):
        metric([[1, 0]], [[-3.0, 2.0]])


def test_decisions_are_zero_or_one():
    with pytest.raises(ValueError, match="decisions holds values other"):
        decision_metrics([[1, 0]], [[0.3, 0.7]])
    with pytest.raises(ValueError, match="shape"):
        decision_metrics([[1, 0]], [[1, 0, 1]])


def test_the_inputs_are_left_as_they_were():
    gold, scores = np.array([[1, 0, 1]]), np.array([[0.2, 0.9, 0.1]])
    for metric in (classification_metrics, ranking_metrics, calibration_metrics):
        metric(gold, scores)
    assert (gold.tolist(), scores.tolist()) == ([[1, 0, 1]], [[0.2, 0.9, 0.1]])
