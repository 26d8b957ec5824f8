"""ROC-AUC in many samples of the notes at once. A sample is a weight on each note: how often it holds it.

With a positive i of weight w_i, a negative j of weight w_j, and the whole number  b_ij = [s_j < s_i] + [s_j <= s_i]
(2 for a win, 1 for a tie):

    auc = sum_ij w_i w_j b_ij  /  2 sum_i w_i sum_j w_j

The b_ij are the same in every sample, so they are found once and the sums are matrix products:

    micro: w' B w,  B[m, n] the sum of b_ij over positives i of note m and negatives j of note n: (notes, notes)
    macro: per code  sum_i w_i sum_n b_in w_n:  (samples, notes) times (notes, positives of all codes)

No sample is approximated: whole numbers this small have no rounding, in whatever order they are summed. The cost is
about notes x positives, times samples for the macro figure; B and the second product are made a block at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from concept_icd.metrics.inputs import Bools, Floats, Ints

Advance = Callable[[int], object]
_BLOCK = 2**22  # numbers of a block: 16 MB as float32, 32 MB as float64


def drawn_micro_auc(gold: Bools, scores: Floats, weights: Floats, advance: Advance) -> Floats:
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


def drawn_macro_auc(gold: Bools, scores: Floats, weights: Floats, advance: Advance) -> Floats:
    """(samples,) mean AUC over the codes that have a positive and a negative in the sample; NaN where none has.

    Args: see `drawn_micro_auc`.
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
