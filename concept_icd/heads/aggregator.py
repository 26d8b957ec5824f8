r"""Concept scores -> log-odds of codes: a linear model per code, shrunk towards one model that all codes share.

With \(s_{nk}\) the score (logit) of concept \(k\) in note \(n\), \(x_{nk} = (s_{nk} - \mu_k) / \sigma_k\) its
standardised form (mean and deviation over the training notes) and \(y_{nc}\) the gold code,

\[ \mathrm{logit}\,P(y_{nc}=1) = b_c + \sum_k w_{ck}\, x_{nk}, \qquad
   w_c = w^0_c + d_c, \qquad b_c = b^0_c + e_c . \]

*The shared model* \((w^0, b^0)\) is one logistic regression over all (note, code) pairs. Its features are, for each
level \(l\), the mean over the concepts of that level which cover the code, of \(x_{nk}\) and of the score
\(s_{nk}\) in units of the deviation of all scores; and the log-odds of the code's training frequency. All of
them are linear in \(x\), so the shared model is itself a weight per (concept, code).

*The code's own part* \((d_c, e_c)\) minimises, with the shared model fixed,

\[ -\sum_n \log P(y_{nc}) + \tfrac{\lambda_\mathrm{path}}{2} \sum_{k\,\mathrm{covers}\,c} d_{ck}^2
   + \tfrac{\lambda_\mathrm{other}}{2} \sum_{k\,\mathrm{does\ not}} d_{ck}^2 + \tfrac{1}{2} e_c^2 . \]

A penalty \(\lambda\) says that a weight strays from the shared model by about \(1/\sqrt\lambda\) before any data
is seen: a code with one or two notes stays with the shared model, a frequent one goes its own way. Both problems
are convex and are solved by L-BFGS. \(w_{ck} x_{nk}\) is what concept \(k\) added to the log-odds of code \(c\).

The aggregator knows nothing of text, models or thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from concept_icd.records import LEVELS

#: Penalty of each weight of the shared model but its intercept. Pairs are many, so that it hardly matters.
SHARED_PENALTY = 1.0
#: Penalty of a code's own intercept e_c.
BIAS_PENALTY = 1.0


@dataclass(frozen=True)
class Strength:
    """How strongly a code's own weights are held to the shared model.

    Attributes:
        path: penalty for concepts that cover the code. other: for the rest. `inf` leaves them at the shared model,
            which is 0 for concepts that do not cover the code.
    """

    path: float = 10.0
    other: float = float("inf")


@dataclass(frozen=True, eq=False)
class Aggregator:
    """The fitted linear model.

    Attributes:
        mean, scale: of each concept's score over the training notes, float64, shape (concepts,).
        weights: w, float64, shape (concepts, codes). bias: b, float64, shape (codes,).
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    def standardise(self, logits: np.ndarray) -> np.ndarray:
        """x, float64, of scores of shape (..., concepts)."""
        return (logits.astype(np.float64) - self.mean) / self.scale

    def log_odds(self, logits: np.ndarray) -> np.ndarray:
        """Log-odds of the codes, float64, shape (notes, codes), from scores of shape (notes, concepts)."""
        return self.standardise(logits) @ self.weights + self.bias

    def contributions(self, logits: np.ndarray) -> np.ndarray:
        """What each concept adds to the log-odds of each code in one note, relative to the mean training note.

        Args:
            logits: scores of one note, shape (concepts,).

        Returns:
            w * x, shape (concepts, codes); with the bias they sum to `log_odds`.
        """
        return self.weights * self.standardise(logits)[:, None]


def fit_aggregator(
    logits: np.ndarray,
    gold: np.ndarray,
    cover: np.ndarray,
    levels: Sequence[str],
    strength: Strength | None = None,
) -> Aggregator:
    """Fits the shared model, then each code's own part.

    Args:
        logits: out-of-fold concept scores, shape (notes, concepts). gold: 0/1, shape (notes, codes).
        cover: which concept covers which code, bool, shape (concepts, codes). levels: of the concepts.
    """
    return fit_aggregators(logits, gold, cover, levels, [strength or Strength()])[0]


