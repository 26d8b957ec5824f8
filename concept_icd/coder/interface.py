"""How a coder is called from a notebook or a script: on texts, lists and tables, and by scikit-learn's names.

    >>> from concept_icd import ConceptCoder
    >>> coder = ConceptCoder.from_pretrained("radiology")
    >>> [result.principal.code for result in coder(["Cough and fever. Right lower lobe pneumonia.", "Fever."])]
    ['486', '780.6']

It knows inputs and forms of results; how a note is coded stands in `concept_icd.coder.coder`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np

from concept_icd.artifacts import require_finite
from concept_icd.coder import frames
from concept_icd.coder.folder import StoredCoder
from concept_icd.coder.inputs import notes_of
from concept_icd.corpora.reading import flaw
from concept_icd.errors import InputError
from concept_icd.progress import track
from concept_icd.records import CodingResult, Note
from concept_icd.scoring.scorer import ConceptScores

#: Notes that are scored together.
BATCH = 64


class CallableCoder(StoredCoder):
    """The calls; `ConceptCoder` codes."""

    @abstractmethod
    def code_batch(
        self, notes: Sequence[Note], *, top_concepts: int = 5, evidence: bool = False, batch: int = BATCH
    ) -> Iterator[CodingResult]:
        """See `ConceptCoder`."""

    @abstractmethod
    def _score(self, notes: Sequence[Note]) -> ConceptScores: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a text is an iterable of texts too
        self,
        notes: str | Note,
        *,
        evidence: bool = False,
        top_concepts: int = 5,
        keep_note: bool = False,
        progress: bool | None = None,
    ) -> CodingResult: ...

    @overload
    def __call__(
        self,
        notes: Iterable[str | Note],
        *,
        evidence: bool = False,
        top_concepts: int = 5,
        keep_note: bool = False,
        progress: bool | None = None,
    ) -> list[CodingResult]: ...

    def __call__(
        self,
        notes: str | Note | Iterable[str | Note],
        *,
        evidence: bool = False,
        top_concepts: int = 5,
        keep_note: bool = False,
        progress: bool | None = None,
    ) -> CodingResult | list[CodingResult]:
        """Codes a text or a `Note`, or each of a list of them; the results come in the same order.

        Args:
            evidence: also find the passages for and against each code, which takes several times as long.
            top_concepts: how many concepts to name for each code.
            keep_note: keep the note in its result, so that a notebook can show its passages.
            progress: tell on stderr how far the work is; None: where there are more than 64 notes.

        Raises:
            TypeError: it is something else. InputError: a note is empty, or two have one id.
        """
        listed, one = notes_of(notes)
        found = self.code_batch(listed, top_concepts=top_concepts, evidence=evidence)
        results = list(_told(found, len(listed), progress))
        if keep_note:
            results = [replace(result, note=note) for result, note in zip(results, listed, strict=True)]
        return results[0] if one else results

    def code_frame(
        self,
        frame: Any,
        *,
        text: str,
        id: str | None = None,
        age: str | None = None,
        sex: str | None = None,
        drugs: str | None = None,
        top: int | None = None,
        accepted_only: bool = False,
        evidence: bool = False,
        progress: bool | None = None,
    ) -> Any:
        """Codes the notes of a table; the answer is a table of the same library with a row a code.

        Args:
            frame: a DataFrame of pandas or polars (or another that Narwhals knows), a `pyarrow.Table`, or a
                `datasets.Dataset`.
            text: the column of the notes. id: that of their ids, which is the first column of the answer, as it is
                in the frame; None: the rows are numbered from 0, in a column "row".
            age, sex, drugs: columns of what else is known of the patient, where the coder's experts read it.
            top: the first codes of each note alone. accepted_only: those that reached the threshold; a note without
                one has no row.
            evidence, progress: as in a call.

        Returns:
            The columns of `concept_icd.records.tables.COLUMNS`, the id in the place of "note_id".

        Raises:
            InputError: a column is missing, a note is empty (its row is named), or an id stands there twice.
            MissingExtraError: Narwhals is not installed.
        """
        names = {"text": text, "note_id": id, "age": age, "sex": sex, "drugs": drugs}
        asked = frames.notes_of_frame(frame, {name: column for name, column in names.items() if column is not None})
        found = self.code_batch(asked.notes, top_concepts=0, evidence=evidence)
        results = _told(found, len(asked.notes), progress)
        return asked.answer(results, top=top, accepted_only=accepted_only)

    @property
    def classes_(self) -> np.ndarray:
        """The codes, as text, shape (codes,): the columns of `predict` and `predict_proba`."""
        return np.array(self.concepts.codes)

    def predict(self, notes: str | Note | Iterable[str | Note], *, progress: bool | None = None) -> np.ndarray:
        """Which codes reach the threshold, 0 or 1, int64, shape (notes, codes)."""
        return self.heads.threshold.accept(self.predict_proba(notes, progress=progress)).astype(np.int64)

    def predict_proba(
        self, notes: str | Note | Iterable[str | Note] | ConceptScores, *, progress: bool | None = None
    ) -> np.ndarray:
        """Calibrated probabilities, float64, shape (notes, codes), in the order of `classes_`.

        Args:
            notes: as in a call; or concept scores that are there already, with the columns of the coder's experts, if
                it has any (`complete`).
            progress: as in a call.

        Raises:
            TypeError, InputError: as in a call, or the scores are of another concept set.
        """
        if not isinstance(notes, ConceptScores):
            listed = checked(notes_of(notes)[0])
            parts = (listed[start : start + BATCH] for start in range(0, len(listed), BATCH))
            rows = (row for part in parts for row in self.predict_proba(self._score(part)))
            found = list(_told(rows, len(listed), progress))
            return np.array(found, dtype=np.float64).reshape(len(listed), len(self.concepts.codes))
        if notes.concept_hash != self.concepts.hash:
            raise InputError(
                f"the scores are of another concept set than the coder's: it ranks its own {len(self.concepts.codes)} "
                "codes and no others; score the notes with this coder, or fit one on these scores"
            )
        require_finite("the scores", notes.logits)
        return self.heads.predict_proba(notes.logits)


def checked(notes: Sequence[Note]) -> Sequence[Note]:
    """The notes.

    Raises:
        InputError: one of them is empty or no text.
    """
    for note in notes:
        if reason := flaw(note.text):
            raise InputError(f"note {note.note_id!r}: {reason}")
    return notes


def _told(items: Iterator[Any], total: int, progress: bool | None) -> Iterator[Any]:
    return track(items, total, "coding") if (total > BATCH if progress is None else progress) else items
