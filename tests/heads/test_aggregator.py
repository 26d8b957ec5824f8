from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from concept_icd.heads import penalised_logistic as own_weights
from concept_icd.heads.aggregator import Strength, fit_aggregator, fit_aggregators
from concept_icd.heads.penalised_logistic import ScoreStatistics, fit_on_path

INF = float("inf")


def probability(log_odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-log_odds))


def test_scikit_learn_agrees_when_nothing_is_shared():
    """One code and no useful shared model: the fit is then plain ridge logistic regression on x plus an offset."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    scores = rng.normal(size=(400, 3)).astype(np.float32)
    gold = (scores @ [1.0, -2.0, 0.5] + rng.normal(size=400) > 0)[:, None]
    # The concepts cover nothing, so that the shared model is an intercept.
    fitted = fit_aggregator(scores, gold, np.zeros((3, 1), bool), ["code"] * 3, Strength(path=1.0, other=4.0))
    x = fitted.standardise(scores)
    ours = fitted.weights.toarray()[0]
    # The code's intercept has a light penalty here and none there: fix it as an offset column that nobody penalises.
    theirs = LogisticRegression(C=1 / 4.0, fit_intercept=True, tol=1e-10, max_iter=1000).fit(x, gold[:, 0])
    assert ours == pytest.approx(theirs.coef_[0], rel=0.01)


def test_scikit_learn_agrees_on_each_codes_path():
    """Without a shared model, w and b are plain ridge logistic regressions on the concepts that cover each code."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    paths = [[0, 1, 2], [0, 3], [], [0, 1, 2, 3, 4, 5]]  # of as many codes, of unlike length
    scores = rng.normal(1.0, 2.0, size=(300, 6)).astype(np.float32)
    gold = scores @ rng.normal(size=(6, 4)) + rng.normal(size=(300, 4)) > 3
    cover = csr_array(np.array([[k in path for k in range(6)] for path in paths]))
    rows = np.arange(10, 300)
    nothing = np.zeros(cover.nnz), np.zeros(4)
    options = (scores, gold, rows, ScoreStatistics.of(scores, rows), cover, nothing)
    fitted = fit_on_path(*options, [3.0, 0.2], 1e-10)
    x = (scores[rows] - scores[rows].mean(axis=0, dtype=float)) / scores[rows].std(axis=0, dtype=float)
    for penalty, (weights, bias) in zip([3.0, 0.2], fitted, strict=True):
        for code, path in enumerate(paths):
            # The intercept's penalty is 1: in a column of sqrt(penalty) the same penalty as the others'.
            features = np.hstack([x[:, path], np.full((290, 1), np.sqrt(penalty))])
            model = LogisticRegression(C=1 / penalty, fit_intercept=False, tol=1e-10, max_iter=10_000)
            theirs = model.fit(features, gold[rows, code]).coef_[0] * [*[1] * len(path), np.sqrt(penalty)]
            ours = [*weights[cover.indptr[code] : cover.indptr[code + 1]], bias[code]]
            assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    # In float32, as strengths are compared, nearly the same.
    for (weights, bias), (rough, rough_bias) in zip(
        fitted, fit_on_path(*options, [3.0, 0.2], 1e-4, np.float32), strict=True
    ):
        assert rough == pytest.approx(weights, abs=2e-3)
        assert rough_bias == pytest.approx(bias, abs=2e-3)


def test_batches_of_codes_and_a_dense_or_sparse_cover_change_nothing(world, monkeypatch):
    scores, gold = world.draw(200, seed=9)
    together = fit_aggregator(scores, gold, world.cover, world.levels, Strength(path=3.0))
    monkeypatch.setattr(own_weights, "BATCH", 1)  # one code at a time
    alone = fit_aggregator(scores, gold, csr_array(world.cover), world.levels, Strength(path=3.0))
    assert alone.log_odds(scores) == pytest.approx(together.log_odds(scores), abs=1e-6)


def test_only_the_rows_named_are_looked_at(world):
    scores, gold = world.draw(200, seed=10)
    rows = np.arange(0, 200, 2)
    some = fit_aggregators(scores, gold, world.cover, world.levels, [Strength(3.0)], rows=rows)[0]
    same = fit_aggregator(scores[rows], gold[rows], world.cover, world.levels, Strength(3.0))
    assert some.log_odds(scores) == pytest.approx(same.log_odds(scores))


