"""The records that a scorer returns and the heads read: concept scores of notes. They know nothing of gold codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from concept_icd.records import OneLine

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_array


@dataclass(frozen=True, eq=False, repr=False)
class NoteScores(OneLine):
    """Scores of one note.

    Attributes:
        logits: float32, one per concept asked: logit(yes) - logit(no), natural log units.
        truncated: None, or one sentence that says what part of the note was not read.
        asked: rows of the concepts asked, ascending; None: all of them, in order.
        computed, reused: prompt tokens that went through the model, and those whose keys and values were there already.
    """

    note_id: str
    logits: np.ndarray
    truncated: str | None = None
    asked: np.ndarray | None = None
    computed: int = 0
    reused: int = 0


@dataclass(frozen=True, repr=False)
class NoteFailure(OneLine):
    """A note that could not be scored, and why, in one sentence without its text."""

    note_id: str
    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class ConceptScores(OneLine):
    """Scores of `notes x concepts`.

    Attributes:
        note_ids: one id a row, each once.
        concept_hash: hash of the concept set that the columns follow.
        logits: float32, shape (notes, concepts): logit(yes) - logit(no), natural log units.
        truncated: for each note None, or one sentence that says what part was not read.
        out_of_fold: each note was scored by a model that was not tuned on it (an untuned model counts).
        asked: bool, sparse, shape (notes, concepts): where a plan decided which concepts a note was asked about, those;
            the logits of the others are the plan's fill. None: every note was asked about every concept.
    """

    note_ids: tuple[str, ...]
    concept_hash: str
    logits: np.ndarray
    truncated: tuple[str | None, ...]
    out_of_fold: bool = False
    asked: csr_array | None = None

    def __post_init__(self) -> None:
        rows = (len(self.note_ids), len(self.truncated), self.logits.shape[0])
        if self.logits.ndim != 2 or len(set(rows)) > 1:
            raise ValueError(f"ids, truncation marks and rows of logits are {rows}: they must be as many")

    def __len__(self) -> int:
        return len(self.note_ids)

    def select(self, note_ids: Sequence[str]) -> ConceptScores:
        """The rows of these notes, in this order.

        Raises:
            KeyError: a note that is not among these.
        """
        row_of = {note_id: row for row, note_id in enumerate(self.note_ids)}
        rows = [row_of[note_id] for note_id in note_ids]
        truncated = tuple(self.truncated[row] for row in rows)
        asked = None if self.asked is None else self.asked[rows]
        return replace(self, note_ids=tuple(note_ids), logits=self.logits[rows], truncated=truncated, asked=asked)
