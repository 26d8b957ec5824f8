r"""Log-odds -> calibrated probabilities -> accepted codes: Platt scaling, and one threshold for all codes.

*Platt scaling*, \(p = \sigma(a z + b)\), is fitted on out-of-fold log-odds \(z\). The aggregator is regularised, so its
log-odds on new notes are a little off; two numbers for all codes correct that and keep the order of the pairs (Platt
1999, "Probabilistic outputs for support vector machines"; b = 0 is temperature scaling, Guo et al. 2017).

*The threshold* \(t\) accepts the codes \(\{c : p_{nc} \ge t\}\) of a note. It maximises micro-F1
\(= 2\,TP / (2\,TP + FP + FN)\) over all pairs of notes that must be out-of-fold. With `at_least_one`, a note in which
nothing is accepted gets its most probable code.

It knows nothing of concepts or models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit

from concept_icd.errors import InputError
from concept_icd.heads.penalised_logistic import logistic, minimize

Method = Literal["platt", "temperature", "none"]
METHODS: tuple[Method, ...] = ("platt", "temperature", "none")
#: Pairs that are looked at together: bounds the memory that float64 takes.
BLOCK = 1_000_000
#: Pairs, evenly spread, that show about where the search for a threshold begins.
SAMPLE = 1_000_000


@dataclass(frozen=True)
class Calibration:
    """p = sigmoid(slope * z + intercept); as it stands, the identity on log-odds."""

    slope: float = 1.0
    intercept: float = 0.0

    def probabilities(self, log_odds: np.ndarray) -> np.ndarray:
        """Probabilities of log-odds of any shape, of the type of the log-odds.

        >>> Calibration(slope=0.5).probabilities(np.array([0.0, 2.0])).round(3).tolist()
        [0.5, 0.731]
        """
        return np.asarray(expit(self.slope * log_odds + self.intercept))


def fit_calibration(log_odds: np.ndarray, gold: np.ndarray, method: Method = "platt") -> Calibration:
    """Minimises the log loss over all pairs.

    >>> z = np.array([[3.0, -3.0], [3.0, -3.0]])  # too sure: one pair of four is wrong
    >>> fit_calibration(z, np.array([[1, 0], [0, 0]]), "temperature").slope < 1
    True

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

    slope, intercept = [*minimize(objective, np.array([[1.0, 0.0][:unknowns]]), tolerance=1e-6)[0], 0.0][:2]
    return Calibration(float(slope), float(intercept)) if slope > 0 else Calibration()


@dataclass(frozen=True)
class Threshold:
    """The threshold, and how it came about.

    Attributes:
        value: a code is accepted when its probability is at least this.
        at_least_one: the most probable code of a note is always accepted.
        micro_f1: on the pairs it was chosen on. source: where those came from, in words.
    """

    value: float
    at_least_one: bool = False
    micro_f1: float | None = None
    source: str = "given"

    def accept(self, probabilities: np.ndarray) -> np.ndarray:
        """The accepted pairs, bool, of probabilities of shape (notes, codes)."""
        accepted = probabilities >= self.value
        if self.at_least_one and len(accepted):
            accepted[np.arange(len(accepted)), probabilities.argmax(axis=1)] = True
        return accepted


def choose_threshold(
    gold: np.ndarray, probabilities: np.ndarray, *, at_least_one: bool | None = False, source: str = "given notes"
) -> Threshold:
    """The threshold with the highest micro-F1, exact: every value that changes the accepted set is tried.

    It stands half-way between the lowest accepted probability and the highest rejected one. Among equals, the highest.

    >>> found = choose_threshold(np.array([[1, 0], [1, 0]]), np.array([[0.9, 0.2], [0.6, 0.4]]))
    >>> found.value, found.micro_f1
    (0.5, 1.0)

    Args:
        gold: 0/1, shape (notes, codes). probabilities: the same shape, out-of-fold.
        at_least_one: None tries both and keeps the better; without, where they tie.

    Raises:
        InputError: no pair is positive.
    """
    if not gold.any():
        raise InputError("no note of these has a gold code of the set, so that no threshold can be chosen")
    if at_least_one is None:
        without, with_one = (
            choose_threshold(gold, probabilities, at_least_one=b, source=source) for b in (False, True)
        )
        assert without.micro_f1 is not None
        assert with_one.micro_f1 is not None
        return with_one if with_one.micro_f1 > without.micro_f1 else without
    p, hit, positives = probabilities.reshape(-1), gold.reshape(-1), int(gold.sum())
    # The pairs that are accepted whatever the threshold.
    first = np.arange(len(gold)) * gold.shape[1] + probabilities.argmax(axis=1) if at_least_one else np.zeros(0, int)
    # Accepting n pairs gives an F1 of at most 2 positives / (n + positives): with a good cut at hand, only so many of
    # the most probable pairs need be sorted as could still be accepted at a better one.
    sample = p[:: len(p) // SAMPLE + 1]
    size = 4 * positives
    while True:
        share = size / len(p)
        floor = np.quantile(sample, 1 - share) if share < 1 else -np.inf
        top = np.union1d(np.flatnonzero(p >= floor), first)
        value = p[top].astype(np.float64)
        value[np.searchsorted(top, first)] = np.inf
        order = np.argsort(-value, kind="stable")
        value, hits = value[order], np.cumsum(hit[top[order]].astype(bool))
        f1 = 2 * hits / (np.arange(1, len(top) + 1) + positives)
        # A cut after pair i is possible where the next probability is lower.
        cuts = np.flatnonzero(np.append(value[1:] < value[:-1], len(top) == len(p)))
        below = 2 * positives / (len(top) + positives) if len(top) < len(p) else 0.0  # what cuts further down may reach
        if len(cuts) and f1[cuts].max() >= below:
            break
        size *= 4
    best = cuts[np.argmax(f1[cuts])]
    upper = min(float(value[best]), float(np.nextafter(1.0, 2.0)))
    lower = float(value[best + 1]) if best + 1 < len(value) else 0.0
    middle = lower + (upper - lower) / 2
    return Threshold(middle if middle > lower else upper, at_least_one, float(f1[best]), source)
