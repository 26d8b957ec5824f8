"""Percentile bootstrap intervals, resampling patients (notes, where patients are not known).

    draw b: as many patients as there are, with replacement; each brings all of its notes
    interval: the 2.5 and 97.5 percentiles of the metric over the draws where it is defined

`bootstrap_intervals` takes any metric and evaluates it anew for each draw. `headline_intervals` gives the same
intervals (same seed, same draws) for the metrics of this package far faster: a draw is a vector of weights on notes,
and means over notes, F1 counts and AUCs (see `drawn_areas`) are computed from weights. One difference: macro
precision, recall and F1 leave out a code that a draw has lost (see `decisions.f1_family`), where a metric computed
anew would call it 0. Intervals hold the trained model fixed: they tell how the figure would move with other patients,
not with another training run.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from concept_icd.metrics.decisions import check_decisions, f1_family
from concept_icd.metrics.drawn_areas import drawn_macro_auc, drawn_micro_auc
from concept_icd.metrics.inputs import Bools, Floats, check_pair
from concept_icd.metrics.ranking import note_ranking
from concept_icd.metrics.ranks import gold_ranks

Intervals = dict[str, dict[str, float]]
_CHUNK = 2**20  # counts (draws, codes) held at once: 8 MB


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
    for weight in draw_weights(groups, len(truth), draws, seed):
        rows = np.repeat(np.arange(len(truth)), weight.astype(np.int64))
        result = metric_fn(truth[rows], values[rows])
        for name, value in (result if isinstance(result, Mapping) else {"metric": result}).items():
            found.setdefault(name, []).append(value)
    return {name: interval(np.array(samples)) for name, samples in found.items()}


def headline_intervals(
    gold: ArrayLike,
    probabilities: ArrayLike,
    decisions: ArrayLike,
    scores: ArrayLike | None = None,
    groups: Sequence[Hashable] | None = None,
    draws: int = 1000,
    seed: int = 0,
    ks: Sequence[int] = (5, 8, 15),
    advance: Callable[[int], object] = lambda done: None,
) -> Intervals:
    """Intervals of the F1 family, exact match, the ranking metrics, and the micro and macro AUC.

    Args: see `headline_samples`.
    """
    samples = headline_samples(gold, probabilities, decisions, scores, groups, draws, seed, ks, advance)
    return {name: interval(sample) for name, sample in samples.items()}


def headline_samples(
    gold: ArrayLike,
    probabilities: ArrayLike,
    decisions: ArrayLike,
    scores: ArrayLike | None = None,
    groups: Sequence[Hashable] | None = None,
    draws: int = 1000,
    seed: int = 0,
    ks: Sequence[int] = (5, 8, 15),
    advance: Callable[[int], object] = lambda done: None,
) -> dict[str, Floats]:
    """The same figures in each draw, (draws,) each: two systems of one seed have the same draws, so they pair.

    Args:
        gold, decisions: 0/1 (notes, codes). probabilities: for the AUCs. scores: for the order; None takes the
            probabilities. groups: (notes,) the patient of each note; None resamples notes.
        advance: called with a number of gold codes whenever as many are done; each is done twice, for the two AUCs.
    """
    truth, values = check_pair(gold, probabilities)
    truth, accepted = check_decisions(truth, decisions)
    ranks = gold_ranks(*check_pair(truth, values if scores is None else scores))
    weights = draw_weights(groups, len(truth), draws, seed)
    samples = drawn_decisions(truth, accepted, weights)
    samples |= drawn_means(note_ranking(ranks, ks), weights[:, ranks.has_gold])
    samples["micro_auc"] = drawn_micro_auc(truth, values, weights, advance)
    samples["macro_auc"] = drawn_macro_auc(truth, values, weights, advance)
    return samples


def drawn_means(values: Mapping[str, Floats], weights: Floats) -> dict[str, Floats]:
    """The mean of each per-note value in each draw, (draws,) each; NaN in a draw without a note that counts.

    Args:
        values: name -> (notes,), NaN where the note does not count. weights: (draws, notes), see `draw_weights`.
    """
    means = {}
    for name, value in values.items():
        counts = ~np.isnan(value)
        total = weights @ counts.astype(np.float64)
        means[name] = np.divide(
            weights @ np.where(counts, value, 0.0), total, out=np.full(total.shape, np.nan), where=total > 0
        )
    return means


def drawn_decisions(gold: Bools, accepted: Bools, weights: Floats) -> dict[str, Floats]:
    """The metrics of `decision_metrics` in each draw, (draws,) each."""
    tp, fp, fn = (
        sparse.csr_array(cells, dtype=np.float64) for cells in (gold & accepted, accepted & ~gold, gold & ~accepted)
    )
    share = float(gold.any(axis=0).mean())
    step = max(1, _CHUNK // gold.shape[1])
    chunks = [weights[start : start + step] for start in range(0, len(weights), step)]
    families = [f1_family(chunk @ tp, chunk @ fp, chunk @ fn, share) for chunk in chunks]  # from (draws, codes)
    exact = (gold == accepted).all(axis=1).astype(np.float64)
    return {
        **{name: np.concatenate([family[name] for family in families]) for name in families[0]},
        "exact_match": weights @ exact / weights.sum(axis=1),
    }


def draw_weights(groups: Sequence[Hashable] | None, notes: int, draws: int, seed: int) -> Floats:
    """(draws, notes): how often each note is in each draw.

    The convention by which a seed names its draws: one multinomial of NumPy's default generator after the other, over
    patients in the order of their first notes.
    """
    if groups is None:
        index = np.arange(notes)
    elif len(groups) != notes:
        raise ValueError(f"{notes} notes but {len(groups)} groups")
    else:
        number = {group: place for place, group in enumerate(dict.fromkeys(groups))}
        index = np.array([number[group] for group in groups])
    patients = int(index.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), size=draws)
    return drawn.astype(np.float64)[:, index]


def interval(samples: Floats) -> dict[str, float]:
    """The 2.5 and 97.5 percentiles of the draws where the figure is defined, and how many these are."""
    defined = samples[~np.isnan(samples)]
    low, high = np.percentile(defined, [2.5, 97.5]) if defined.size else (np.nan, np.nan)
    return {"low": float(low), "high": float(high), "draws": int(defined.size)}
