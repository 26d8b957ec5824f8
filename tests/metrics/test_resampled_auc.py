import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from concept_icd.metrics import area_metrics
from concept_icd.metrics.auc import resampled_macro_auc, resampled_micro_auc
from tests.metrics.strategies import tied

# One code, three notes: the positive beats one negative and ties with the other.
GOLD, SCORES = np.array([[True], [False], [False]]), np.array([[0.5], [0.2], [0.5]])


@pytest.mark.parametrize("auc", [resampled_micro_auc, resampled_macro_auc])
def test_one_code_by_hand(auc):
    weights = np.array([[1.0, 1, 1], [2, 1, 0], [1, 0, 2], [1, 2, 1], [0, 2, 1], [3, 0, 0]])
    found = auc(GOLD, SCORES, weights, lambda done: None)
    # (a win + half a tie) / 2; only the win; only ties; (2 wins + half) / 3; no positive; no negative.
    assert found[:4] == pytest.approx([3 / 4, 1, 1 / 2, 2.5 / 3])
    assert np.isnan(found[4:]).all()


@given(tied(), st.data())
def test_equals_scikit_learn_with_weights(case, data):
    gold, scores = case[0].astype(bool), case[1]
    weights = data.draw(arrays(np.int8, (3, len(gold)), elements=st.integers(0, 3))).astype(float)
    micro, macro = (auc(gold, scores, weights, lambda done: None) for auc in (resampled_micro_auc, resampled_macro_auc))
    for draw, weight in enumerate(weights):
        assert micro[draw] == pytest.approx(_auc(gold, scores, weight), nan_ok=True)
        by_code = np.array([_auc(gold[:, [c]], scores[:, [c]], weight) for c in range(gold.shape[1])])
        defined = by_code[~np.isnan(by_code)]
        assert macro[draw] == pytest.approx(defined.mean() if defined.size else np.nan, nan_ok=True)


def test_each_note_once_is_the_figure_itself_and_blocks_do_not_matter(monkeypatch):
    random = np.random.default_rng(0)
    gold, scores = random.random((40, 9)) < 0.3, np.round(random.random((40, 9)), 1)
    weights = np.vstack([np.ones(40), random.integers(0, 4, (20, 40))]).astype(float)
    done: list[int] = []
    whole = [auc(gold, scores, weights, done.append) for auc in (resampled_micro_auc, resampled_macro_auc)]
    figures = area_metrics(gold, scores)
    assert [whole[0][0], whole[1][0]] == pytest.approx([figures["micro_auc"], figures["macro_auc"]])
    assert done == [gold.sum(), gold.sum()]
    monkeypatch.setattr("concept_icd.metrics.auc._BLOCK", 120)  # three notes or positives at once
    done.clear()
    for auc, expected in zip((resampled_micro_auc, resampled_macro_auc), whole, strict=True):
        assert (auc(gold, scores, weights, done.append) == expected).all()
    assert sum(done) == 2 * gold.sum()
    assert len(done) > 20


def _auc(gold, scores, weight):
    weights = np.repeat(weight, gold.shape[1])
    kept = weights > 0
    truth = gold.ravel()[kept]
    if not 0 < truth.sum() < truth.size:
        return np.nan
    return roc_auc_score(truth, scores.ravel()[kept], sample_weight=weights[kept])
