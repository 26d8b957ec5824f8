"""Do probabilities mean what they say? Over (note, code) pairs with probability p and outcome y:

    brier          = mean (p - y)^2
    ece            = sum_b n_b/N |acc_b - conf_b|,   mce = max_b |acc_b - conf_b|
                     bins of the confidence of the predicted side, c = max(p, 1 - p), which is y = 1 where p > .5;
                     acc_b: share of pairs in bin b whose predicted side is right; conf_b: mean c in it
    ece_positive,    the same of the probability itself: bins of p,
    mce_positive     acc_b: share of positives in bin b; conf_b: mean p in it

`ece`, `mce` are the figures of Marcou et al. 2024, binned as in their released code (`confidence_ece_a`): 500 bins of
equal count over all pairs (see `confidence_bins`). `ece_positive`, `mce_positive` are ours, 500 bins of equal count as
well (see `equal_count_bins`). They are different numbers: a p of .02 and one of .98 share a bin of `ece`, where too
many right answers of the first kind make up for too few of the second; not so in `ece_positive`. No figure depends on
the order of the notes: both ways give all pairs of one value to one bin, so that there are fewer bins where many tie.

The variants are ours and of the kind of `ece_positive`. `*_equal_width`: the same number of bins of equal width on
0..1, empty ones left out. `*_above_1_percent`: bins of equal count over the pairs with p > .01 only, since 99 % sure
negatives make the figures over all pairs tiny by construction. NaN where there is no such pair.

Every calibration error is biased upwards: a bin of few pairs is never quite right, even where the probabilities are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from concept_icd.metrics.inputs import Bools, Floats, Ints, check_pair


class ReliabilityBins(NamedTuple):
    """Non-empty bins by rising confidence: mean confidence, share that is right, pairs; (bins,) each.

    Of the positive side these are the mean probability and the share of positives.
    """

    confidence: Floats
    accuracy: Floats
    pairs: Ints


def calibration_metrics(gold: ArrayLike, probabilities: ArrayLike, bins: int = 500) -> dict[str, float]:
    """`brier`, `ece` and `mce` (of the predicted side, the study's), `ece_positive`, `mce_positive`, and the variants.

    Args:
        gold: 0/1 (notes, codes). probabilities: (notes, codes) in 0..1.

    Raises:
        ValueError: see `inputs.check_pair`; fewer than one bin.

    >>> found = calibration_metrics([[1, 0], [1, 0]], [[0.8, 0.2], [0.8, 0.4]], bins=2)
    >>> {name: round(found[name], 3) for name in ("brier", "ece", "ece_positive")}
    {'brier': 0.07, 'ece': 0.25, 'ece_positive': 0.25}
    """
    truth, values = check_pair(gold, probabilities, probabilities=True)
    truth, values = truth.ravel(), values.ravel()
    sure = values > 0.01
    ece, mce = _errors(confidence_bins(truth, values, bins))
    positive_ece, positive_mce = _errors(equal_count_bins(truth, values, bins))
    width_ece, width_mce = _errors(equal_width_bins(truth, values, bins))
    found = {
        "ece": ece,
        "mce": mce,
        "ece_positive": positive_ece,
        "mce_positive": positive_mce,
        "brier": float(np.square(values - truth).mean()),
        "ece_equal_width": width_ece,
        "mce_equal_width": width_mce,
        "ece_above_1_percent": float("nan"),
        "mce_above_1_percent": float("nan"),
        "brier_above_1_percent": float("nan"),
    }
    if sure.any():
        truth, values = truth[sure], values[sure]
        ece, mce = _errors(equal_count_bins(truth, values, bins))
        brier = float(np.square(values - truth).mean())
        found |= {"ece_above_1_percent": ece, "mce_above_1_percent": mce, "brier_above_1_percent": brier}
    return found


def confidence_bins(gold: Bools, probabilities: Floats, bins: int) -> ReliabilityBins:
    """The bins of `ece`: pairs in order of the predicted side's confidence c, cut as the study's code cuts them.

    With m = floor(pairs / bins) and c_1 <= c_2 <= ..., the bounds are .5, (c_m + c_m+1)/2, (c_2m + c_2m+1)/2, ..., 1,
    each the first value of its bin: what the division leaves over is in the last one, a tie falls where its last pair
    falls, and a c of exactly 1 has a bin of its own. Fewer pairs than bins: each pair is a bin. Both (pairs,).
    """
    _require_bins(bins)
    confidence = np.maximum(probabilities, 1 - probabilities)
    wrong = confidence[(probabilities > 1 - probabilities) != gold]
    ordered = np.sort(confidence)
    bins = min(bins, ordered.size)
    cuts = np.arange(1, bins) * (ordered.size // bins)
    bounds = np.concatenate([[0.5], (ordered[cuts - 1] + ordered[cuts]) / 2, [1.0]])
    starts = np.unique(np.searchsorted(ordered, bounds, side="left"))
    starts = starts[starts < ordered.size]
    pairs = np.diff(starts, append=ordered.size)
    bin_of_wrong = np.searchsorted(ordered[starts], wrong, side="right") - 1
    accuracy = 1 - np.bincount(bin_of_wrong, minlength=starts.size) / pairs
    return ReliabilityBins(np.add.reduceat(ordered, starts) / pairs, accuracy, pairs)


def equal_count_bins(gold: Bools, probabilities: Floats, bins: int) -> ReliabilityBins:
    """Pairs in order of probability, cut into `bins` of equal count; ties share the bin of their first. Both (pairs,).

    >>> found = equal_count_bins(np.array([True, False, True, False]), np.array([0.9, 0.2, 0.6, 0.4]), 2)
    >>> found.confidence.round(2).tolist(), found.accuracy.tolist(), found.pairs.tolist()
    ([0.3, 0.75], [0.0, 1.0], [2, 2])
    """
    _require_bins(bins)
    ordered = np.sort(probabilities)  # of values, not of indices: ten times faster on 50 million pairs
    cuts = -(-np.arange(bins) * ordered.size // bins)  # bin b would start at ceil(b N / bins),
    cuts = cuts[cuts < ordered.size]
    value = ordered[cuts]
    inside_tie = np.searchsorted(ordered, value, side="left") < cuts  # but where that splits a tie, after the tie
    starts = np.where(inside_tie, np.searchsorted(ordered, value, side="right"), cuts)
    starts = np.unique(starts[starts < ordered.size])
    pairs = np.diff(starts, append=ordered.size)
    bin_of_positives = np.searchsorted(ordered[starts], probabilities[gold], side="right") - 1
    accuracy = np.bincount(bin_of_positives, minlength=starts.size) / pairs
    return ReliabilityBins(np.add.reduceat(ordered, starts) / pairs, accuracy, pairs)


def equal_width_bins(gold: Bools, probabilities: Floats, bins: int) -> ReliabilityBins:
    """Bins [0, 1/bins), [1/bins, 2/bins), ...; the last also holds 1. Both (pairs,).

    >>> found = equal_width_bins(np.array([True, False, True, False]), np.array([0.9, 0.2, 0.6, 0.4]), 10)
    >>> found.confidence.tolist(), found.accuracy.tolist(), found.pairs.tolist()
    ([0.2, 0.4, 0.6, 0.9], [0.0, 0.0, 1.0, 1.0], [1, 1, 1, 1])
    """
    _require_bins(bins)
    bin_of = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    pairs = np.bincount(bin_of, minlength=bins)
    filled = pairs > 0
    confidence = np.bincount(bin_of, weights=probabilities, minlength=bins)[filled] / pairs[filled]
    accuracy = np.bincount(bin_of[gold], minlength=bins)[filled] / pairs[filled]
    return ReliabilityBins(confidence, accuracy, pairs[filled])


def _errors(found: ReliabilityBins) -> tuple[float, float]:
    gaps = np.abs(found.accuracy - found.confidence)
    return float(np.average(gaps, weights=found.pairs)), float(gaps.max())


def _require_bins(bins: int) -> None:
    if bins < 1:
        raise ValueError(f"at least one bin, not {bins}")
