"""Areas under curves, for one column or averaged: ROC-AUC, and the precision-recall curve in its two readings.

With the P positives as items p, and for each the counts of all items and of positives that score at least as high
(n>=, tp>=) or strictly higher (n>, tp>), every area is a mean over positives:

    auc                = 1 - mean_p [ (n>= - tp>=) + (n> - tp>) ] / 2N      N negatives; a tie counts one half
    average_precision  = mean_p  tp>= / n>=                                 the step sum  sum_i (R_i - R_i-1) P_i
    auprc              = mean_p [ tp>= / n>=  +  tp> / n> ] / 2             the trapezoid (Marcou et al. 2024); 0/0 is 1

The trapezoid interpolates linearly between points of the curve and so flatters where scores tie; average precision
does not. They are different numbers, hence two names.

micro_*: over the flattened matrix. macro_*: the mean over codes that have a gold example (for AUC also a note without
the code); the other codes have no area. NaN where nothing is left to average. All three equal scikit-learn's
roc_auc_score, average_precision_score and auc(recall, precision), ties included.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from concept_icd.metrics.inputs import Bools, Floats, Ints, check_pair


def area_metrics(gold: ArrayLike, scores: ArrayLike) -> dict[str, float]:
    """Micro and macro `auc`, `auprc` and `average_precision`.

    Args:
        gold: 0/1 (notes, codes). scores: (notes, codes); only their order matters.

    Raises:
        ValueError: see `inputs.check_pair`.
    """
    truth, values = check_pair(gold, scores)
    micro = column_areas(truth.ravel(), values.ravel())
    columns = zip(np.ascontiguousarray(truth.T), np.ascontiguousarray(values.T), strict=True)
    macro = np.array([column_areas(code, score) for code, score in columns])  # (codes, 3)
    names = ("auc", "auprc", "average_precision")
    return {f"micro_{name}": value for name, value in zip(names, micro, strict=True)} | {
        f"macro_{name}": mean_of_defined(column) for name, column in zip(names, macro.T, strict=True)
    }


def column_areas(gold: Bools, scores: Floats) -> tuple[float, float, float]:
    """(auc, auprc, average precision) of one list of items; NaN where undefined. Both (items,)."""
    if not gold.any():
        return np.nan, np.nan, np.nan
    counts = positive_counts(gold, scores)
    negatives = gold.size - counts.tp_at.size
    errors = (counts.n_at - counts.tp_at) + (counts.n_above - counts.tp_above)
    auc = 1 - errors.mean() / (2 * negatives) if negatives else np.nan
    at = counts.tp_at / counts.n_at
    above = np.divide(counts.tp_above, counts.n_above, out=np.ones(at.shape), where=counts.n_above > 0)
    return float(auc), float((at + above).mean() / 2), float(at.mean())


class PositiveCounts(NamedTuple):
    """Per positive, by falling score: how many items and positives score at least as high, and strictly higher."""

    n_at: Ints
    tp_at: Ints
    n_above: Ints
    tp_above: Ints


def positive_counts(gold: Bools, scores: Floats) -> PositiveCounts:
    """The counts from which every area and the precision-recall curve follow. Both (items,)."""
    everything, positives = np.sort(scores), np.sort(scores[gold])
    counts = [
        ordered.size - np.searchsorted(ordered, positives, side=side)[::-1]
        for side in ("left", "right")
        for ordered in (everything, positives)
    ]
    return PositiveCounts(*counts)


def precision_recall_curve(gold: ArrayLike, scores: ArrayLike, points: int = 400) -> tuple[Floats, Floats]:
    """Recall and precision over the flattened matrix at falling thresholds, thinned to at most `points`."""
    truth, values = check_pair(gold, scores)
    counts = positive_counts(truth.ravel(), values.ravel())
    if not counts.n_at.size:
        return np.empty(0), np.empty(0)
    last_of_tie = np.append(np.diff(counts.n_at) != 0, True)
    kept = np.flatnonzero(last_of_tie)
    kept = kept[np.unique(np.linspace(0, kept.size - 1, min(points, kept.size)).astype(int))]
    return counts.tp_at[kept] / counts.tp_at.size, counts.tp_at[kept] / counts.n_at[kept]


def mean_of_defined(values: ArrayLike) -> float:
    """The mean without NaN; NaN where nothing is left (without NumPy's warning)."""
    array = np.asarray(values, dtype=np.float64)
    defined = array[~np.isnan(array)]
    return float(defined.mean()) if defined.size else float("nan")
