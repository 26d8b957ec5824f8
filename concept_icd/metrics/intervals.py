"""Percentile bootstrap intervals, resampling patients (notes, where patients are not known).

    draw b: as many patients as there are, with replacement; each brings all of its notes
    interval: the 2.5 and 97.5 percentiles of the metric over the draws where it is defined

`bootstrap_intervals` takes any metric and evaluates it anew for each draw. `headline_intervals` gives the same
intervals (same seed, same draws) for the metrics of this package far faster: a draw is a vector of weights on notes,
and means over notes, F1 counts and AUCs are computed from weights. One difference: macro precision, recall and F1
leave out a code that a draw has lost (see `decisions.f1_family`), where a metric computed anew would call it 0.
Intervals hold the trained model fixed: they tell how the figure would move with other patients, not with another
training run.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from concept_icd.metrics.areas import mean_of_defined
from concept_icd.metrics.decisions import check_decisions, f1_family
from concept_icd.metrics.inputs import Bools, Floats, Ints, check_pair
from concept_icd.metrics.ranking import note_ranking
from concept_icd.metrics.ranks import gold_ranks

Intervals = dict[str, dict[str, float]]
_CHUNK = 4_000_000  # weights held at once: 32 MB
_AREA_BUDGET = 2_000_000_000  # cells x draws for the AUCs, which cost a pass over all cells in every draw


def bootstrap_intervals(
    metric_fn: Callable[[Bools, Floats], Mapping[str, float] | float],
    gold: ArrayLike,
    probabilities: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Intervals:
    """Intervals of any metric of (gold, probabilities).

    Args:
        metric_fn: a float, or several by name. gold: 0/1 (notes, codes). probabilities: (notes, codes).
        groups: (notes,) the patient of each note; None resamples notes.

    Returns:
        name -> {"low", "high", "draws"}; `draws` are those where the metric was defined. A lone float is "metric".
    """
    truth, values = check_pair(gold, probabilities)
    found: dict[str, list[float]] = {}
    for weights in _weights(groups, len(truth), draws, seed):
        for weight in weights:
            rows = np.repeat(np.arange(len(truth)), weight.astype(np.int64))
            result = metric_fn(truth[rows], values[rows])
            for name, value in (result if isinstance(result, Mapping) else {"metric": result}).items():
                found.setdefault(name, []).append(value)
    return {name: _interval(np.array(samples)) for name, samples in found.items()}


def headline_intervals(
    gold: ArrayLike,
    probabilities: ArrayLike,
    decisions: ArrayLike,
    scores: ArrayLike | None = None,
    groups: Sequence[Hashable] | None = None,
    draws: int = 1000,
    seed: int = 0,
    ks: Sequence[int] = (5, 8, 15),
) -> Intervals:
    """Intervals of the F1 family, exact match, the ranking metrics, and the micro and macro AUC.

    Args:
        gold, decisions: 0/1 (notes, codes). probabilities: for the AUCs. scores: for the order; None takes the
            probabilities. groups: (notes,) the patient of each note; None resamples notes.
        draws: the AUCs take fewer (at least 100) on large matrices; each interval says how many it has.
    """
    truth, values = check_pair(gold, probabilities)
    truth, accepted = check_decisions(truth, decisions)
    ranks = gold_ranks(*check_pair(truth, values if scores is None else scores))
    counts = [
        sparse.csr_array(cells.astype(np.float64)) for cells in (truth & accepted, accepted & ~truth, truth & ~accepted)
    ]
    share = float(truth.any(axis=0).mean())
    exact = (truth == accepted).all(axis=1).astype(np.float64)
    ranking, ranked = note_ranking(ranks, ks), ranks.has_gold
    samples: dict[str, list[Floats]] = {}
    for weights in _weights(groups, len(truth), draws, seed):
        tp, fp, fn = (np.asarray((cells.T @ weights.T).T) for cells in counts)  # (draws, codes)
        found = f1_family(tp, fp, fn, share)
        found["exact_match"] = weights @ exact / weights.sum(axis=1)
        with np.errstate(invalid="ignore"):  # a draw without gold codes has no ranking metric: NaN
            found |= {
                name: weights[:, ranked] @ note / weights[:, ranked].sum(axis=1) for name, note in ranking.items()
            }
        for name, drawn in found.items():
            samples.setdefault(name, []).append(drawn)
    area_draws = min(draws, max(100, _AREA_BUDGET // truth.size))
    pooled, placements = _placement(truth, values), _code_placements(truth, values)
    for weights in _weights(groups, len(truth), area_draws, seed):
        samples.setdefault("micro_auc", []).append(_weighted_auc(weights, pooled))
        by_code = np.array([_weighted_auc(weights, placement) for placement in placements]).reshape(-1, len(weights))
        samples.setdefault("macro_auc", []).append(np.array([mean_of_defined(draw) for draw in by_code.T]))
    return {name: _interval(np.concatenate(chunks)) for name, chunks in samples.items()}


def _weights(groups: Sequence[Hashable] | None, notes: int, draws: int, seed: int) -> Iterator[Floats]:
    """Chunks (some draws, notes): how often each note is in the draw."""
    if groups is None:
        index = np.arange(notes)
    elif len(groups) != notes:
        raise ValueError(f"{notes} notes but {len(groups)} groups")
    else:
        number = {group: place for place, group in enumerate(dict.fromkeys(groups))}
        index = np.array([number[group] for group in groups])
    patients = int(index.max()) + 1
    random, shares = np.random.default_rng(seed), np.full(patients, 1 / patients)
    step = max(1, _CHUNK // notes)
    for start in range(0, draws, step):
        yield random.multinomial(patients, shares, size=min(step, draws - start))[:, index].astype(np.float64)


def _interval(samples: Floats) -> dict[str, float]:
    defined = samples[~np.isnan(samples)]
    low, high = np.percentile(defined, [2.5, 97.5]) if defined.size else (np.nan, np.nan)
    return {"low": float(low), "high": float(high), "draws": int(defined.size)}


Placement = tuple[Ints, Ints, Ints, Ints]


def _code_placements(gold: Bools, scores: Floats) -> list[Placement]:
    both = gold.any(axis=0) & ~gold.all(axis=0)
    return [_placement(gold[:, code : code + 1], scores[:, code : code + 1]) for code in np.flatnonzero(both)]


def _placement(gold: Bools, scores: Floats) -> Placement:
    """Notes of the negatives by rising score; notes of the positives, and where each falls (first, last of its tie)."""
    notes = np.broadcast_to(np.arange(len(gold))[:, None], gold.shape)
    negatives = scores[~gold]
    order = np.argsort(negatives, kind="stable")
    negatives = negatives[order]
    left, right = (np.searchsorted(negatives, scores[gold], side=side) for side in ("left", "right"))
    return notes[~gold][order], notes[gold], left, right


def _weighted_auc(weights: Floats, placement: Placement) -> Floats:
    """AUC in each draw: a positive of weight w counts w times the weight of the negatives below it, half for ties."""
    negatives, positives, left, right = placement
    step = max(1, _CHUNK // (len(negatives) + 1))
    found = []
    for start in range(0, len(weights), step):
        drawn = weights[start : start + step]
        below = np.zeros((len(drawn), len(negatives) + 1))
        np.cumsum(drawn[:, negatives], axis=1, out=below[:, 1:])
        positive = drawn[:, positives]
        with np.errstate(invalid="ignore"):  # no positive or no negative in the draw: NaN
            wins = (positive * (below[:, left] + below[:, right])).sum(axis=1)
            found.append(wins / (2 * positive.sum(axis=1) * below[:, -1]))
    return np.concatenate(found)