def test_the_fit_is_a_minimum(world):
    """The stated objective is stationary: its derivative for every free weight of every code is zero."""
    scores, gold = world.draw(300, seed=1)
    strength = Strength(path=5.0, other=50.0)
    fitted = fit_aggregator(scores, gold, world.cover, world.levels, strength)
    shared = fit_aggregator(scores, gold, world.cover, world.levels, Strength(path=1e9))  # bias differs, weights do not
    own = (fitted.weights - shared.weights).toarray().T
    residual = probability(fitted.log_odds(scores)) - gold
    gradient = fitted.standardise(scores).T @ residual + np.where(world.cover, 5.0, 50.0) * own
    assert np.abs(gradient).max() < 0.02  # the data term alone reaches some tens


def test_contributions_and_bias_sum_to_the_log_odds(world):
    scores, gold = world.draw(200, seed=2)
    fitted = fit_aggregator(scores, gold, world.cover, world.levels, Strength(path=3.0, other=30.0))
    parts = fitted.contributions(scores[7])
    assert parts.shape == world.cover.T.shape
    assert parts.sum(axis=1) + fitted.bias == pytest.approx(fitted.log_odds(scores[7:8])[0])
    # Relative to the mean training note: there nothing contributes.
    assert np.abs(fitted.contributions(scores.astype(np.float64).mean(axis=0)).data).max() < 1e-6


def test_path_features_give_other_concepts_no_weight(world):
    scores, gold = world.draw(200, seed=3)
    fitted = fit_aggregator(scores, gold, world.cover, world.levels, Strength(path=3.0))
    assert ((fitted.weights.toarray() != 0) == world.cover.T).all()
    assert fitted.weights.nnz == world.cover.sum()  # nothing else is stored


def test_a_code_is_recovered_through_its_category(world):
    """The question about code 0 is noise; only its category carries it."""
    scores, gold = world.draw(600, seed=4)
    scores[:, 4] = np.random.default_rng(0).normal(size=600)
    gold[:, 1] = False  # code 0 is then all that its category stands for
    scores[:, 0] = 3.0 * gold[:, 0] - 2.0 + 0.3 * np.random.default_rng(1).normal(size=600)
    fitted = fit_aggregator(scores[:400], gold[:400], world.cover, world.levels, Strength(path=3.0))
    found = probability(fitted.log_odds(scores[400:]))[:, 0] >= 0.5
    assert (found == gold[400:, 0]).mean() > 0.95
    assert fitted.weights[0, 0] > 3 * abs(fitted.weights[0, 4])


def test_a_rare_code_stays_with_the_shared_model_and_a_frequent_one_leaves_it(world):
    """The code questions of codes 0 (150 notes) and 7 (two notes) answer the wrong way round."""
    scores, gold = world.draw(500, seed=5)
    gold[:, 7] = False
    gold[[3, 90], 7] = True
    scores[:, [4, 11]] = np.random.default_rng(0).normal(size=(500, 2)) - 2.0 * gold[:, [0, 7]]
    shared = fit_aggregator(scores, gold, world.cover, world.levels, Strength(path=INF))
    fitted = fit_aggregator(scores, gold, world.cover, world.levels, Strength(path=30.0))
    moved = np.abs((fitted.weights - shared.weights).toarray())
    assert shared.weights[0, 4] > 0 > fitted.weights[0, 4]  # 150 notes overrule the shared model
    assert fitted.weights[7, 11] > 0  # two notes do not
    assert moved[7, 11] < 0.1 * moved[0, 4]


def test_a_code_without_a_training_note_is_still_found_by_the_shared_model(world):
    scores, gold = world.draw(500, seed=6, noise=0.5)
    test_scores, test_gold = world.draw(400, seed=7, noise=0.5)
    gold[:, 5] = False
    fitted = fit_aggregator(scores, gold, world.cover, world.levels, Strength(path=10.0))
    odds = fitted.log_odds(test_scores)[:, 5]
    with_code, without = odds[test_gold[:, 5]], odds[~test_gold[:, 5]]
    assert (with_code[:, None] > without).mean() > 0.95  # AUC


def test_a_constant_concept_says_nothing(world):
    scores, gold = world.draw(200, seed=8)
    scores[:, 2] = 1.5
    fitted = fit_aggregator(scores, gold, world.cover, world.levels, Strength(path=1.0, other=10.0))
    assert np.isfinite(fitted.log_odds(scores)).all()
    assert (fitted.standardise(scores)[:, 2] == 0).all()
