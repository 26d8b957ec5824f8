"""The scorer of a coder that asks no language model: every concept has the score 0, and experts alone read the note."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from concept_icd.ontology.concepts import ConceptSet
from concept_icd.records import Concept, Note
from concept_icd.scoring.scorer import ConceptScores, NoteScores, QuestionPlan, Scorer


class SilentScorer(Scorer):
    """See the module."""

    def iter_scores(
        self, notes: Sequence[Note], concepts: Sequence[Concept], plan: QuestionPlan | None = None
    ) -> Iterator[NoteScores]:
        """See `Scorer`."""
        for note in notes:
            yield NoteScores(note.note_id, np.zeros(len(concepts), dtype=np.float32), None)

    def text_read(self, note: Note, concepts: Sequence[Concept]) -> tuple[tuple[int, int], ...]:
        """See `Scorer`: experts read the whole note."""
        return ((0, len(note.text)),)


def silence(notes: Sequence[Note], concepts: ConceptSet) -> ConceptScores:
    """The scores of notes that no model was tuned on, since there is none."""
    logits = np.zeros((len(notes), len(concepts)), dtype=np.float32)
    ids = tuple(note.note_id for note in notes)
    return ConceptScores(ids, concepts.hash, logits, (None,) * len(ids), out_of_fold=True)
