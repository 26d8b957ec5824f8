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

    Raises:
        InputError: a named note is not among `notes`.
    """
    by_id, column = {coded.note.note_id: coded for coded in notes}, {code: c for c, code in enumerate(codes)}
    gold, groups = np.zeros((len(note_ids), len(codes)), dtype=bool), []
    for row, note_id in enumerate(note_ids):
        if note_id not in by_id:
            raise InputError(f"the scored note {note_id!r} is not in the corpus: name the corpus that was scored")
        coded = by_id[note_id]
        gold[row, [column[code] for code in coded.codes if code in column]] = True
        groups.append(coded.note.patient_id or f"note {note_id}")
    return gold, groups


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
    by_id, column = {coded.note.note_id: coded for coded in notes}, {code: c for c, code in enumerate(codes)}
    places = np.zeros((len(note_ids), len(codes)), dtype=np.int64)
    principal = np.full(len(note_ids), -1, dtype=np.int64)
    for row, note_id in enumerate(note_ids):
        if note_id not in by_id:
            raise InputError(f"the scored note {note_id!r} is not in the corpus: name the corpus that was scored")
        coded = by_id[note_id]
        for listed in (coded.diagnoses, coded.procedures):
            inside = [column[code] for code in dict.fromkeys(listed) if code in column]
            places[row, inside] = np.arange(1, len(inside) + 1)
        principal[row] = column.get(coded.principal_diagnosis or "", -1)
    return places, principal
