"""Gold codes of coded notes as matrices over a label set. Heads and metrics read them; scorers never do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from concept_icd.errors import InputError
from concept_icd.records import CodedNote


def gold_matrix(
    note_ids: Sequence[str], notes: Iterable[CodedNote], codes: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """Gold codes of the named notes, bool (notes, codes), and each note's patient (its own id where none is given).

        >>> from concept_icd.records import Note
        >>> notes = [CodedNote(Note("a", "Fever.", patient_id="7"), ("780.6", "V12.2")), CodedNote(Note("b", "Cough."))]
        >>> gold, patients = gold_matrix(["b", "a"], notes, ["486", "780.6"])
        >>> gold.tolist(), patients
        ([[False, False], [False, True]], ['note b', '7'])

    Raises:
        InputError: a named note is not among `notes`.
    """
    named, column = _named(note_ids, notes), {code: number for number, code in enumerate(codes)}
    gold = np.zeros((len(named), len(codes)), dtype=bool)
    for row, coded in zip(gold, named, strict=True):
        row[[column[code] for code in coded.codes if code in column]] = True
    return gold, [coded.note.patient_id or f"note {coded.note.note_id}" for coded in named]


def gold_places(
    note_ids: Sequence[str], notes: Iterable[CodedNote], codes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Billing orders of the named notes over a label set.

    Returns:
        int64 (notes, codes): 0 where the code is not gold, else its place, from 1, among the note's gold codes of its
        kind that are in the set. int64 (notes,): the column of the principal diagnosis, -1 where the set lacks it or
        the note has none.

    Raises:
        InputError: a named note is not among `notes`.
    """
    named, column = _named(note_ids, notes), {code: number for number, code in enumerate(codes)}
    places = np.zeros((len(named), len(codes)), dtype=np.int64)
    for row, coded in zip(places, named, strict=True):
        for listed in (coded.diagnoses, coded.procedures):
            inside = [column[code] for code in dict.fromkeys(listed) if code in column]
            row[inside] = np.arange(1, len(inside) + 1)
    principal = [column.get(coded.principal_diagnosis or "", -1) for coded in named]
    return places, np.array(principal, dtype=np.int64)


def _named(note_ids: Sequence[str], notes: Iterable[CodedNote]) -> list[CodedNote]:
    by_id = {coded.note.note_id: coded for coded in notes}
    if missing := [note_id for note_id in note_ids if note_id not in by_id]:
        raise InputError(f"the scored note {missing[0]!r} is not in the corpus: name the corpus that was scored")
    return [by_id[note_id] for note_id in note_ids]