def fit_aggregators(
    logits: np.ndarray,
    gold: np.ndarray,
    cover: np.ndarray,
    levels: Sequence[str],
    strengths: Sequence[Strength],
    *,
    tolerance: float = 1e-10,
) -> list[Aggregator]:
    """One aggregator per strength; the shared model is fitted once and each fit starts from the one before it.

    Args:
        tolerance: relative change of the objective at which a fit ends; to compare strengths, 1e-7 does.
    """
    scores, gold, cover = logits.astype(np.float64), gold.astype(np.float64), np.asarray(cover, dtype=bool)
    mean, scale = scores.mean(axis=0), scores.std(axis=0)
    scale[scale < 1e-6] = 1.0  # a constant concept says nothing: x = 0
    x = (scores - mean) / scale
    shared, bias = _fit_shared(x, mean, scale, max(float(scores.std()), 1e-6), gold, cover, levels, tolerance)
    offset = x @ shared + bias
    own, fitted = np.zeros((x.shape[1] + 1, gold.shape[1])), []
    for strength in strengths:
        penalty = np.where(cover, strength.path, strength.other)
        own = _fit_own(x, offset, gold, np.vstack([penalty, np.full(gold.shape[1], BIAS_PENALTY)]), own, tolerance)
        fitted.append(Aggregator(mean, scale, shared + own[:-1], bias + own[-1]))
    return fitted


def _fit_shared(
    x: np.ndarray,
    mean: np.ndarray,
    scale: np.ndarray,
    unit: float,
    gold: np.ndarray,
    cover: np.ndarray,
    levels: Sequence[str],
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """w0, shape (concepts, codes), and b0, shape (codes,)."""
    notes, codes = gold.shape
    at_level = np.array(levels)
    # Feature f of the pair (n, c) is x[n] @ maps[f][:, c] + shifts[f][c].
    maps, shifts = [], []
    for level in LEVELS:
        members = cover & (at_level == level)[:, None]
        if members.any():
            share = members / np.maximum(members.sum(axis=0), 1)
            maps += [share, share * scale[:, None] / unit]
            shifts += [np.zeros(codes), mean @ share / unit]
    frequency = (gold.sum(axis=0) + 0.5) / (notes + 1.0)
    shifts += [np.log(frequency / (1 - frequency)), np.ones(codes)]
    features = np.stack([x @ m for m in maps] + [np.zeros((notes, codes))] * 2, axis=-1) + np.stack(shifts, axis=-1)
    features = features.reshape(notes * codes, -1)
    target = gold.reshape(-1)
    penalty = np.full(features.shape[1], SHARED_PENALTY)
    penalty[-1] = 0.0  # the intercept is free

    def loss(v: np.ndarray) -> tuple[float, np.ndarray]:
        z = features @ v
        value = _log_loss(z, target) + 0.5 * float(penalty @ v**2)
        return value, features.T @ (expit(z) - target) + penalty * v

    v = _solve(loss, np.zeros(features.shape[1]), tolerance)
    weights = np.zeros_like(cover, dtype=np.float64)
    for value, m in zip(v, maps, strict=False):
        weights += value * m
    return weights, np.stack(shifts, axis=-1) @ v


def _fit_own(
    x: np.ndarray, offset: np.ndarray, gold: np.ndarray, penalty: np.ndarray, start: np.ndarray, tolerance: float
) -> np.ndarray:
    """d over e, shape (concepts + 1, codes): all codes at once, since their problems share x."""
    free = np.isfinite(penalty)
    lam = penalty[free]
    # In units of 1/sqrt(penalty) the problem is round, and L-BFGS takes few steps.
    root = np.sqrt(lam)
    full = np.zeros_like(penalty)

    def loss(u: np.ndarray) -> tuple[float, np.ndarray]:
        full[free] = u / root
        z = offset + x @ full[:-1] + full[-1]
        residual = expit(z) - gold
        gradient = np.vstack([x.T @ residual, residual.sum(axis=0)])
        return _log_loss(z, gold) + 0.5 * float(u @ u), gradient[free] / root + u

    solution = np.zeros_like(penalty)
    solution[free] = _solve(loss, start[free] * root, tolerance) / root
    return solution


def _log_loss(z: np.ndarray, target: np.ndarray) -> float:
    """Minus the log-likelihood of 0/1 targets under log-odds z, summed."""
    return float(np.logaddexp(0.0, z).sum() - np.vdot(target, z))


def _solve(loss, start: np.ndarray, tolerance: float) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The minimum of a smooth convex function that returns (value, gradient)."""
    options = {"maxiter": 1000, "maxcor": 20, "ftol": tolerance, "gtol": 1e-4}
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x)
