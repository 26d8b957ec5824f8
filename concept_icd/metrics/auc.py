"""Areas under curves: ROC-AUC, and the precision-recall curve in its two readings.

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

`resampled_micro_auc` and `resampled_macro_auc` give the ROC-AUC of many samples of the notes at once. A sample is a
weight on each note: how often it holds it (0 or 1 for the jackknife, any count for a bootstrap). With a positive i of
weight w_i, a negative j of weight w_j, and the whole number  b_ij = [s_j < s_i] + [s_j <= s_i]  (2 for a win, 1 for a
tie):

    auc = sum_ij w_i w_j b_ij  /  2 sum_i w_i sum_j w_j

The b_ij are the same in every sample, so they are found once and the sums are matrix products:

    micro: w' B w,  B[m, n] the sum of b_ij over positives i of note m and negatives j of note n: (notes, notes)
    macro: per code  sum_i w_i sum_n b_in w_n:  (samples, notes) times (notes, positives of all codes)

No sample is approximated: whole numbers this small have no rounding, in whatever order they are summed. The cost is
about notes x positives, times samples for the macro figure; B and the second product are made a block at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from concept_icd.metrics.inputs import Bools, Floats, Ints, check_pair

Advance = Callable[[int], object]
_BLOCK = 2**22  # numbers of a block: 16 MB as float32, 32 MB as float64


def area_metrics(gold: ArrayLike, scores: ArrayLike) -> dict[str, float]:
    """Micro and macro `auc`, `auprc` and `average_precision`.

    Args:
        gold: 0/1 (notes, codes). scores: (notes, codes); only their order matters.

    Raises:
        ValueError: see `inputs.check_pair`.

    >>> found = area_metrics([[1, 0], [0, 1]], [[0.9, 0.2], [0.3, 0.1]])  # the second code is the wrong way round
    >>> found["micro_auc"], found["macro_auc"], found["macro_average_precision"]
    (0.5, 0.5, 0.75)
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
    """Recall and precision over the flattened matrix where a positive is found, thinned to at most `points`.

    >>> recall, precision = precision_recall_curve([[1, 0, 1]], [[0.9, 0.5, 0.3]])
    >>> recall.tolist(), precision.round(2).tolist()
    ([0.5, 1.0], [1.0, 0.67])
    """
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


def resampled_micro_auc(gold: Bools, scores: Floats, weights: Floats, advance: Advance) -> Floats:
    """(samples,) AUC over the flattened matrix; NaN in a sample without a positive or a negative.

    Args:
        gold, scores: (notes, codes). weights: (samples, notes). advance: called with how many positives are done.
    """
    count = gold.sum(axis=1)
    positive, negative = weights @ count, weights @ (gold.shape[1] - count)
    values, value_of = np.unique(scores[gold], return_inverse=True)
    entries = np.ones(value_of.size), (np.nonzero(gold)[0], value_of)
    positives = sparse.csr_array(entries, shape=(len(gold), values.size))  # how many of each note have each value
    wins = np.zeros(len(weights))
    step = max(1, _BLOCK // max(len(gold), len(weights)))
    for start in range(0, len(gold), step):
        block = range(start, min(start + step, len(gold)))
        beaten = np.stack([positives @ _beaten(values, scores[n, ~gold[n]]) for n in block], axis=1)
        wins += ((weights @ beaten) * weights[:, block.start : block.stop]).sum(axis=1)
        advance(int(count[block.start : block.stop].sum()))
    return _ratio(wins, 2 * positive * negative)


def _beaten(values: Floats, negatives: Floats) -> Ints:
    """For each of the rising values, the sum of b over a note's negatives."""
    negatives = np.sort(negatives)  # neighbours fall into the same part of `values`: searched faster
    first = np.concatenate([np.searchsorted(values, negatives, side=side) for side in ("left", "right")])
    return np.cumsum(np.bincount(first, minlength=values.size + 1)[: values.size])


def resampled_macro_auc(gold: Bools, scores: Floats, weights: Floats, advance: Advance) -> Floats:
    """(samples,) mean AUC over the codes that have a positive and a negative in the sample; NaN where none has.

    Args: see `resampled_micro_auc`.
    """
    code_of, note_of = np.nonzero(gold.T)  # by code
    wins = np.zeros((len(weights), gold.shape[1]))
    single = weights.astype(np.float32)  # sums of b w stay below twice the notes, and so below 2^24
    step = max(1, _BLOCK // max(len(gold), len(weights)))
    for start in range(0, code_of.size, step):
        code, note = code_of[start : start + step], note_of[start : start + step]
        columns, own = scores[:, code], scores[note, code]
        beaten = (columns < own).view(np.uint8) + (columns <= own).view(np.uint8)
        beaten[gold[:, code]] = 0
        won = (single @ beaten.astype(np.float32)) * weights[:, note]
        first = np.flatnonzero(np.diff(code, prepend=-1))
        wins[:, code[first]] += np.add.reduceat(won, first, axis=1)
        advance(code.size)
    positive = weights @ sparse.csr_array(gold, dtype=np.float64)
    aucs = _ratio(wins, 2 * positive * (weights.sum(axis=1, keepdims=True) - positive))
    defined = ~np.isnan(aucs)
    return _ratio(aucs.sum(axis=1, where=defined), defined.sum(axis=1))


def _ratio(numerator: Floats, denominator: Floats | Ints) -> Floats:
    """NaN for 0/0."""
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)
