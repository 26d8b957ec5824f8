"""What a report says of the billing order: figures, values per note for the intervals, and the gain curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from concept_icd.metrics.inputs import Bools, Floats
from concept_icd.metrics.order import Codes, gain_curve, note_order, order_figures
from concept_icd.records import Kind

KINDS: tuple[Codes, ...] = ("diagnoses", "procedures")
#: Where the gain curves are drawn.
CURVE = tuple(range(1, 16))
FREQUENCY, BILLED = "training frequency (dummy)", "the billing order itself"


@dataclass(frozen=True)
class OrderReport:
    """One system.

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
