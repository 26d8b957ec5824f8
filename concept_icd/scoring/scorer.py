"""What a scorer is: the contract that the packed scorer, vLLM and a server keep, and that the store and Ray rely on."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np

    from concept_icd.records import Concept, Note
    from concept_icd.scoring.scores import NoteFailure, NoteScores

#: Rounds of questions to one note: yields rows of concepts, each at most once, and is sent their logits, float32.
Rounds: TypeAlias = "Generator[np.ndarray, np.ndarray, None]"


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


class Scorer(Protocol):
    """Scores concepts of notes. It takes `Note`, so that gold codes cannot reach it."""

    def iter_scores(
        self, notes: Sequence[Note], concepts: Sequence[Concept], plan: QuestionPlan | None = None
    ) -> Iterator[NoteScores | NoteFailure]:
        """Yields one record a note as they come, in any order.

        Args:
            plan: which concepts are asked; None: all of them, in one round.
        """
