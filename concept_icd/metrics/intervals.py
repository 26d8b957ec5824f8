"""95 % intervals by the jackknife over patients (over notes, where patients are not known).

    t         the figure
    t_(g)     the figure of all notes but those of group g; a group is one patient, or, where there are more patients
              than `draws`, a random share of them, as equal in number as can be
    se^2    = (G - 1)/G  sum_g (t_(g) - mean t_(.))^2                    over the G groups
    interval: t -+ q se, q the 97.5 % quantile of Student's t with G - 1 degrees of freedom (Efron and Tibshirani 1993,
              An introduction to the bootstrap, chapter 11)

The bounds are taken on a scale on which a figure has no ends and carried back (delta method): the log-odds for shares,
which lie in 0..1, the logarithm for counts such as rank errors, and the figure's own for differences (see `scale_of`).
So a figure always lies in its interval, and the interval in the range of the figure. A share of exactly 0 or 1 that no
group changes has at its other end the exact binomial bound of no success in G trials, 1 - .025^(1/G) away (Clopper and
Pearson 1934), since no error in G patients does not mean that there are none. Any other figure at an end of its range
has t -+ q se, cut at the range. A figure that is not defined without one of the groups has no interval.

What an interval is about: the mean of the figure over samples of as many patients from where these came, with the
trained model held fixed. For micro figures and means over notes this is almost the figure of the whole population. For
macro figures it is not: a code that has no gold in the sample counts 0 in `macro_f1` and is left out of
`macro_f1_present` and `macro_auc`, and with more patients more codes have gold. So their interval is about samples of
this size; it need not hold the figure of a far larger sample.

Why not the percentile bootstrap: a draw with replacement loses a third of the codes with one gold note, which moves the
macro figures of all draws to one side of the figure itself; its interval then holds too little, or not even the figure.
`benchmarks/interval_coverage.py` measures both: on 2,000 codes, most with one or two gold notes in 250, the jackknife's
interval of `macro_f1` holds the mean of the figure in 97.5 % of the samples, the bootstrap's in 0.8 %. Calibration
errors get no interval: they are biased upwards, the more so the fewer pairs, and an interval does not correct a bias.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.special import expit, logit, stdtrit

from concept_icd.metrics.auc import resampled_macro_auc, resampled_micro_auc
from concept_icd.metrics.decisions import check_decisions, f1_family
from concept_icd.metrics.inputs import Bools, Floats, check_pair
from concept_icd.metrics.ranking import gold_ranks, note_ranking

Intervals = dict[str, dict[str, float]]
Scale = Literal["share", "count", "plain"]
_CHUNK = 2**20  # counts (samples, codes) held at once: 8 MB
_COUNTS = ("rank_errors", "coverage", "reading_depth", "reading_errors", "cumulative_gain", "graded_dcg")


def metric_intervals(
    metric_fn: Callable[[Bools, Floats], Mapping[str, float] | float],
    gold: ArrayLike,
    probabilities: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Intervals:
    """Intervals of any metric of (gold, probabilities), which is evaluated anew for each sample.

    Args:
        metric_fn: a float, or several by name. By name they are shares in 0..1 unless `scale_of` knows better; a lone
            float may be any number.
        gold: 0/1 (notes, codes). probabilities: (notes, codes).
        groups: (notes,) the patient of each note; None leaves out notes.
        draws: at most so many samples, each without one group of patients. seed: of the groups.

    Returns:
        name -> {"low", "high", "draws"}; `draws` are the samples for which the metric was defined. A lone float is
        "metric".

    >>> gold, probabilities = [[1, 0], [0, 1], [1, 1], [0, 1]], [[0.9, 0.2], [0.3, 0.8], [0.7, 0.4], [0.6, 0.9]]
    >>> def accuracy(gold, p):
    ...     return {"accuracy": float((gold == (p >= 0.5)).mean())}
    >>> {name: round(value, 2) for name, value in metric_intervals(accuracy, gold, probabilities)["accuracy"].items()}
    {'low': 0.21, 'high': 0.97, 'draws': 4}
    """
    truth, values = check_pair(gold, probabilities)
    found: dict[str, list[float]] = {}
    for weight in draw_weights(groups, len(truth), draws, seed):
        rows = np.flatnonzero(weight)
        result = metric_fn(truth[rows], values[rows])
        for name, value in (result if isinstance(result, Mapping) else {"": result}).items():
            found.setdefault(name, []).append(value)
    return {name or "metric": interval(np.array(samples), scale_of(name)) for name, samples in found.items()}


#: The name that callers of earlier versions use.
bootstrap_intervals = metric_intervals


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

    They are those of `metric_intervals` (same seed, same samples), far faster.

    Args: see `headline_samples`.

    >>> gold, probabilities = [[1, 0], [0, 1], [1, 1], [0, 1]], [[0.9, 0.2], [0.3, 0.8], [0.7, 0.4], [0.6, 0.9]]
    >>> accepted = [[1, 0], [0, 1], [1, 0], [1, 1]]
    >>> {name: round(value, 2) for name, value in headline_intervals(gold, probabilities, accepted)["micro_f1"].items()}
    {'low': 0.39, 'high': 0.96, 'draws': 4}
    """
    return intervals_of(headline_samples(gold, probabilities, decisions, scores, groups, draws, seed, ks, advance))


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
    """The same figures in each sample, (1 + draws,) each, the first is of all notes.

    Two systems with one seed have the same samples: `interval` of the difference of theirs is a paired one.

    Args:
        gold, decisions: 0/1 (notes, codes). probabilities: for the AUCs. scores: for the order; None takes the
            probabilities. groups: (notes,) the patient of each note; None leaves out notes.
        advance: called with a number of gold codes whenever as many are done; each is done twice, for the two AUCs.
    """
    truth, values = check_pair(gold, probabilities)
    truth, accepted = check_decisions(truth, decisions)
    ranks = gold_ranks(*check_pair(truth, values if scores is None else scores))
    weights = draw_weights(groups, len(truth), draws, seed)
    samples = drawn_decisions(truth, accepted, weights)
    samples |= drawn_means(note_ranking(ranks, ks), weights[:, ranks.has_gold])
    samples["micro_auc"] = resampled_micro_auc(truth, values, weights, advance)
    samples["macro_auc"] = resampled_macro_auc(truth, values, weights, advance)
    return samples


