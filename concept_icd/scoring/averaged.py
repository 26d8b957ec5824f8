"""The mean of several scorers' logits: what each adapter got wrong by the luck of its training partly cancels.

Its members differ in their adapters alone. Each of them reads every note, so that time and (in one process, with
merged weights) memory grow with their number; in vLLM they share an engine and its base model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from concept_icd.records import Concept, Note, require_notes
from concept_icd.scoring.scorer import NoteFailure, NoteScores, QuestionPlan, Rounds, Scorer, next_round

#: Notes that one member scores before the next does: what a caller that keeps finished notes may lose.
NOTES_AT_ONCE = 64


class AveragedScorer(Scorer):
    """Scores concepts of notes by the mean over its members.

    A plan is told the means: its rounds are those that a single scorer with these logits would be asked, and each of
    them reads the notes again.
    """

    def __init__(self, members: Sequence[Scorer]) -> None:
        self.members = tuple(members)

    def iter_scores(
        self, notes: Sequence[Note], concepts: Sequence[Concept], plan: QuestionPlan | None = None
    ) -> Iterator[NoteScores | NoteFailure]:
        """Yields the notes' scores, some notes at a time, in order; see `Scorer`."""
        checked = require_notes(notes)
        for start in range(0, len(checked), NOTES_AT_ONCE):
            part = checked[start : start + NOTES_AT_ONCE]
            yield from self._means(part, concepts, None) if plan is None else self._by_plan(part, concepts, plan)

    def text_read(self, note: Note, concepts: Sequence[Concept]) -> tuple[tuple[int, int], ...]:
        """The spans of the note's text that are read when these concepts are asked."""
        return self.members[0].text_read(note, concepts)

    def _means(
        self, notes: Sequence[Note], concepts: Sequence[Concept], plan: QuestionPlan | None
    ) -> Iterator[NoteScores | NoteFailure]:
        found = [{one.note_id: one for one in member.iter_scores(notes, concepts, plan)} for member in self.members]
        for note in notes:
            said = [own[note.note_id] for own in found]
            scores = [one for one in said if isinstance(one, NoteScores)]
            failures = [one for one in said if isinstance(one, NoteFailure)]
            yield failures[0] if failures else _mean(scores)

    def _by_plan(
        self, notes: Sequence[Note], concepts: Sequence[Concept], plan: QuestionPlan
    ) -> Iterator[NoteScores | NoteFailure]:
        rounds = {note.note_id: plan.rounds(note) for note in notes}
        rows = {note_id: next(asking, None) for note_id, asking in rounds.items()}
        answers: dict[str, list[NoteScores]] = {note_id: [] for note_id in rounds}
        while asked := [note for note in notes if rows[note.note_id] is not None]:
            for one in self._means(asked, concepts, _OneRound(plan, rows)):
                if isinstance(one, NoteFailure):
                    rows[one.note_id] = None
                    yield one
                    continue
                answers[one.note_id].append(one)
                given = np.zeros(len(concepts), dtype=np.float32)
                given[one.asked] = one.logits
                rows[one.note_id] = next_round(rounds[one.note_id], given[rows[one.note_id]])
        for parts in answers.values():
            if parts:
                yield _join(parts)


@dataclass(frozen=True)
class _OneRound:
    """A plan that asks each note the rows of its next round, and then stops."""

    plan: QuestionPlan
    rows: Mapping[str, np.ndarray | None]

    @property
    def hash(self) -> str:
        return self.plan.hash

    @property
    def fill(self) -> np.ndarray:
        return self.plan.fill

    def rounds(self, note: Note) -> Rounds:
        yield np.asarray(self.rows[note.note_id])


def _mean(scores: Sequence[NoteScores]) -> NoteScores:
    """Of one note; the tokens are those of all members together."""
    first = scores[0]
    logits = np.stack([one.logits for one in scores]).mean(axis=0)
    computed, reused = sum(one.computed for one in scores), sum(one.reused for one in scores)
    return NoteScores(first.note_id, logits, first.truncated, first.asked, computed, reused)


def _join(rounds: Sequence[NoteScores]) -> NoteScores:
    """All rounds of a note in one record, its rows ascending."""
    asked = np.concatenate([np.asarray(one.asked) for one in rounds])
    order = np.argsort(asked)
    logits = np.concatenate([one.logits for one in rounds])[order]
    computed, reused = sum(one.computed for one in rounds), sum(one.reused for one in rounds)
    return NoteScores(rounds[0].note_id, logits, rounds[0].truncated, asked[order], computed, reused)
