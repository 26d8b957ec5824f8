"""What a report says of the billing order, and of how far to read.

Of the order: figures, values per note for the intervals, and the gain curves. Of the reading: for each recall asked
for, what reading that far brought on these notes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from concept_icd.metrics.auc import mean_of_defined
from concept_icd.metrics.inputs import Bools, Floats, Ints
from concept_icd.metrics.intervals import drawn_means, interval
from concept_icd.metrics.order import Codes, gain_curve, note_order, order_figures
from concept_icd.metrics.ranking import gold_ranks
from concept_icd.metrics.recall_depth import RECALL, TARGETS, expected_recall, fixed_depth, note_reading, stops
from concept_icd.records import Kind

KINDS: tuple[Codes, ...] = ("diagnoses", "procedures")
#: Where the gain curves are drawn.
CURVE = tuple(range(1, 16))
FREQUENCY, BILLED = "training frequency (dummy)", "the billing order itself"


@dataclass(frozen=True)
class OrderReport:
    """The billing order of one system.

    Attributes:
        figures: as `order_figures` gives them, without the undefined ones. notes: as `note_order` gives them.
        curves: kind -> system -> mean cumulative gain at each k of `CURVE`; kinds that occur in the gold alone.
    """

    figures: dict[str, float]
    notes: dict[str, Floats]
    curves: dict[Codes, dict[str, list[float]]]


def report_order(
    places: ArrayLike, principal: ArrayLike | None, kinds: Sequence[Kind], scores: ArrayLike, name: str
) -> OrderReport:
    """Measures one system's order. Args as in `order_metrics`, but kinds: (codes,). name: of its curves."""
    diagnoses = are_diagnoses(kinds)
    notes = note_order(places, scores, diagnoses, principal)
    figures = {metric: value for metric, value in order_figures(notes).items() if value == value}
    present = [kind for kind in KINDS if f"graded_ndcg_{kind}" in figures]
    curves = {kind: {name: gain_curve(places, scores, diagnoses, kind, CURVE).tolist()} for kind in present}
    return OrderReport(figures, notes, curves)


def bounds(
    places: ArrayLike, kinds: Sequence[Kind], frequency: Sequence[int] | None
) -> dict[Codes, dict[str, list[float]]]:
    """Curves to read the others by: kind -> what training frequency gives every note, and the highest possible."""
    gold, diagnoses = np.asarray(places), are_diagnoses(kinds)
    systems: dict[str, Any] = {BILLED: np.where(gold > 0, -gold, -np.inf)}
    if frequency is not None:
        same = np.broadcast_to(np.asarray(frequency, dtype=np.float64), gold.shape)
        systems = {FREQUENCY: same} | systems
    return {
        kind: {name: gain_curve(gold, scores, diagnoses, kind, CURVE).tolist() for name, scores in systems.items()}
        for kind in KINDS
    }


def are_diagnoses(kinds: Sequence[Kind]) -> Bools:
    """(codes,) bool."""
    return np.array([kind == "diagnosis" for kind in kinds], dtype=np.bool_)


def frequencies(codes: Sequence[str], counts: Mapping[str, int] | None) -> list[int] | None:
    """(codes,) training notes with each code; None where not known."""
    return None if counts is None else [int(counts.get(code, 0)) for code in codes]


#: (notes,) how many suggestions are read, and the recall expected there.
Stops = tuple[Ints, Floats]
OWN = "the expected recall that came with the predictions"
AT_THEIR_WORD = "the probabilities, taken at their word and the codes as independent"


@dataclass(frozen=True)
class DepthReport:
    """How far one system says to read, and what that brought.

    Attributes:
        figures: at `RECALL`. notes: the same per note, (notes,) each; NaN where a note has no gold code.
        rows: one a recall asked for: means over notes with a gold code, with the interval of the recall found.
        source: in words, what said how far to read.
    """

    figures: dict[str, float]
    notes: dict[str, Floats]
    rows: list[dict[str, Any]]
    source: str


def report_depth(
    gold: Bools, probabilities: Floats, order: Floats, depths: Mapping[float, Stops] | None, weights: Floats | None
) -> DepthReport:
    """Measures how far a system says to read.

    Args:
        order: scores (notes, codes), a higher one is read first. depths: as in `results.EvaluationInputs`. weights:
            (samples, notes), the samples of the intervals, or None for no intervals.
    """
    ranks = gold_ranks(gold, order)
    figures, notes, rows = dict[str, float](), dict[str, Floats](), list[dict[str, Any]]()
    for asked, (depth, expected) in (at_their_word(probabilities, order) if depths is None else depths).items():
        values = note_reading(ranks, depth, expected, asked)
        means = {name: mean_of_defined(value) for name, value in values.items()}
        fixed, fixed_errors = fixed_depth(ranks, means["reading_recall"])
        drawn = {} if weights is None else drawn_means({"recall": values["reading_recall"]}, weights)
        rows.append(
            {
                "asked": asked,
                "notes": int(ranks.has_gold.sum()),
                **{name.removeprefix("reading_"): value for name, value in means.items()},
                "recall_interval": interval(drawn["recall"], "share") if drawn else None,
                "median_depth": float(np.median(depth[ranks.has_gold])) if ranks.has_gold.any() else np.nan,
                "depth_without_gold": mean_of_defined(depth[~ranks.has_gold]),
                "fixed_depth": fixed,
                "fixed_errors": fixed_errors,
            }
        )
        if asked == RECALL:
            at = f"_at_{asked * 100:.10g}"
            notes = {name + at: value for name, value in values.items()}
            figures = {name + at: value for name, value in means.items()} | {f"reading_fixed_depth{at}": fixed}
    return DepthReport(figures, notes, rows, AT_THEIR_WORD if depths is None else OWN)


def at_their_word(probabilities: Floats, order: Floats) -> dict[float, Stops]:
    """Recall asked for -> how far to read, where nothing was fitted that says so."""
    expected = expected_recall(probabilities, np.argsort(-order, axis=1, kind="stable"))
    return {recall: stops(expected, recall) for recall in TARGETS}
