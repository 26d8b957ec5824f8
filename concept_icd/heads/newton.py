"""Damped Newton for many small convex problems at once, and logistic regression as such problems.

It knows nothing of scores, concepts or codes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Points (b, unknowns) of the problems with these numbers (b,) -> values (b,), gradients and Hessians there.
Objective = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def minimise(objective: Objective, start: np.ndarray, tolerance: float = 1e-8, steps: int = 100) -> np.ndarray:
    """The minima of smooth convex problems that have nothing in common but their size.

    Args:
        objective: see `Objective`; its Hessians must be positive definite.
        start: float64, shape (problems, unknowns).
        tolerance: a problem takes its last step when that step promises to lower the value by less than this. Newton
            converges quadratically, so that the value then reached is off by far less.
        steps: at most so many.

    Returns:
        float64, shape (problems, unknowns).
    """
    point, left = start.astype(np.float64), np.arange(len(start))
    value, gradient, hessian = objective(point, left)
    for _ in range(steps):
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        promise = 0.5 * (gradient * step).sum(axis=1)
        last = promise < tolerance
        point[left[last]] -= step[last]
        if last.all():
            break
        left, value, step, promise = left[~last], value[~last], step[~last], promise[~last]
        gradient, hessian = gradient[~last], hessian[~last]
        before, old, high, part = point[left], value.copy(), np.arange(len(left)), 1.0
        rounding = 1e-6 * (1 + np.abs(old))
        while len(high):  # those whose value did not fall go half the way back
            point[left[high]] = before[high] - part * step[high]
            value[high], gradient[high], hessian[high] = objective(point[left[high]], left[high])
            high = high[~(value[high] <= (old - 1e-4 * part * promise + rounding)[high])]
            part /= 2
    return point


def logistic(
    features: np.ndarray,
    offset: np.ndarray,
    target: np.ndarray,
    penalty: np.ndarray,
    weight: np.ndarray | float = 1.0,
) -> Objective:
    r"""Ridge logistic regressions: minus the log-likelihood of the targets, plus \(\frac12 \sum_j \lambda_j v_j^2\).

    Args:
        features: shape (problems, unknowns, n); their type, float32 or float64, is the one that is computed in.
        offset: log-odds before the features are looked at, shape (problems, n). target: 0/1, the same shape.
        penalty: \(\lambda\), shape (problems, unknowns). weight: of each of the n cases.
    """
    everything = len(features)

    def objective(point: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        part = slice(None) if len(which) == everything else which  # a slice copies nothing
        x, y, lam = features[part], target[part], penalty[part]
        z = offset[part] + (point.astype(x.dtype)[:, None, :] @ x)[:, 0, :]
        small = np.exp(-np.abs(z))  # exp of what is not positive cannot overflow
        loss = np.maximum(z, 0) + np.log1p(small) - y * z
        probability = np.where(z > 0, 1, small) / (1 + small)
        curvature = small / (1 + small) ** 2 * weight
        value = (loss * weight).sum(axis=1, dtype=np.float64) + 0.5 * (lam * point**2).sum(axis=1)
        gradient = (x @ ((probability - y) * weight)[..., None])[..., 0] + lam * point
        hessian = ((x * curvature[:, None, :]) @ x.transpose(0, 2, 1)).astype(np.float64)
        hessian[:, range(lam.shape[1]), range(lam.shape[1])] += lam
        return value, gradient, hessian

    return objective


def log_loss(log_odds: np.ndarray, target: np.ndarray) -> float:
    """Minus the log-likelihood of 0/1 targets under log-odds of the same shape, summed."""
    return float(
        np.maximum(log_odds, 0).sum() + np.log1p(np.exp(-np.abs(log_odds))).sum() - log_odds[target.astype(bool)].sum()
    )
