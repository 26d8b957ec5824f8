"""Several systems on the same notes and codes: figures side by side, and paired differences against the first.

    sample g: the same patients for every system, all but group g;  difference_g = figure_g of a system - figure_g of
    the first system; interval: the jackknife's (`metrics.intervals`), over the samples where both are defined

Systems that are right and wrong on the same patients differ far less from sample to sample than each moves by itself:
two intervals that overlap say nothing about the difference. Where an interval holds 0, these notes do not tell the two
systems apart; with many figures, one interval in twenty misses by chance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from concept_icd import metrics
from concept_icd.artifacts import git_commit, hash_of, versions
from concept_icd.metrics.inputs import Bools, Floats, Ints
from concept_icd.metrics.intervals import (
    draw_weights,
    drawn_decisions,
    drawn_means,
    headline_samples,
    interval,
    intervals_of,
)
from concept_icd.metrics.order import Codes
from concept_icd.progress import progress_bar
from concept_icd.records import Kind, OneLine
from concept_icd.report.order import FREQUENCY, Stops, bounds, frequencies, report_depth, report_order
from concept_icd.report.results import KS, LONG, plain

#: The figures of the table, where a system has them.
COMPARED = (
    *("micro_f1", "macro_f1", "macro_f1_present", "micro_auc", "macro_auc", "precision_at_5", "map", "ndcg"),
    *("brier", "ece", "ece_positive"),
    *("rank_errors_at_50", "rank_errors_at_75", "rank_errors_at_100"),
    *("reading_depth_at_90", "reading_recall_at_90", "reading_errors_at_90"),
    *("primary_accuracy", "primary_mrr", "primary_hit_at_3"),
    *("graded_ndcg_diagnoses", "kendall_tau_diagnoses", "cumulative_gain_at_5_diagnoses"),
    *("graded_ndcg_procedures", "kendall_tau_procedures", "cumulative_gain_at_5_procedures"),
)


@dataclass(frozen=True, eq=False, repr=False)
class System(OneLine):
    """What one system says of the notes, over the common label set.

    Attributes:
        probabilities: (notes, codes), or None for decisions alone. decisions: bool (notes, codes).
        scores: the order of the codes, where it is not that of the probabilities.
        depths: how far each note is read, as in `results.EvaluationInputs`.
        accepted_at: in words, where the decisions came from. stamps: sentences that belong beside its figures.
    """

    name: str
    probabilities: Any
    decisions: Bools
    scores: Floats | None
    accepted_at: str
    stamps: tuple[str, ...] = ()
    depths: Mapping[float, Stops] | None = None


@dataclass(frozen=True, repr=False)
class GoldLabels(OneLine):
    """The notes and codes that all systems are measured on.

    Attributes:
        gold: bool (notes, codes). patients: (notes,), or None. places, principal: as `corpora.gold.gold_places` gives
            them; None where the gold has no billing order. kinds: (codes,). label_set: in words.
        train_counts: code -> training notes that have it, or None.
    """

    note_ids: tuple[str, ...]
    codes: tuple[str, ...]
    gold: Bools
    patients: tuple[str, ...] | None
    places: Ints | None
    principal: Ints | None
    kinds: tuple[Kind, ...]
    label_set: str
    train_counts: Mapping[str, int] | None = None


@dataclass(frozen=True, repr=False)
class SideBySide(OneLine):
    """What `compare.json` holds.

    Attributes:
        systems: in order; name, figures, intervals, accepted_labels, accepted_at, ranked_by, stamps.
        differences: system -> metric -> {"difference", "low", "high", "draws"}, against the first system.
        notes: metric -> how many notes the figure counts. counts: notes, patients, codes, gold_labels.
        gain: kind -> system -> mean cumulative gain of the first 1, 2, ... codes.
        resampled: "patients" or "notes". seed, draws: of the intervals.
    """

    systems: list[dict[str, Any]]
    differences: dict[str, dict[str, dict[str, float]]]
    notes: dict[str, int]
    counts: dict[str, int | None]
    gain: dict[Codes, dict[str, list[float]]]
    label_set: str
    notes_hash: str
    resampled: str
    seed: int
    draws: int
    inputs: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=versions)
    git_commit: str | None = field(default_factory=git_commit)
    command: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: NaN and infinity become null."""
        found: dict[str, Any] = plain(dataclasses.asdict(self))
        return found


