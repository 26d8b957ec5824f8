"""What every reader returns, and the two builders for files that come note by note."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concept_icd.errors import InputError
from concept_icd.metrics.inputs import Bools, Floats, Ints
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


@dataclass(frozen=True, repr=False)
class Gold(OneLine):
    """Gold codes.

    Attributes:
        codes: note id -> its labels, without repeats. patients: note id -> patient id, or None where not known.
        billed: the same notes with their codes in billing order, or None where the source lists sets.
        others: ids of notes that the source has but that are not measured (other splits, no codes).
        label_set, aliases, task, train_stays: what a prepared corpus says of itself; else None and empty.
    """

    codes: Mapping[str, tuple[str, ...]]
    patients: Mapping[str, str] | None = None
    billed: tuple[CodedNote, ...] | None = None
    others: frozenset[str] = frozenset()
    label_set: tuple[str, ...] | None = None
    aliases: Mapping[str, str] = field(default_factory=dict, hash=False)
    task: str | None = None
    train_stays: int | None = None

    @property
    def notes(self) -> tuple[CodedNote, ...]:
        """The same as coded notes; where the source lists sets, all codes stand among the diagnoses, in any order."""
        return self.billed or tuple(CodedNote(Note(note_id, ""), codes) for note_id, codes in self.codes.items())


class PredictionRows:
    """Collects predictions note by note; a code that a note does not name has probability 0 and is not accepted."""

    def __init__(self) -> None:
        self._place: dict[str, int] = {}
        self._rows: dict[str, tuple[Ints, Floats | None, Ints | None, Bools | None, Floats | None]] = {}

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
        columns = np.array([self._place.setdefault(code, len(self._place)) for code in codes], dtype=np.int64)
        self._rows[note_id] = (
            columns,
            None if probabilities is None else np.array(probabilities, dtype=np.float64),
            None if ranks is None else np.array(ranks, dtype=np.int64),
            None if accepted is None else np.array(accepted, dtype=np.bool_),
            None if expected is None else np.array(expected, dtype=np.float64),
        )

    def predictions(self, versions: Mapping[str, str] | None = None) -> Predictions:
        """All of them; what one note lacks (probabilities, ranks, flags, expected recall) is left out for all."""
        shape = (len(self._rows), len(self._place))
        has = [all(row[part] is not None for row in self._rows.values()) for part in (1, 2, 3, 4)]
        named, accepted = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        probabilities, scores = np.zeros(shape), np.full(shape, -np.inf) if has[1] else np.empty(0)
        expected = np.full(shape, np.nan) if has[3] else np.empty(0)
        for row, (columns, values, ranks, flags, recall) in enumerate(self._rows.values()):
            named[row, columns] = True
            if values is not None:
                probabilities[row, columns] = values
            if has[1] and ranks is not None:
                scores[row, columns] = -ranks
            if flags is not None:
                accepted[row, columns] = flags
            if has[3] and recall is not None:
                expected[row, columns] = recall
        return Predictions(
            tuple(self._rows),
            tuple(self._place),
            probabilities if has[0] else None,
            scores if has[1] else None,
            accepted if has[2] else None,
            named,
            expected if has[3] else None,
            versions or {},
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
