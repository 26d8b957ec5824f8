"""Logistic regressions by hand, many at once, and the model that all codes share."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from concept_icd.heads import penalised_logistic
from concept_icd.heads.penalised_logistic import ScoreStatistics, fit_shared, log_loss, logistic, minimize


def test_an_intercept_alone_reaches_the_rate_of_the_cases():
    """One free number: its log-odds are those of the targets, here log(3 / 1) and log(1 / 3), from any offset."""
    target = np.array([[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    for offset in (0.0, 5.0, -5.0):
        objective = logistic(np.ones((2, 1, 4)), np.full((2, 4), offset), target, np.zeros((2, 1)))
        found = minimize(objective, np.zeros((2, 1)))
        assert found[:, 0] + offset == pytest.approx([np.log(3), -np.log(3)], abs=1e-6)


def test_a_full_step_that_overshoots_is_taken_back():
    """From log-odds of -20, where the loss is nearly straight, Newton's first step leads thousands too far."""
    target = np.tile([0.0, 1.0], 50)[None]
    objective = logistic(np.ones((1, 1, 100)), np.full((1, 100), -20.0), target, np.full((1, 1), 1e-6))
    _, gradient, hessian = objective(np.zeros((1, 1)), np.array([0]))
    assert -gradient[0, 0] / hessian[0, 0, 0] > 1000
    assert minimize(objective, np.zeros((1, 1)))[0, 0] == pytest.approx(20.0, abs=1e-3)


def test_weights_count_cases_and_value_gradient_and_hessian_belong_together():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1, 3, 6)), (rng.random((1, 6)) < 0.5).astype(float)
    penalty, times = np.array([[0.5, 1.0, 2.0]]), np.array([1, 2, 1, 3, 1, 1])
    weighted = logistic(x, np.zeros((1, 6)), y, penalty, times)
    repeated = logistic(np.repeat(x, times, axis=2), np.zeros((1, 9)), np.repeat(y, times, axis=1), penalty)
    point, first = rng.normal(size=(1, 3)), np.array([0])
    for one, other in zip(weighted(point, first), repeated(point, first), strict=True):
        assert one == pytest.approx(other)
    value, gradient, hessian = weighted(point, first)
    for j in range(3):
        moved = point + 1e-6 * np.eye(3)[j]
        assert (weighted(moved, first)[0] - value)[0] / 1e-6 == pytest.approx(gradient[0, j], abs=1e-4)
        assert (weighted(moved, first)[1] - gradient)[0] / 1e-6 == pytest.approx(hessian[0, j], abs=1e-4)


def test_problems_that_are_solved_together_do_not_touch():
    rng = np.random.default_rng(1)
    x, offset = rng.normal(size=(5, 3, 40)), 4 * rng.normal(size=(5, 40))
    y, penalty = (rng.random((5, 40)) < 0.3).astype(float), np.array([0.01, 0.1, 1, 10, 100])[:, None] * np.ones(3)
    together = minimize(logistic(x, offset, y, penalty), np.zeros((5, 3)))
    for i in range(5):
        alone = logistic(x[i : i + 1], offset[i : i + 1], y[i : i + 1], penalty[i : i + 1])
        assert minimize(alone, np.zeros((1, 3)))[0] == pytest.approx(together[i], abs=1e-5)
        assert np.abs(alone(together[i : i + 1], np.array([0]))[1]).max() < 1e-3  # the gradient of the minimum


def test_log_loss_by_hand_and_far_out():
    # log 2 for each even pair; a sure pair costs nothing when right and its log-odds when wrong.
    assert log_loss(np.zeros((1, 2)), np.array([[0, 1]])) == pytest.approx(2 * np.log(2))
    assert log_loss(np.array([[1000.0, -1000.0]]), np.array([[1, 0]])) == 0.0
    assert log_loss(np.array([[1000.0, -1000.0]]), np.array([[0, 1]])) == 2000.0


def test_statistics_of_some_rows():
    logits = np.array([[1, 5, 2], [3, 5, 0], [99, 99, 99]], dtype=np.float32)
    found = ScoreStatistics.of(logits, np.array([0, 1]))
    assert found.mean.tolist() == [2, 5, 1]
    assert found.scale.tolist() == [1, 1, 1]  # 1 of a constant concept, too: its x is then 0
    assert found.unit == pytest.approx(np.std([1, 5, 2, 3, 5, 0]))


def test_weights_fall_on_the_concepts_of_a_code_in_equal_shares_of_its_level():
    """Code 0 has two concepts of one level that answer alike, code 1 has one: twice the share, twice the weight."""
    rng = np.random.default_rng(0)
    gold = rng.random((400, 2)) < 0.3
    s = 3.0 * gold + rng.normal(size=gold.shape)
    logits = np.stack([s[:, 0], s[:, 0], s[:, 1]], axis=1).astype(np.float32)
    cover = csr_array(np.array([[True, True, False], [False, False, True]]))
    rows = np.arange(400)
    statistics = ScoreStatistics.of(logits, rows)
    weights, bias = fit_shared(logits, gold, rows, statistics, cover, ["code"] * 3)
    assert weights[0] == pytest.approx(weights[1])
    assert 2 * weights[0] == pytest.approx(weights[2], rel=0.1)  # the deviations of the two scores differ a little
    assert (weights > 0.5).all()
    assert (bias < 0).all()


def test_too_many_pairs_are_thinned_to_all_positive_ones_and_weighted_negative_ones(world, monkeypatch):
    logits, gold = world.draw(2000, seed=1)
    rows, cover = np.arange(1999), csr_array(world.cover.T)
    statistics = ScoreStatistics.of(logits, rows)
    exact = fit_shared(logits, gold, rows, statistics, cover, world.levels)
    monkeypatch.setattr(penalised_logistic, "MAX_PAIRS", 8000)
    note, code, weight = penalised_logistic._pairs(gold, rows)
    assert len(note) < 2000 * 8
    assert weight.sum() == pytest.approx(1999 * 8)
    positive = weight == 1.0
    assert sorted(zip(note[positive].tolist(), code[positive].tolist(), strict=True)) == [
        tuple(pair) for pair in np.argwhere(gold[:1999]).tolist()
    ]
    assert not gold[note, code][~positive].any()
    thinned = fit_shared(logits, gold, rows, statistics, cover, world.levels)
    x = (logits - statistics.mean) / statistics.scale
    odds = [csr_array((w, cover.indices, cover.indptr)) @ x.T + b[:, None] for w, b in (exact, thinned)]
    assert np.abs(odds[0] - odds[1]).mean() < 0.3  # of log-odds that spread over 20
    assert np.corrcoef(odds[0].ravel(), odds[1].ravel())[0, 1] > 0.999
