"""What every reader returns, the builders for files that come note by note, and which column of a table is what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concept_icd.errors import InputError
from concept_icd.metrics.inputs import Bools, Floats, Ints
from concept_icd.ontology.tree import DEFAULT
from concept_icd.readers.label_sets import LabelReader
from concept_icd.records import CodedNote, Note, OneLine


@dataclass(frozen=True, repr=False)
class Predictions(OneLine):
    """Predictions of notes over the codes that they name.

    Attributes:
        probabilities: float (notes, codes), 0 where the file names none; None for decisions without probabilities.
        scores: minus the rank, -inf where the file has none; None where it does not rank.
        accepted: bool (notes, codes); None where the file does not decide.
        named: bool (notes, codes), what the file names; None: every cell.
        expected: the recall to expect once each code is read, NaN where the file names none; None: it does not say.
        passages: note id -> code -> (start, end) of what carries it, where the file says so.
        versions: what our own coder says of itself on each line; empty for others.
    """

    note_ids: tuple[str, ...]
    codes: tuple[str, ...]
    probabilities: NDArray[np.floating[Any]] | None
    scores: Floats | None = None
    accepted: Bools | None = None
    named: Bools | None = None
    expected: Floats | None = None
    versions: Mapping[str, str] = field(default_factory=dict, hash=False)
    passages: Mapping[str, Mapping[str, list[tuple[int, int]]]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, repr=False)
class Gold(OneLine):
    """Gold codes.

    Attributes:
        codes: note id -> its labels, without repeats. patients: note id -> patient id, or None where not known.
        billed: the same notes with their codes in billing order, or None where the source lists sets.
        others: ids of notes that the source has but that are not measured (other splits, no codes).
        label_set, aliases, task, train_stays: what a prepared corpus says of itself; else None and empty.
        classification: name of the ontology of the codes.
    """

    codes: Mapping[str, tuple[str, ...]]
    patients: Mapping[str, str] | None = None
    billed: tuple[CodedNote, ...] | None = None
    others: frozenset[str] = frozenset()
    label_set: tuple[str, ...] | None = None
    aliases: Mapping[str, str] = field(default_factory=dict, hash=False)
    task: str | None = None
    train_stays: int | None = None
    classification: str = DEFAULT

    @property
    def notes(self) -> tuple[CodedNote, ...]:
        """The same as coded notes; where the source lists sets, all codes stand among the diagnoses, in any order."""
        return self.billed or tuple(CodedNote(Note(note_id, ""), codes) for note_id, codes in self.codes.items())


class PredictionRows:
    """Collects predictions note by note; a code that a note does not name has probability 0 and is not accepted."""

    def __init__(self) -> None:
        self._place: dict[str, int] = {}
        self._columns: dict[str, Ints] = {}
        self._parts: dict[str, tuple[NDArray[Any] | None, ...]] = {}

    def add(
        self,
        note_id: str,
        codes: Sequence[str],
        probabilities: Sequence[float] | None,
        ranks: Sequence[int] | None = None,
        accepted: Sequence[bool] | None = None,
        expected: Sequence[float] | None = None,
    ) -> None:
        """One note; its codes are without repeats."""
        columns = [self._place.setdefault(code, len(self._place)) for code in codes]
        self._columns[note_id] = np.array(columns, dtype=np.int64)
        scores = None if ranks is None else [-rank for rank in ranks]
        parts = (probabilities, scores, accepted, expected)
        self._parts[note_id] = tuple(None if part is None else np.array(part) for part in parts)

    def predictions(self, versions: Mapping[str, str] | None = None) -> Predictions:
        """All of them; what one note lacks (probabilities, ranks, flags, expected recall) is left out for all."""
        shape = (len(self._columns), len(self._place))
        named = np.zeros(shape, dtype=bool)
        for row, columns in enumerate(self._columns.values()):
            named[row, columns] = True

        def laid_out(values: Sequence[NDArray[Any] | None], elsewhere: float | bool) -> NDArray[Any] | None:
            if any(value is None for value in values):
                return None
            wide = np.full(shape, elsewhere)
            for row, (columns, value) in enumerate(zip(self._columns.values(), values, strict=True)):
                wide[row, columns] = value
            return wide

        parts = zip(*self._parts.values(), strict=True) if self._parts else ((), (), (), ())
        probabilities, scores, accepted, expected = map(laid_out, parts, (0.0, -np.inf, False, np.nan))
        return Predictions(
            *(tuple(self._columns), tuple(self._place), probabilities, scores, accepted, named, expected),
            versions=versions or {},
        )


class GoldRows:
    """Collects gold codes note by note."""

    def __init__(self, path: str | Path) -> None:
        self._path, self._codes, self._patients = path, dict[str, tuple[str, ...]](), dict[str, str]()
        self._billed: list[CodedNote] = []

    def add(self, note_id: str, codes: tuple[str, ...], patient: str | None, billed: CodedNote | None = None) -> None:
        """One note; `billed`: its codes in billing order, where the source has one."""
        self._codes[note_id] = codes
        if billed is not None:
            self._billed.append(billed)
        if patient is not None:
            self._patients[note_id] = patient

    def gold(self) -> Gold:
        """All of them.

        Raises:
            InputError: only some notes have a patient.
        """
        named, notes = len(self._patients), len(self._codes)
        if 0 < named < notes:
            raise InputError(
                f"{self._path}: {named} of {notes} notes have a patient_id; give it for every note or for none"
            )
        billed = tuple(self._billed) if len(self._billed) == notes else None
        return Gold(self._codes, self._patients or None, billed)


def require_once(codes: tuple[str, ...]) -> None:
    """InputError where a code stands there twice."""
    if len(set(codes)) < len(codes):
        twice = next(code for code in codes if codes.count(code) > 1)
        raise InputError(f"the code {twice} stands there twice")


def require_probability(code: str, value: Any) -> None:
    """InputError where the value is no probability."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InputError(f"the probability of {code} is {value!r}, not a number between 0 and 1")


#: Names of the column of note ids, in order; the last is the index of a data frame.
NOTE = ("note_id", "hadm_id", "_id", "id", "")
_PATIENT = ("patient_id", "subject_id")
_LABELS = ("labels", "label", "codes", "target", "targets")


@dataclass(frozen=True)
class Columns:
    """The columns of a table by what they are; `rest` are those that a matrix of predictions has for its codes."""

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
