"""Predictions and gold laid out as matrices of the same notes over one label set."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concept_icd.corpora.gold import gold_matrix, gold_places
from concept_icd.errors import InputError
from concept_icd.metrics.inputs import Bools, Floats, Ints
from concept_icd.metrics.recall_depth import TARGETS, stops
from concept_icd.ontology.tree import load_ontology
from concept_icd.readers.forms import Gold, Predictions
from concept_icd.readers.label_sets import kind_of
from concept_icd.records import Kind, OneLine
from concept_icd.report.comparison import GoldLabels
from concept_icd.report.order import Stops
from concept_icd.report.results import EvaluationInputs


@dataclass(frozen=True, repr=False)
class Matrices(OneLine):
    """Predictions and gold of the same notes over the same codes.

    Attributes:
        gold: bool (notes, codes). probabilities: (notes, codes), or None where the predictions are mere decisions.
        scores: minus the rank, or None where the predictions have no ranks.
        decisions: bool (notes, codes), or None where the predictions have no accepted flags.
        places, principal: of the gold codes, as `gold_places` gives them; None where the gold has no billing order.
        kinds: (codes,). patients: (notes,), or None.
        depths: recall asked for -> how far each note is read, as `metrics.recall_depth.stops` gives it; None where the
            predictions do not say so. A recall that the codes named in some note do not reach is left out.
        label_set: in words, where the codes come from and what was left out.
        unnamed: (note, code) pairs that the predictions do not name: probability 0, ranked last.
        outside: labels that the gold or the predictions name outside of the label set.
    """

    note_ids: tuple[str, ...]
    codes: tuple[str, ...]
    gold: Bools
    probabilities: NDArray[np.floating[Any]] | None
    scores: Floats | None
    decisions: Bools | None
    places: Ints | None
    principal: Ints | None
    kinds: tuple[Kind, ...]
    patients: tuple[str, ...] | None
    depths: Mapping[float, Stops] | None
    label_set: str
    unnamed: int
    outside: frozenset[str]

    def evaluation_inputs(self) -> EvaluationInputs:
        """What `results.evaluate` takes of them."""
        return EvaluationInputs(**self._shared(EvaluationInputs))

    def gold_labels(self) -> GoldLabels:
        """What `comparison.compare_systems` takes of them."""
        return GoldLabels(**self._shared(GoldLabels))

    def _shared(self, record: type) -> dict[str, Any]:
        names = {field.name for field in dataclasses.fields(record)}
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name in names}


def align(
    predictions: Predictions,
    gold: Gold,
    codes: Sequence[str] | None = None,
    only_common: bool = False,
    named: str = "named by the user",
) -> Matrices:
    """Lays both out over one label set, notes in the order of the gold, codes sorted as strings.

    Args:
        codes: the label set; None takes every code of either. named: in words, who named it.
        only_common: leave out notes of one side only.

    Raises:
        InputError: a note is on one side only (count and first three), or no note is on both.
    """
    row_of = {note_id: row for row, note_id in enumerate(predictions.note_ids) if note_id not in gold.others}
    note_ids = _common_notes(row_of, gold, only_common)
    rows = np.array([row_of[note_id] for note_id in note_ids])
    gold_codes = {code for note_id in note_ids for code in gold.codes[note_id]}
    columns = tuple(sorted(gold_codes | _named_codes(predictions, rows) if codes is None else codes))
    if not columns:
        raise InputError("neither the predictions nor the gold names a code")

    place = {code: column for column, code in enumerate(columns)}
    truth, _ = gold_matrix(note_ids, gold.notes, columns)
    kept = np.array([code in place for code in predictions.codes], dtype=bool)
    source = np.flatnonzero(kept)
    target = np.array([place[predictions.codes[column]] for column in source], dtype=np.int64)

    def over(matrix: NDArray[Any] | None, empty: float) -> Any:
        if matrix is None:
            return None
        wide = np.full(truth.shape, empty, dtype=matrix.dtype)
        wide[:, target] = matrix[np.ix_(rows, source)]
        return wide

    inside, outside = (_named_pairs(predictions, rows, these) for these in (kept, ~kept))
    gold_outside = sum(len(gold.codes[note_id]) for note_id in note_ids) - int(truth.sum())
    places, principal = (None, None) if gold.billed is None else gold_places(note_ids, gold.billed, columns)
    gaps = truth.size - inside if predictions.probabilities is not None else 0
    missing, extra = len(gold.codes) - len(note_ids), len(row_of) - len(note_ids)
    others = len(predictions.note_ids) - len(row_of)
    words = {
        f"the {len(columns)} codes that occur in the gold or in the predictions": codes is None,
        f"{len(columns)} codes {named}": codes is not None,
        f"{gold_outside} gold and {outside} predicted (note, code) pairs outside of them are left out": gold_outside
        or outside,
        f"{gaps:,} of {truth.size:,} pairs are not named by the predictions: probability 0": gaps,
        f"left out: {missing} gold notes without predictions, {extra} without gold": missing or extra,
        f"predictions of {others} other notes of the corpus are left out": others,
    }
    return Matrices(
        note_ids=note_ids,
        codes=columns,
        gold=truth,
        probabilities=over(predictions.probabilities, 0),
        scores=over(predictions.scores, -np.inf),
        decisions=over(predictions.accepted, 0),
        places=places,
        principal=principal,
        kinds=tuple(kind_of(column, load_ontology(gold.classification)) for column in columns),
        patients=None if gold.patients is None else tuple(gold.patients[note_id] for note_id in note_ids),
        depths=None if predictions.expected is None else _depths(predictions.expected[np.ix_(rows, source)]),
        label_set="; ".join(sentence for sentence, applies in words.items() if applies),
        unnamed=gaps,
        outside=frozenset((gold_codes | _named_codes(predictions, rows)) - {*columns}),
    )


def _depths(expected: Floats) -> dict[float, Stops] | None:
    """How far each note is read, from the recall expected at the codes named, (notes, codes), NaN elsewhere."""
    wide = np.where(np.isnan(expected), np.inf, expected)
    found = {recall: stops(wide, recall) for recall in TARGETS}
    return {recall: at for recall, at in found.items() if np.isfinite(at[1]).all()} or None


def _common_notes(row_of: Mapping[str, int], gold: Gold, only_common: bool) -> tuple[str, ...]:
    if not only_common:
        _require_same_notes(gold.codes, row_of, "the gold", "the predictions")
        _require_same_notes(row_of, gold.codes, "the predictions", "the gold")
    note_ids = tuple(note_id for note_id in gold.codes if note_id in row_of)
    if not note_ids:
        raise InputError("no note is in both the predictions and the gold; compare their note ids")
    return note_ids


def _named_codes(predictions: Predictions, rows: Ints) -> set[str]:
    if predictions.named is None:
        return {*predictions.codes}
    return {predictions.codes[column] for column in np.flatnonzero(predictions.named[rows].any(axis=0))}


def _named_pairs(predictions: Predictions, rows: Ints, columns: Bools) -> int:
    if predictions.named is None:
        return len(rows) * int(columns.sum())
    return int(predictions.named[np.ix_(rows, np.flatnonzero(columns))].sum())


def _require_same_notes(here: Collection[str], there: Collection[str], name: str, other: str) -> None:
    missing = [note_id for note_id in here if note_id not in there]
    if missing:
        first = ", ".join(repr(note_id) for note_id in missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise InputError(
            f"{len(missing)} of the {len(here)} notes of {name} are not in {other}: {first}; "
            "complete the file, or pass --only-common to score the notes that are in both"
        )
