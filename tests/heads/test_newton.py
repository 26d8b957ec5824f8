from __future__ import annotations

import numpy as np
import pytest

from concept_icd.heads.penalised_logistic import log_loss, logistic, minimize


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
