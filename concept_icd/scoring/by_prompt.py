"""What scorers share that ask one prompt "note + question" at a time: vLLM, a server of it, and the plain way.

The prompts are those of the packed scorer, token for token. The questions of a note are handed over together, so that
an engine with a prefix cache reads the note once; a plan's rounds are asked for several notes at a time.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from concept_icd.errors import InputError
from concept_icd.llm.prompts import EncodedNote, TokenizedPrompt
from concept_icd.records import Concept, Note, OneLine, require_notes
from concept_icd.scoring.scorer import NoteFailure, NoteScores, QuestionPlan, Rounds, Rows, TokenScorer, ask_in_rounds


@dataclass(frozen=True, repr=False)
class Asked(OneLine):
    """Questions to one note, as token ids: the prompts are `note + question`."""

    note: tuple[int, ...]
    questions: list[list[int]]

    @property
    def prompts(self) -> list[list[int]]:
        """The whole prompts."""
        return [[*self.note, *question] for question in self.questions]


@dataclass(frozen=True, repr=False)
class Answered(OneLine):
    """The scores of some questions to a note, float32, and how many prompt tokens an engine had computed before."""

    logits: np.ndarray
    reused: int = 0


class PromptScorer(TokenScorer):
    """A scorer that asks prompts; a subclass says how (`_ask`).

    Args:
        tokens: template, tokenizer and longest prompt.
        notes_at_once: notes whose questions are handed over together.
    """

    def __init__(self, tokens: TokenizedPrompt, notes_at_once: int = 16) -> None:
        super().__init__(tokens)
        self.notes_at_once = notes_at_once

    @abstractmethod
    def _ask(self, asked: Sequence[Asked]) -> list[Answered]:
        """The answers to each note's questions.

        Raises:
            InputError: the engine cannot answer at all.
        """

    def iter_scores(
        self, notes: Sequence[Note], concepts: Sequence[Concept], plan: QuestionPlan | None = None
    ) -> Iterator[NoteScores | NoteFailure]:
        """Yields the notes' scores, `notes_at_once` notes at a time; see `Scorer`.

        Raises:
            InputError: the engine cannot answer at all.
        """
        questions = [self._encode(concept) for concept in concepts]
        longest = max(map(len, questions), default=0)
        group: list[tuple[EncodedNote, Rounds]] = []
        for note in require_notes(notes):
            try:
                encoded = self.tokens.encode_note(note, longest)
            except InputError as error:
                yield NoteFailure(note.note_id, str(error))
                continue
            group.append((encoded, _one_round(len(concepts)) if plan is None else plan.rounds(note)))
            if len(group) == self.notes_at_once:
                yield from self._score_group(group, questions, all_asked=plan is None)
                group = []
        yield from self._score_group(group, questions, all_asked=plan is None)

    def _score_group(
        self, group: Sequence[tuple[EncodedNote, Rounds]], questions: Sequence[list[int]], *, all_asked: bool
    ) -> Iterator[NoteScores]:
        tokens, reused = [0] * len(group), [0] * len(group)

        def ask(rows: Rows) -> list[np.ndarray]:
            found = [np.empty(0, dtype=np.float32) for _ in rows]
            at = [number for number, row in enumerate(rows) if row is not None]
            asked = [Asked(group[i][0].ids, [questions[k] for k in np.asarray(rows[i]).tolist()]) for i in at]
            for i, one, answer in zip(at, asked, self._ask(asked), strict=True):
                found[i] = answer.logits
                tokens[i] += sum(len(one.note) + len(question) for question in one.questions)
                reused[i] += answer.reused
            return found

        found = ask_in_rounds([rounds for _, rounds in group], len(questions), ask)
        for i, ((note, _), (rows, logits)) in enumerate(zip(group, found, strict=True)):
            kept = None if all_asked else rows
            yield NoteScores(note.note_id, logits, note.truncated, kept, tokens[i] - reused[i], reused[i])


def margin(logprobs: Any, yes: Any, no: Any) -> float:
    """logit(yes) - logit(no) from two log-probabilities of one distribution, whose normaliser cancels."""
    return float(logprobs[yes]) - float(logprobs[no])


def _one_round(concepts: int) -> Rounds:
    yield np.arange(concepts)
