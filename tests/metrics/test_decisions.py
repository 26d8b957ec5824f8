import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from concept_icd.metrics import area_metrics, classification_metrics, decision_metrics, level_metrics
from tests.metrics.strategies import tied


def test_the_two_macro_f1s_differ_on_the_textbook_case():
    # Code A: 10 gold, 1 accepted and right (P 1, R .1). Code B: 1 gold, 10 accepted, 1 right (P .1, R 1).
    gold, accepted = np.zeros((11, 2), int), np.zeros((11, 2), int)
    gold[:10, 0], accepted[0, 0] = 1, 1
    gold[0, 1], accepted[:10, 1] = 1, 1
    found = decision_metrics(gold, accepted)
    assert found["macro_f1"] == pytest.approx(2 / 11)  # .182
    assert found["macro_f1_caml"] == pytest.approx(0.55)
    assert found["micro_f1"] == pytest.approx(2 * 2 / (2 * 2 + 9 + 9))
    assert found["exact_match"] == pytest.approx(2 / 11)  # the first note (both right) and the last (both empty)


def test_a_code_without_gold_lowers_macro_f1_but_not_the_present_one():
    gold = np.array([[1, 0], [1, 0]])
    found = decision_metrics(gold, gold)
    assert (found["macro_f1"], found["macro_f1_present"], found["micro_f1"]) == (0.5, 1.0, 1.0)
    assert found["macro_f1_caml"] == 0.5  # P and R are 1 and 0 over the two codes


def test_nothing_accepted_is_zero_not_nan():
    found = decision_metrics([[1, 0]], [[0, 0]])
    assert set(found.values()) == {0.0}


def test_the_threshold_itself_is_accepted():
    at, above = (
        classification_metrics([[1, 0]], [[0.3, 0.1]], 0.3),
        classification_metrics([[1, 0]], [[0.3, 0.1]], 0.31),
    )
    assert (at["micro_f1"], above["micro_f1"]) == (1.0, 0.0)
    assert classification_metrics([[1, 0]], [[0.5, 0.1]])["micro_f1"] == 1.0


@given(tied())
def test_equals_scikit_learn(case):
    gold, probabilities = case
    accepted = (probabilities >= 0.5).astype(int)
    found = classification_metrics(gold, probabilities)
    for average in ("micro", "macro"):
        for name, reference in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
            expected = reference(gold, accepted, average=average, zero_division=0)
            assert found[f"{average}_{name}"] == pytest.approx(expected), (average, name)
    present = np.flatnonzero(gold.any(axis=0))
    if present.size:
        expected = f1_score(gold, accepted, labels=present, average="macro", zero_division=0)
        assert found["macro_f1_present"] == pytest.approx(expected)
    assert found["exact_match"] == pytest.approx(accuracy_score(gold, accepted))
    p = precision_score(gold, accepted, average="macro", zero_division=0)
    r = recall_score(gold, accepted, average="macro", zero_division=0)
    assert found["macro_f1_caml"] == pytest.approx(2 * p * r / (p + r) if p + r else 0)


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
