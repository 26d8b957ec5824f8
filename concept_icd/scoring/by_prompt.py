"""What scorers share that ask one prompt "note + question" at a time: vLLM, a server of it, and the plain way.

The prompts are those of the packed scorer, token for token. The questions of a note are handed over together, so that
an engine with a prefix cache reads the note once; a plan's rounds are asked for several notes at a time.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from concept_icd.errors import InputError
from concept_icd.llm.prompts import EncodedNote, PromptTemplate, TokenizedPrompt
from concept_icd.records import Concept, Note, OneLine, require_notes
from concept_icd.scoring.scorer import NoteFailure, NoteScores, QuestionPlan, Rounds, Scorer, next_round


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


class PromptScorer(Scorer):
    """A scorer that asks prompts; a subclass says how (`_ask`).

    Args:
        tokens: template, tokenizer and longest prompt.
        notes_at_once: notes whose questions are handed over together.
    """

    def __init__(self, tokens: TokenizedPrompt, notes_at_once: int = 16) -> None:
        self.tokens, self.notes_at_once = tokens, notes_at_once
        self._questions: dict[tuple[str, str], list[int]] = {}  # concept key and text -> tokens

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

    def text_read(self, note: Note, concepts: Sequence[Concept]) -> tuple[tuple[int, int], ...]:
        """The spans of the note's text that are read when these concepts are asked."""
        longest = max((len(self._encode(concept)) for concept in concepts), default=0)
        return self.tokens.encode_note(note, longest).read

    def _encode(self, concept: Concept) -> list[int]:
        """A question's tokens, made once however many notes are asked it."""
        if (ids := self._questions.get((concept.key, concept.text))) is None:
            ids = self._questions[concept.key, concept.text] = self.tokens.encode_concept(concept)
        return ids

    def _score_group(
        self, group: Sequence[tuple[EncodedNote, Rounds]], questions: Sequence[list[int]], *, all_asked: bool
    ) -> Iterator[NoteScores]:
        """Asks round after round, each round of all notes together, until no note has another."""
        rounds = [asking for _, asking in group]
        rows = [next(asking, None) for asking in rounds]
        logits = [np.zeros(len(questions), dtype=np.float32) for _ in group]
        was_asked = [np.zeros(len(questions), dtype=bool) for _ in group]
        tokens, reused = [0] * len(group), [0] * len(group)
        while any(row is not None for row in rows):
            at = [number for number, row in enumerate(rows) if row is not None]
            asked = [Asked(group[i][0].ids, [questions[k] for k in np.asarray(rows[i]).tolist()]) for i in at]
            for i, ask, answer in zip(at, asked, self._ask(asked), strict=True):
                logits[i][rows[i]], was_asked[i][rows[i]] = answer.logits, True
                tokens[i] += sum(len(ask.note) + len(question) for question in ask.questions)
                reused[i] += answer.reused
                rows[i] = next_round(rounds[i], answer.logits)
        for i, (note, _) in enumerate(group):
            found = np.flatnonzero(was_asked[i])
            kept, scores = (None, logits[i]) if all_asked else (found, logits[i][found])
            yield NoteScores(note.note_id, scores, note.truncated, kept, tokens[i] - reused[i], reused[i])


def tokenized_prompt(
    model: str | Path,
    prompt: PromptTemplate | str | Path,
    max_length: int | None,
    note_text: str,
    learned: Mapping[str, Sequence[int]] | None = None,
) -> TokenizedPrompt:
    """The template in a base model's tokens, without loading the model; the longest prompt is the model's by default.

    Raises:
        InputError: no such model or template, or the tokenizer has no single token for the answers.
    """
    from concept_icd.llm.base_model import load_tokenizer

    template = prompt if isinstance(prompt, PromptTemplate) else PromptTemplate.load(prompt)
    tokenizer, window = load_tokenizer(model)
    return TokenizedPrompt(template, tokenizer, min(max_length or window, window), note_text, learned)


def margin(logprobs: Any, yes: Any, no: Any) -> float:
    """logit(yes) - logit(no) from two log-probabilities of one distribution, whose normaliser cancels."""
    return float(logprobs[yes]) - float(logprobs[no])


def _one_round(concepts: int) -> Rounds:
    yield np.arange(concepts)