def drawn_means(values: Mapping[str, Floats], weights: Floats) -> dict[str, Floats]:
    """The mean of each per-note value in each sample, (samples,) each; NaN in one without a note that counts.

    Args:
        values: name -> (notes,), NaN where the note does not count. weights: (samples, notes), see `draw_weights`.
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
    """The metrics of `decision_metrics` in each sample, (samples,) each."""
    tp, fp, fn = (
        sparse.csr_array(cells, dtype=np.float64) for cells in (gold & accepted, accepted & ~gold, gold & ~accepted)
    )
    step = max(1, _CHUNK // gold.shape[1])
    chunks = [weights[start : start + step] for start in range(0, len(weights), step)]
    families = [f1_family(chunk @ tp, chunk @ fp, chunk @ fn) for chunk in chunks]  # from (samples, codes)
    exact = (gold == accepted).all(axis=1).astype(np.float64)
    total = weights.sum(axis=1)
    return {
        **{name: np.concatenate([family[name] for family in families]) for name in families[0]},
        "exact_match": np.divide(weights @ exact, total, out=np.full(total.shape, np.nan), where=total > 0),
    }


def draw_weights(groups: Sequence[Hashable] | None, notes: int, draws: int, seed: int) -> Floats:
    """(1 + samples, notes) of 0 and 1, the notes of each sample: first all of them, then all but those of one group.

    A group is a patient, in the order of their first notes; with more patients than `draws` there are `draws` groups,
    dealt out in an order drawn by `seed`.
    """
    if groups is None:
        patient = np.arange(notes)
    elif len(groups) != notes:
        raise ValueError(f"{notes} notes but {len(groups)} groups")
    else:
        number = {group: place for place, group in enumerate(dict.fromkeys(groups))}
        patient = np.array([number[group] for group in groups])
    patients = int(patient.max()) + 1
    if patients > draws:
        patient = (np.random.default_rng(seed).permutation(patients) % max(draws, 1))[patient]
    weights = np.ones((1 + min(patients, draws), notes))
    weights[1:][patient == np.arange(len(weights) - 1)[:, None]] = 0
    return weights


def intervals_of(samples: Mapping[str, Floats]) -> Intervals:
    """The interval of each figure, by name, on the scale that its name says."""
    return {name: interval(sample, scale_of(name)) for name, sample in samples.items()}


def interval(samples: Floats, scale: Scale = "plain") -> dict[str, float]:
    """The interval of one figure by the formula of the module's text.

    Args:
        samples: (1 + samples,), the first is the figure; NaN where it is not defined. scale: "plain" for differences.

    Returns:
        "low", "high" (NaN where there is no interval) and "draws", the samples where the figure is defined.
    """
    figure, others = float(samples[0]), samples[1:]
    count = int((~np.isnan(others)).sum())
    if np.isnan(figure) or count < max(others.size, 2):
        return {"low": np.nan, "high": np.nan, "draws": count}
    reach = float(stdtrit(count - 1, 0.975) * np.sqrt(count - 1) * others.std())
    ends = np.array([-reach, reach])
    if scale == "share" and 0 < figure < 1:
        bounds = expit(logit(figure) + ends / (figure * (1 - figure)))
    elif scale == "count" and figure > 0:
        bounds = figure * np.exp(ends / figure)
    elif scale == "share" and reach == 0:
        bound = 1 - 0.025 ** (1 / count)
        bounds = np.array([0.0, bound] if figure == 0 else [1 - bound, 1.0])
    else:
        least, most = {"share": (0, 1), "count": (0, np.inf), "plain": (-np.inf, np.inf)}[scale]
        bounds = np.clip(figure + ends, least, most)
    low, high = min(bounds[0], figure), max(bounds[1], figure)  # rounding alone can part them
    return {"low": float(low), "high": float(high), "draws": count}


def scale_of(metric: str) -> Scale:
    """Of a figure's name: counts have no upper end, a rank correlation and what has no name are taken as they are."""
    if metric.startswith(_COUNTS):
        return "count"
    return "share" if metric and not metric.startswith("kendall_tau") else "plain"
