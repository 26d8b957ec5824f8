import numpy as np
import pytest

from concept_icd.metrics import area_metrics, level_metrics


def test_each_level_has_its_own_areas():
    labels = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 0]])
    scores = np.array([[2.0, -1.0, 0.5], [-3.0, 4.0, 0.7], [1.0, 0.0, -0.2]])
    found = level_metrics(scores, labels, ["chapter", "chapter", "code"])
    assert list(found) == ["chapter", "code"]
    assert found["chapter"]["micro_auc"] == found["chapter"]["macro_auc"] == 1.0
    assert (found["chapter"]["concepts"], found["chapter"]["positives"]) == (2, 0.5)
    expected = area_metrics(labels[:, 2:], scores[:, 2:])
    assert found["code"]["macro_average_precision"] == expected["macro_average_precision"] == 0.5
    assert found["code"]["macro_auc"] == 0.5


def test_one_level_per_concept():
    with pytest.raises(ValueError, match="2 concepts but 1 levels"):
        level_metrics([[0.1, 0.2]], [[1, 0]], ["code"])
