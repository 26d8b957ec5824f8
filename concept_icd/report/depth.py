"""What a report says of how far to read: for each recall asked for, what reading that far brought on these notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from concept_icd.heads.reading import RECALL, TARGETS, expected_recall, stops
from concept_icd.metrics.areas import mean_of_defined
from concept_icd.metrics.inputs import Bools, Floats, Ints
from concept_icd.metrics.intervals import drawn_means, interval
from concept_icd.metrics.ranks import gold_ranks
from concept_icd.metrics.reading import fixed_depth, note_reading

#: (notes,) how many suggestions are read, and the recall expected there.
Stops = tuple[Ints, Floats]
OWN = "the expected recall that came with the predictions"
AT_THEIR_WORD = "the probabilities, taken at their word and the codes as independent"


@dataclass(frozen=True)
class DepthReport:
    """One system.

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
    gold: Bools, probabilities: Floats, order: Floats, reading: Mapping[float, Stops] | None, weights: Floats | None
) -> DepthReport:
    """Measures how far a system says to read.

    Args:
        order: scores (notes, codes), a higher one is read first. reading: see `results.evaluate`. weights: draws of
            the intervals (samples, notes), or None for no intervals.
    """
    ranks = gold_ranks(gold, order)
    figures, notes, rows = dict[str, float](), dict[str, Floats](), list[dict[str, Any]]()
    for asked, (depth, expected) in (at_their_word(probabilities, order) if reading is None else reading).items():
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
    return DepthReport(figures, notes, rows, AT_THEIR_WORD if reading is None else OWN)


def at_their_word(probabilities: Floats, order: Floats) -> dict[float, Stops]:
    """Recall asked for -> how far to read, where nothing was fitted that says so."""
    expected = expected_recall(probabilities, np.argsort(-order, axis=1, kind="stable"))
    return {recall: stops(expected, recall) for recall in TARGETS}
