import numpy as np
import pytest
from hypothesis import given

from concept_icd.metrics import best_threshold, decision_metrics
from tests.metrics.strategies import tied


def test_by_hand():
    # Accepting down to .6 finds both gold codes with one false alarm: F1 .8; down to .9 only one: 2/3.
    assert best_threshold([[1, 0], [1, 0]], [[0.9, 0.7], [0.6, 0.2]]) == 0.6


@given(tied())
def test_no_threshold_is_better(case):
    gold, probabilities = case
    if not gold.any():
        with pytest.raises(ValueError, match="no threshold to choose"):
            best_threshold(gold, probabilities)
        return
    f1 = {t: decision_metrics(gold, probabilities >= t)["micro_f1"] for t in np.unique(probabilities)}
    chosen = best_threshold(gold, probabilities)
    assert f1[chosen] == pytest.approx(max(f1.values()))
    assert chosen == max(t for t in f1 if f1[t] > max(f1.values()) - 1e-12)
