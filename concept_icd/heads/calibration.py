r"""Platt scaling of the aggregator's log-odds: \(p = \sigma(a z + b)\), fitted on out-of-fold log-odds \(z\).

The aggregator is regularised, so its log-odds on new notes are a little off; two numbers for all codes mend that
without changing the order of the pairs. It knows nothing of concepts, codes or thresholds.
Source: Platt 1999, "Probabilistic outputs for support vector machines"; b = 0 is temperature scaling (Guo et al. 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit

from concept_icd.heads.newton import logistic, minimise

Method = Literal["platt", "temperature", "none"]
METHODS: tuple[Method, ...] = ("platt", "temperature", "none")
#: Pairs that are looked at together: bounds the memory that float64 takes.
BLOCK = 1_000_000


@dataclass(frozen=True)
class Calibration:
    """p = sigmoid(slope * z + intercept); as it stands, the identity on log-odds."""

    slope: float = 1.0
    intercept: float = 0.0

    def probabilities(self, log_odds: np.ndarray) -> np.ndarray:
        """Probabilities of log-odds of any shape, of the type of the log-odds."""
        return np.asarray(expit(self.slope * log_odds + self.intercept))


def fit_calibration(log_odds: np.ndarray, gold: np.ndarray, method: Method = "platt") -> Calibration:
    """Minimises the log loss over all pairs.

    Args:
        log_odds: out-of-fold, any shape. gold: 0/1, the same shape.
        method: "platt" fits slope and intercept, "temperature" the slope alone, "none" neither.

    Returns:
        The calibration; the identity where the best slope is not positive, since the order must not turn round.
    """
    if method == "none":
        return Calibration()
    z, y = log_odds.reshape(-1), gold.reshape(-1)
    unknowns = 2 if method == "platt" else 1
    penalty = np.full((1, unknowns), 1e-6)  # of no weight, but where z is constant and the two are one

    def objective(point: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        parts = []
        for start in range(0, len(z), BLOCK):
            part, target = z[start : start + BLOCK].astype(np.float64), y[start : start + BLOCK].astype(np.float64)
            features = np.stack([part, np.ones_like(part)][:unknowns])
            parts.append(logistic(features[None], np.zeros((1, 1)), target[None], penalty)(point, which))
        value, gradient, hessian = (sum(values) for values in zip(*parts, strict=True))
        return value, gradient, hessian

    slope, intercept = [*minimise(objective, np.array([[1.0, 0.0][:unknowns]]), tolerance=1e-6)[0], 0.0][:2]
    return Calibration(float(slope), float(intercept)) if slope > 0 else Calibration()
