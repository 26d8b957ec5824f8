"""The packed scorer: the logits of all concepts of a note from one reading of it.

The note's keys and values are computed once; the questions follow in packed chunks under a block mask
(`concept_icd.llm.packing`), and the cache is cropped back to the note after each chunk, so that a plan can ask
round after round. A score is logit(yes) - logit(no) at the end of the question, in float32, without the rest of the
vocabulary. It equals the score of the plain prompt "note + question" but for rounding, which is checked on every model
that is loaded. Where the adapter has a concept head (`concept_icd.llm.concept_head`), that answers from the reading
itself, and no question follows. Knows notes and concepts, never gold codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from transformers import DynamicCache

from concept_icd.errors import InputError
from concept_icd.llm.base_model import LoadedModel, is_out_of_memory, load_model
from concept_icd.llm.concept_head import read_states
from concept_icd.llm.packing import NOTE, PADDING, QuestionChunk, chunk_questions
from concept_icd.llm.packing_check import check_packing
from concept_icd.llm.prompts import EncodedNote, PromptTemplate, TokenizedPrompt
from concept_icd.progress import say
from concept_icd.records import Concept, Note, require_notes
from concept_icd.scoring.batch_sizes import DEFAULTS, batch_tokens_for, free_bytes
from concept_icd.scoring.scorer import (
    NoteFailure,
    NoteScores,
    QuestionPlan,
    Rows,
    TokenScorer,
    TokensOf,
    ask_in_rounds,
)

#: Questions as token ids, or as rows of a head: one row of them for all notes, or a row a note.
Asked: TypeAlias = Sequence[Sequence[Sequence[int]]]


@dataclass(frozen=True)
class NotesRead:
    """Notes whose keys and values are in the cache, padded on the right to the longest: (notes, tokens)."""

    lengths: torch.Tensor
    segments: torch.Tensor
    positions: torch.Tensor
    cache: DynamicCache


class PackedScorer(TokenScorer):
    """Scores concepts of notes with a (LoRA-tuned) causal LM of Hugging Face transformers.

    Args:
        prompt: a template, or one in the model's tokens.
        chunk_tokens: question tokens per forward pass. More of them waste attention between questions, fewer of them
            waste calls. None: 512.
        batch_tokens: tokens (notes and their chunk) per forward pass when short notes are batched. None: 8,192, and on
            a GPU as many as its free memory holds (`concept_icd.scoring.batch_sizes`).

    Where memory runs out, both are halved and the same notes are scored again, which is said once on stderr.

    Raises:
        InputError: the model does not answer packed questions as it answers plain prompts (`packing_check`).
    """

    def __init__(
        self,
        loaded: LoadedModel,
        prompt: PromptTemplate | TokenizedPrompt,
        *,
        chunk_tokens: int | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        if isinstance(prompt, PromptTemplate):
            prompt = TokenizedPrompt(prompt, loaded.tokenizer, loaded.max_length, learned=loaded.questions)
        super().__init__(prompt)
        self.model, self.head = loaded.model, loaded.head
        self.chunk_tokens = chunk_tokens or DEFAULTS["chunk_tokens"]
        self.batch_tokens = batch_tokens or _batch_tokens(self.model)
        self._was_halved = False
        check_packing(self.model, prompt, prompt.max_length, lambda notes, asked: self.ask(self.read(notes), asked))

    @classmethod
    def load(
        cls,
        tokens_of: TokensOf,
        model: str | Path,
        adapter: str | Path | None,
        *,
        chunk_tokens: int | None = None,
        batch_tokens: int | None = None,
        **loading: Any,
    ) -> Self:
        """See `from_pretrained`; `loading` goes to `concept_icd.llm.base_model.load_model`."""
        loaded = load_model(model, adapter, **loading)
        tokens = tokens_of(loaded.tokenizer, loaded.max_length, loaded.questions)
        return cls(loaded, tokens, chunk_tokens=chunk_tokens, batch_tokens=batch_tokens)

    def iter_scores(
        self, notes: Sequence[Note], concepts: Sequence[Concept], plan: QuestionPlan | None = None
    ) -> Iterator[NoteScores | NoteFailure]:
        """Yields the notes' scores as they come, shortest notes first, so that a store can keep what is done.

        Args:
            plan: see `Scorer`. A note that does not fit its prompt becomes a `NoteFailure`.

        Raises:
            InputError: a note does not fit into memory even when its questions are asked one by one.
        """
        questions = [self._encode(concept) for concept in concepts]
        longest = max(map(len, questions), default=0)
        pending: list[tuple[EncodedNote, Note]] = []
        for note in require_notes(notes):
            try:
                pending.append((self.tokens.encode_note(note, longest), note))
            except InputError as error:
                yield NoteFailure(note.note_id, str(error))
        pending.sort(key=lambda pair: len(pair[0].ids))
        total = sum(map(len, questions))
        while pending:
            chunk = min(max(self.chunk_tokens, longest), total)
            batch = pending[: _fitting([len(note.ids) + chunk for note, _ in pending], self.batch_tokens)]
            try:
                done = self._score_batch(batch, questions, plan)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                done = None  # what follows runs when the failed tensors are free
            if done is None:
                self._halve([len(note.ids) for note, _ in batch], chunk, longest)
                continue
            del pending[: len(batch)]
            yield from done

    def _halve(self, notes: Sequence[int], chunk: int, longest: int) -> None:
        """Halves what goes through the model at once, or gives up on a note (lengths in tokens)."""
        if len(notes) == 1 and chunk <= longest:
            raise InputError(
                f"out of memory: a note of {notes[0]:,} tokens and one question do not fit; "
                "free memory, or read less of each note (--max-length)"
            )
        self.chunk_tokens = max(1, chunk // 2)
        self.batch_tokens = len(notes) * (max(notes) + chunk) // 2
        if not self._was_halved:
            self._was_halved = True
            say("out of memory; going on with half as much at a time")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _score_batch(
        self, batch: Sequence[tuple[EncodedNote, Note]], questions: Sequence[list[int]], plan: QuestionPlan | None
    ) -> list[NoteScores]:
        notes = [encoded.ids for encoded, _ in batch]
        ask = partial(self.ask, self.read(notes)) if self.head is None else self._by_head(notes)
        if plan is None:
            logits = ask([questions])
            return [
                _scores(encoded, row, None, self._tokens_in(questions))
                for (encoded, _), row in zip(batch, logits, strict=True)
            ]

        def asked(rows: Rows) -> list[np.ndarray]:
            return ask([[] if row is None else [questions[k] for k in row.tolist()] for row in rows])

        found = ask_in_rounds([plan.rounds(note) for _, note in batch], len(questions), asked)
        return [
            _scores(encoded, logits, rows, self._tokens_in([questions[k] for k in rows.tolist()]))
            for (encoded, _), (rows, logits) in zip(batch, found, strict=True)
        ]

    def _tokens_in(self, questions: Sequence[list[int]]) -> int:
        return sum(map(len, questions)) if self.head is None else 0

    @torch.inference_mode()
    def _by_head(self, notes: Sequence[Sequence[int]]) -> Callable[[Asked], list[np.ndarray]]:
        """Reads some notes (token ids) once; what it returns does what `ask` does, by the head's rows of concepts."""
        head = self.head
        assert head is not None
        keys, values = head.read(read_states(self.model, self._padded(notes)))

        @torch.inference_mode()
        def ask(questions: Asked) -> list[np.ndarray]:
            rows = [torch.tensor([row for (row,) in asked], dtype=torch.long) for asked in questions]
            found = []
            for i, asked in enumerate(rows * len(notes) if len(rows) == 1 else rows):
                own = slice(i, i + 1), slice(len(notes[i]))
                found.append(head.margins(keys[own], values[own], asked[None].to(keys.device))[0].cpu().numpy())
            return found

        return ask

    @torch.inference_mode()
    def read(self, notes: Sequence[Sequence[int]]) -> NotesRead:
        """Reads some notes (token ids) once."""
        device = self.model.device
        lengths = torch.tensor([len(note) for note in notes], device=device)
        ids = self._padded(notes)
        positions = torch.arange(ids.shape[1], device=device)[None].expand_as(ids)
        segments = torch.where(positions < lengths[:, None], NOTE, PADDING)
        cache = DynamicCache()  # of whole notes, in layers with a sliding window too: questions end at many places
        # Right padding needs no mask here: a causal model's real tokens never see what comes after them.
        one = (self.tokens.yes_id,)  # nobody asks yet
        self.model(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True, answers=one)
        return NotesRead(lengths, segments, positions, cache)

    def _padded(self, notes: Sequence[Sequence[int]]) -> torch.Tensor:
        """(notes, tokens of the longest), padded on the right."""
        ids = torch.zeros((len(notes), max(map(len, notes))), dtype=torch.long)
        for row, note in enumerate(notes):
            ids[row, : len(note)] = torch.tensor(note)
        return ids.to(self.model.device)

    @torch.inference_mode()
    def ask(self, read: NotesRead, questions: Asked) -> list[np.ndarray]:
        """Asks the notes questions (token ids): one row of them for all notes, or a row a note.

        Returns:
            for each note the scores of its questions, float32. The notes can be asked again.
        """
        rows = len(read.lengths)
        parts: list[list[np.ndarray]] = [[np.empty(0, dtype=np.float32)] for _ in range(rows)]
        for chunk in chunk_questions(questions, self.chunk_tokens):
            scores = self._ask_chunk(read, chunk)
            counts = chunk.counts * rows if len(chunk.counts) == 1 else chunk.counts
            for part, row, count in zip(parts, scores, counts, strict=True):
                part.append(row[:count])
        return [np.concatenate(part) for part in parts]

    def _ask_chunk(self, read: NotesRead, chunk: QuestionChunk) -> np.ndarray:
        """(notes, questions of the chunk) scores; the cache is left as it was found."""
        device, rows = self.model.device, len(read.lengths)
        positions = read.lengths[:, None] + chunk.offsets.to(device)
        segments = chunk.segments.to(device).expand(rows, -1)
        logits = self.model(
            input_ids=chunk.ids.to(device).expand(rows, -1),
            position_ids=positions,
            segments=segments,
            cached=(read.segments, read.positions),
            past_key_values=read.cache,
            use_cache=True,
            answers=(self.tokens.yes_id, self.tokens.no_id),
        ).logits
        read.cache.crop(-chunk.ids.shape[1])
        margins = (logits[..., 0] - logits[..., 1]).gather(1, chunk.ends.to(device).expand(rows, -1))
        return np.asarray(margins.cpu().numpy())


def _scores(note: EncodedNote, logits: np.ndarray, asked: np.ndarray | None, question_tokens: int) -> NoteScores:
    reused = len(note.ids) * max(0, len(logits) - 1)
    return NoteScores(note.note_id, logits, note.truncated, asked, len(note.ids) + question_tokens, reused)


def _batch_tokens(model: Any) -> int:
    """For a model that is loaded."""
    free = free_bytes(str(model.device))
    return DEFAULTS["batch_tokens"] if free is None else batch_tokens_for(free, model.config, model.dtype.itemsize)


def _fitting(sizes: Sequence[int], tokens: int) -> int:
    """How many rows of rising size, padded to the largest, stay within `tokens`; one at least."""
    count = 1
    while count < len(sizes) and (count + 1) * sizes[count] <= tokens:
        count += 1
    return count
