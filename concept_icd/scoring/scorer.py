"""What a scorer is: the contract that the packed scorer, vLLM and a server keep, and that the store and Ray rely on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from contextlib import nullcontext
from typing import Protocol, TypeAlias

import numpy as np

from concept_icd.concepts import ConceptSet
from concept_icd.errors import InputError
from concept_icd.progress import progress_bar
from concept_icd.records import Concept, Note, require_notes
from concept_icd.scoring.scores import ConceptScores, NoteFailure, NoteScores

#: Rounds of questions to one note: yields rows of concepts, each at most once, and is sent their logits, float32.
Rounds: TypeAlias = Generator[np.ndarray, np.ndarray, None]


class QuestionPlan(Protocol):
    """Which concepts a note is asked about, where it is not all of them: the answers of a round decide the next."""

    @property
    def hash(self) -> str:
        """Hex digest of all that decides what is asked and what is filled in."""

    @property
    def fill(self) -> np.ndarray:
        """(concepts,), float32: the logit that stands in a matrix where a concept was not asked."""

    def rounds(self, note: Note) -> Rounds:
        """The rounds of one note."""


class Scorer(ABC):
    """Scores concepts of notes. It takes `Note`, so that gold codes cannot reach it."""

    @abstractmethod
    def iter_scores(
        self, notes: Sequence[Note], concepts: Sequence[Concept], plan: QuestionPlan | None = None
    ) -> Iterator[NoteScores | NoteFailure]:
        """Yields one record a note as they come, in any order.

        Args:
            plan: which concepts are asked; None: all of them, in one round.
        """

    @abstractmethod
    def text_read(self, note: Note, concepts: Sequence[Concept]) -> tuple[tuple[int, int], ...]:
        """The spans of the note's text that are read when these concepts are asked."""

    def score(self, notes: Sequence[Note], concepts: ConceptSet, *, progress: bool = False) -> ConceptScores:
        """Scores every concept of every note.

        Returns:
            logits (notes, concepts) float32 in the order given.

        Raises:
            InputError: an empty note. TypeError: anything but a `Note`, so that gold codes cannot come in.
        """
        checked = require_notes(notes)
        order = {note.note_id: row for row, note in enumerate(checked)}
        if len(order) < len(checked):
            raise InputError("two notes have the same id; a score belongs to one note")
        logits = np.empty((len(checked), len(concepts)), dtype=np.float32)
        truncated: list[str | None] = [None] * len(checked)
        stream = self.iter_scores(checked, concepts.concepts)
        with progress_bar(len(checked), "scoring") if progress else nullcontext() as bar:
            for scores in stream:
                if isinstance(scores, NoteFailure):
                    raise InputError(scores.reason)
                logits[order[scores.note_id]], truncated[order[scores.note_id]] = scores.logits, scores.truncated
                if bar is not None:
                    bar.advance()
        return ConceptScores(tuple(order), concepts.hash, logits, tuple(truncated))


def next_round(rounds: Rounds, logits: np.ndarray) -> np.ndarray | None:
    """What is asked after these answers; None: nothing more."""
    try:
        return rounds.send(logits)
    except StopIteration:
        return None
