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
are convex. \(w_{ck} x_{nk}\) is what concept \(k\) added to the log-odds of code \(c\).

With an infinite \(\lambda_\mathrm{other}\) a code looks only at the handful of concepts that cover it, and thousands of
codes over thousands of concepts take minutes and little memory: weights are stored for those concepts alone.

Where most codes have a handful of notes, the shared model alone (`SHARED`) can be better than all of this.

The aggregator knows nothing of text, models or thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from concept_icd.heads.penalised_logistic import BLOCK, ScoreStatistics, fit_on_all, fit_on_path, fit_shared


@dataclass(frozen=True)
class Strength:
    """How strongly a code's own weights are held to the shared model.

    Attributes:
        path: penalty for concepts that cover the code. other: for the rest. `inf` leaves them at the shared model,
            which is 0 for concepts that do not cover the code.
        alone: every code is left to the shared model, its intercept too, and this looks at scores as they are, not in
            the deviations of their own concept: a concept that is nearly constant has next to none.
    """

    path: float = 10.0
    other: float = float("inf")
    alone: bool = False


#: The shared model, and nothing of a code's own.
SHARED = Strength(path=float("inf"), alone=True)


@dataclass(frozen=True, eq=False)
class Aggregator:
    """The fitted linear model.

    Attributes:
        mean, scale: of each concept's score over the training notes, float64, shape (concepts,).
        weights: w, float64, sparse, shape (codes, concepts): a code's row stores the concepts that it looks at.
        bias: b, float64, shape (codes,).
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: csr_array
    bias: np.ndarray

    def standardise(self, logits: np.ndarray) -> np.ndarray:
        """x, float64, of scores of shape (..., concepts)."""
        return (logits.astype(np.float64) - self.mean) / self.scale

    def log_odds(self, logits: np.ndarray) -> np.ndarray:
        """Log-odds of the codes, float64, shape (notes, codes), from scores of shape (notes, concepts)."""
        odds = np.empty((len(logits), len(self.bias)))
        for start in range(0, len(logits), BLOCK):
            x = self.standardise(logits[start : start + BLOCK])
            odds[start : start + BLOCK] = (self.weights @ x.T).T + self.bias
        return odds

    def contributions(self, logits: np.ndarray) -> csr_array:
        """What each concept adds to the log-odds of each code in one note, relative to the mean training note.

        Args:
            logits: scores of one note, shape (concepts,).

        Returns:
            w * x, sparse as `weights`, shape (codes, concepts); with the bias a row sums to the code's `log_odds`.
        """
        x = self.standardise(logits)
        return _like(self.weights, self.weights.data * x[self.weights.indices])


def fit_aggregator(
    logits: np.ndarray, gold: np.ndarray, cover: Any, levels: Sequence[str], strength: Strength | None = None
) -> Aggregator:
    """Fits the shared model, then each code's own part.

    Args:
        logits: out-of-fold concept scores, shape (notes, concepts). gold: 0/1, shape (notes, codes).
        cover: which concept covers which code, bool, shape (concepts, codes), sparse or not.
        levels: of the concepts.
    """
    return fit_aggregators(logits, gold, cover, levels, [strength or Strength()])[0]


def fit_aggregators(
    logits: np.ndarray,
    gold: np.ndarray,
    cover: Any,
    levels: Sequence[str],
    strengths: Sequence[Strength],
    *,
    rows: np.ndarray | None = None,
    quick: bool = False,
) -> list[Aggregator]:
    """One aggregator per strength; the shared model is fitted once and each fit starts from the one before it.

    Args:
        strengths: either all `alone` or none.
        rows: the notes to fit on; None: all.
        quick: less exactly, but exactly enough to compare strengths.
    """
    rows = np.arange(len(gold)) if rows is None else rows
    gold, cover = np.asarray(gold, dtype=bool), csr_array(csr_array(cover, dtype=bool).T)
    cover.eliminate_zeros()
    cover.sort_indices()
    statistics = ScoreStatistics.of(logits, rows)
    exactness = 1e-5 if quick else 1e-9
    if any(strength.alone for strength in strengths):
        weights, bias = fit_shared(logits, gold, rows, statistics, cover, levels, exactness, standardised=False)
        return [Aggregator(statistics.mean, statistics.scale, _like(cover, weights), bias)] * len(strengths)
    shared = fit_shared(logits, gold, rows, statistics, cover, levels, exactness)
    if all(np.isinf(strength.other) for strength in strengths):
        options = (1e-4, np.float32) if quick else (1e-9, np.float64)
        on_path = fit_on_path(
            logits, gold, rows, statistics, cover, shared, [strength.path for strength in strengths], *options
        )
        fitted = [(_like(cover, weights), bias) for weights, bias in on_path]
    else:
        dense, weights = cover.toarray().T, _like(cover, shared[0]).toarray().T
        penalties = [np.where(dense, strength.path, strength.other) for strength in strengths]
        x = (logits[rows] - statistics.mean) / statistics.scale
        on_all = fit_on_all(x, gold[rows], weights, shared[1], penalties, 1e-7 if quick else 1e-10)
        fitted = [(csr_array(weights.T), bias) for weights, bias in on_all]
    return [Aggregator(statistics.mean, statistics.scale, weights, bias) for weights, bias in fitted]


def _like(pattern: csr_array, data: np.ndarray) -> csr_array:
    """Other numbers in the same places."""
    return csr_array((data, pattern.indices, pattern.indptr), shape=pattern.shape)
