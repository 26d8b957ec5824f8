"""Which column of a table is what, by its name: the note's id, the patient, a list of labels, one code each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from concept_icd.errors import InputError
from concept_icd.readers.forms import require_once
from concept_icd.readers.label_sets import LabelReader

NOTE = ("note_id", "hadm_id", "_id", "id", "")  # "": the index of a data frame
_PATIENT = ("patient_id", "subject_id")
_LABELS = ("labels", "label", "codes", "target", "targets")


@dataclass(frozen=True)
class Columns:
    """The columns by name; `rest` are those that a matrix of predictions has for its codes."""

    note: str
    patient: str | None
    labels: str | None
    rest: tuple[str, ...]

    @classmethod
    def of(cls, names: Sequence[str], where: object) -> Columns:
        """Sorts the names of a table.

        Raises:
            InputError: none of them is a note's id.
        """

        def first(wanted: tuple[str, ...]) -> str | None:
            lower = {name.strip().lower(): name for name in reversed(names)}
            return next((lower[name] for name in wanted if name in lower), None)

        note, patient, labels = first(NOTE), first(_PATIENT), first(_LABELS)
        if note is None:
            raise InputError(f"{where} has no column of note ids; name it note_id or hadm_id")
        taken = (note, patient, labels)
        unnamed = re.compile(r"\s*|Unnamed: \d+")  # the index of a data frame, also after pandas has read it back
        rest = tuple(name for name in names if name not in taken and not unnamed.fullmatch(name))
        return cls(note, patient, labels, rest)

    def codes(self, reader: LabelReader, where: object) -> tuple[str, ...]:
        """The codes of the remaining columns, in their order.

        Raises:
            InputError: a name is no code, or two name the same one.
        """
        try:
            codes = tuple(reader.read(name) for name in self.rest)
            require_once(codes)
        except InputError as error:
            raise InputError(f"{where}, header: {error}") from error
        return codes
