"""What a scorer is: the contract that the packed scorer, vLLM and a server keep, and that the store and Ray rely on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

import numpy as np

from concept_icd.errors import InputError
from concept_icd.llm.prompts import PromptTemplate, TokenizedPrompt, checked_note_text
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.progress import progress_bar
from concept_icd.records import Concept, Note, OneLine, require_notes

if TYPE_CHECKING:
    from scipy.sparse import csr_array

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


class TokenScorer(Scorer):
    """A scorer that makes the prompts itself, in a base model's tokens.

    Args:
        tokens: template, tokenizer and longest prompt.
    """

    def __init__(self, tokens: TokenizedPrompt) -> None:
        self.tokens = tokens
        self._questions: dict[tuple[str, str], list[int]] = {}  # concept key and text -> tokens

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        adapter: str | Path | None = None,
        prompt: PromptTemplate | str | Path = "concept",
        *,
        max_length: int | None = None,
        note_text: str = "whole",
        **options: Any,
    ) -> Self:
        """Loads model, adapter and prompt.

        Args:
            model: "tiny", "smollm2-135m", a folder, a GGUF file, or a hub name.
            adapter: the folder of the LoRA weights on it.
            prompt: a template, the name of a shipped one, or a YAML file.
            max_length, note_text: see `TokenizedPrompt`; by default the longest prompt is the model's.
            options: of the kind of scorer, see its `load`.

        Raises:
            InputError: model, adapter or template is missing, or one does not fit the other.
        """
        checked_note_text(note_text)  # before minutes of loading
        template = prompt if isinstance(prompt, PromptTemplate) else PromptTemplate.load(prompt)

        def tokens_of(tokenizer: Any, window: int, learned: Any = None) -> TokenizedPrompt:
            return TokenizedPrompt(template, tokenizer, min(max_length or window, window), note_text, learned)

        return cls.load(tokens_of, model, adapter, **options)

    @classmethod
    @abstractmethod
    def load(cls, *what: Any, **options: Any) -> Self:
        """Takes (tokens_of, model, adapter) and what options the kind of scorer has; see `from_pretrained`.

        `tokens_of` makes the prompt from a tokenizer, the tokens of the model's window, and the ids of the learned
        question tokens by the keys of their concepts, where there are such.
        """

    def text_read(self, note: Note, concepts: Sequence[Concept]) -> tuple[tuple[int, int], ...]:
        """The spans of the note's text that are read when these concepts are asked."""
        longest = max((len(self._encode(concept)) for concept in concepts), default=0)
        return self.tokens.encode_note(note, longest).read

    def _encode(self, concept: Concept) -> list[int]:
        """A question's tokens, made once however many notes are asked it."""
        if (ids := self._questions.get((concept.key, concept.text))) is None:
            ids = self._questions[concept.key, concept.text] = self.tokens.encode_concept(concept)
        return ids


#: What makes the prompt in a base model's tokens; see `TokenScorer.load`.
TokensOf: TypeAlias = Callable[..., TokenizedPrompt]
#: For each note the rows of concepts of its next round, or None where it has no further one.
Rows: TypeAlias = list[np.ndarray | None]


def ask_in_rounds(
    rounds: Sequence[Rounds], concepts: int, ask: Callable[[Rows], Sequence[np.ndarray]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Asks several notes round after round, each round of all notes together, until none has another.

    Args:
        concepts: how many there are.
        ask: gives for each note the logits of its rows; what it gives for a note without rows is not read.

    Returns:
        for each note the rows that were asked, ascending, and their logits, float32.

    A note is asked about concept 1, and where the answer is yes also about concept 0:

        >>> def rounds():
        ...     answer = yield np.array([1])
        ...     if answer[0] > 0:
        ...         yield np.array([0])
        >>> [(rows, logits)] = ask_in_rounds([rounds()], 3, lambda rows: [np.array([2.5])])
        >>> rows, logits
        (array([0, 1]), array([2.5, 2.5], dtype=float32))
    """
    rows: Rows = [next(asking, None) for asking in rounds]
    logits = np.zeros((len(rows), concepts), dtype=np.float32)
    was_asked = np.zeros((len(rows), concepts), dtype=bool)
    while any(row is not None for row in rows):
        for number, found in enumerate(ask(list(rows))):
            if (row := rows[number]) is not None:
                logits[number, row], was_asked[number, row] = found, True
                rows[number] = next_round(rounds[number], found)
    return [(np.flatnonzero(mask), row[mask]) for mask, row in zip(was_asked, logits, strict=True)]


def next_round(rounds: Rounds, logits: np.ndarray) -> np.ndarray | None:
    """What is asked after these answers; None: nothing more."""
    try:
        return rounds.send(logits)
    except StopIteration:
        return None


# The records that a scorer returns and the heads read: concept scores of notes. They know nothing of gold codes.


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
