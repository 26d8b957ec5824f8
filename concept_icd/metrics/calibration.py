"""Do probabilities mean what they say? Over (note, code) pairs with probability p and outcome y:

    brier = mean (p - y)^2
    ece   = sum_b n_b/N |acc_b - conf_b|      acc_b: share of positives in bin b; conf_b: mean probability in it
    mce   = max_b |acc_b - conf_b|

`ece`, `mce`: bins of equal count over all pairs, 500 by default (Marcou et al. 2024). A tie is never split between
bins: the figures do not depend on the order of the notes; where many pairs tie there are fewer bins.
`*_equal_width`: the same number of bins of equal width on 0..1, empty ones left out; another number.
`*_above_1_percent`: bins of equal count over the pairs with p > .01 only, since 99 % sure negatives make the figures
over all pairs tiny by construction. NaN where there is no such pair.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from concept_icd.metrics.inputs import Bools, Floats, Ints, check_pair


class ReliabilityBins(NamedTuple):
    """Non-empty bins by rising confidence: mean probability, share of positives, pairs; (bins,) each."""

    confidence: Floats
    accuracy: Floats
    pairs: Ints


def calibration_metrics(gold: ArrayLike, probabilities: ArrayLike, bins: int = 500) -> dict[str, float]:
    """`ece`, `mce`, `brier`, and the named variants of the module's text.

    Args:
        gold: 0/1 (notes, codes). probabilities: (notes, codes) in 0..1.

    Raises:
        ValueError: see `inputs.check_pair`; fewer than one bin.
    """
    truth, values = check_pair(gold, probabilities, probabilities=True)
    truth, values = truth.ravel(), values.ravel()
    sure = values > 0.01
    ece, mce = _errors(equal_count_bins(truth, values, bins))
    width_ece, width_mce = _errors(equal_width_bins(truth, values, bins))
    found = {
        "ece": ece,
        "mce": mce,
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


def equal_count_bins(gold: Bools, probabilities: Floats, bins: int) -> ReliabilityBins:
    """Pairs in order of probability, cut into `bins` of equal count; ties share the bin of their first."""
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
    """Bins [0, 1/bins), [1/bins, 2/bins), ...; the last also holds 1. Both (pairs,)."""
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