def compare_systems(
    systems: Sequence[System],
    measured: GoldLabels,
    *,
    draws: int = 1000,
    seed: int = 0,
    inputs: Mapping[str, str] | None = None,
    command: str | None = None,
) -> SideBySide:
    """Measures every system on the same notes, and beside them what training frequency gives, where it is known."""
    frequency = frequencies(measured.codes, measured.train_counts)
    if frequency is not None:
        systems = [*systems, _dummy(frequency, measured.gold.shape)]
    gain: dict[Codes, dict[str, list[float]]] = {}
    rows, samples, counted = [], [], dict[str, int]()
    work = 2 * int(measured.gold.sum()) * len(systems)
    is_long = draws * measured.gold.size * len(systems) >= LONG
    with progress_bar(work, "paired intervals", "gold codes") if is_long else nullcontext() as bar:
        advance = bar.advance if bar else lambda done: None
        for system in systems:
            own = _measure(system, measured)
            counted |= own.counts
            for kind, found in own.gain.items():
                gain.setdefault(kind, {}).update(found)
            drawn = _samples(system, measured, own.notes, draws, seed, advance) if draws else {}
            samples.append({name: drawn[name] for name in own.figures if name in drawn})
            rows.append(_row(system, own.figures, samples[-1]))
    if measured.places is not None:
        best = bounds(measured.places, measured.kinds, None)
        gain = {kind: found | best[kind] for kind, found in gain.items()}
    return SideBySide(
        systems=rows,
        differences={
            row["name"]: _differences(row["figures"], rows[0]["figures"], drawn, samples[0])
            for row, drawn in zip(rows[1:], samples[1:], strict=True)
        },
        notes=counted,
        counts={
            "notes": len(measured.note_ids),
            "patients": None if measured.patients is None else len(set(measured.patients)),
            "codes": len(measured.codes),
            "gold_labels": int(measured.gold.sum()),
        },
        gain=gain,
        label_set=measured.label_set,
        notes_hash=hash_of(sorted(measured.note_ids)),
        resampled="notes" if measured.patients is None else "patients",
        seed=seed,
        draws=draws,
        inputs=dict(inputs or {}),
        command=command,
    )


def shown(found: dict[str, Any]) -> list[str]:
    """The figures of the tables of `SideBySide.to_dict()`: those of `COMPARED` that a system has."""
    return [metric for metric in COMPARED if any(metric in row["figures"] for row in found["systems"])]


def excludes_zero(difference: dict[str, Any]) -> bool:
    """Whether the interval of a difference does not hold 0."""
    low, high = difference.get("low"), difference.get("high")
    return low is not None and high is not None and (low > 0 or high < 0)


class _Measured(NamedTuple):
    """One system. counts: metric -> notes that count. notes: metric -> (notes,), NaN where the note does not count."""

    figures: dict[str, float]
    counts: dict[str, int]
    notes: dict[str, Floats]
    gain: dict[Codes, dict[str, list[float]]]


def _measure(system: System, measured: GoldLabels) -> _Measured:
    gold, every, with_gold = measured.gold, len(measured.note_ids), int(measured.gold.any(axis=1).sum())
    figures = metrics.decision_metrics(gold, system.decisions)
    counts = dict.fromkeys(figures, every)
    if system.probabilities is None:
        return _Measured(figures, counts, {}, {})
    order = system.probabilities if system.scores is None else system.scores
    depth = report_depth(gold, system.probabilities, order, system.depths, None)
    calibration = metrics.calibration_metrics(gold, system.probabilities)
    for found, counted in (
        (metrics.area_metrics(gold, system.probabilities), every),
        (metrics.ranking_metrics(gold, order, KS), with_gold),
        (depth.figures, with_gold),
        ({name: calibration[name] for name in ("brier", "ece", "ece_positive")}, every),
    ):
        figures |= found
        counts |= dict.fromkeys(found, counted)
    notes = depth.notes | {"brier": np.square(system.probabilities - gold).mean(axis=1)}
    if measured.places is None:
        return _Measured(figures, counts, notes, {})
    billed = report_order(measured.places, measured.principal, measured.kinds, order, system.name)
    counts |= {name: int(np.count_nonzero(~np.isnan(values))) for name, values in billed.notes.items()}
    return _Measured(figures | billed.figures, counts, billed.notes | notes, billed.curves)


def _samples(
    system: System,
    measured: GoldLabels,
    order: Mapping[str, Floats],
    draws: int,
    seed: int,
    advance: Callable[[int], object],
) -> dict[str, Floats]:
    """Figures in each sample, (samples,) each; the samples are those of every other system."""
    weights = draw_weights(measured.patients, len(measured.note_ids), draws, seed)
    if system.probabilities is None:
        return drawn_decisions(measured.gold, system.decisions, weights)
    pair = (measured.gold, system.probabilities, system.decisions, system.scores)
    headline = headline_samples(*pair, measured.patients, draws, seed, KS, advance)
    return headline | drawn_means(order, weights)


def _row(system: System, figures: dict[str, float], samples: Mapping[str, Floats]) -> dict[str, Any]:
    ranked_by = "probability" if system.scores is None else "its own ranks"
    return {
        "name": system.name,
        "figures": figures,
        "intervals": intervals_of(samples),
        "accepted_labels": int(system.decisions.sum()),
        "accepted_at": system.accepted_at,
        "ranked_by": "nothing: decisions alone" if system.probabilities is None else ranked_by,
        "stamps": list(system.stamps),
    }


def _differences(
    figures: Mapping[str, float],
    first: Mapping[str, float],
    samples: Mapping[str, Floats],
    first_samples: Mapping[str, Floats],
) -> dict[str, dict[str, float]]:
    return {
        name: {"difference": figures[name] - first[name]}
        | (interval(samples[name] - first_samples[name]) if name in samples and name in first_samples else {})
        for name in figures
        if name in first and name != "primary_notes"
    }


def _dummy(frequency: Sequence[int], shape: tuple[int, ...]) -> System:
    """Every note gets the codes' training frequencies."""
    shares = np.array(frequency, dtype=np.float64) / max(1, *frequency)
    same = np.tile(shares, (shape[0], 1))
    return System(FREQUENCY, same, same >= 0.5, None, "half the count of the most frequent code")
