r"""Platt scaling of the aggregator's log-odds: \(p = \sigma(a z + b)\), fitted on out-of-fold log-odds \(z\).

The aggregator is regularised, so its log-odds on new notes are a little off; two numbers for all codes mend that
without changing the order of the pairs. It knows nothing of concepts, codes or thresholds.
Source: Platt 1999, "Probabilistic outputs for support vector machines"; b = 0 is temperature scaling (Guo et al. 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

Method = Literal["platt", "temperature", "none"]
METHODS: tuple[Method, ...] = ("platt", "temperature", "none")


@dataclass(frozen=True)
class Calibration:
    """p = sigmoid(slope * z + intercept); as it stands, the identity on log-odds."""

    slope: float = 1.0
    intercept: float = 0.0

    def probabilities(self, log_odds: np.ndarray) -> np.ndarray:
        """Probabilities, float64, of log-odds of any shape."""
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
    z, y = log_odds.reshape(-1).astype(np.float64), gold.reshape(-1).astype(np.float64)

    def loss(ab: np.ndarray) -> tuple[float, np.ndarray]:
        intercept = ab[1] if method == "platt" else 0.0
        scaled = ab[0] * z + intercept
        residual = expit(scaled) - y
        gradient = np.array([residual @ z, residual.sum() if method == "platt" else 0.0])
        return float(np.logaddexp(0.0, scaled).sum() - y @ scaled) / len(z), gradient / len(z)

    slope, intercept = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", options={"gtol": 1e-9}).x
    return Calibration(float(slope), float(intercept)) if slope > 0 else Calibration()
