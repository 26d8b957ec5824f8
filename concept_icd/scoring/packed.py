"""The packed scorer: the logits of all concepts of a note from one reading of it.

The note's keys and values are computed once; the questions follow in packed chunks under a block mask
(`concept_icd.scoring.packing`), and the cache is cropped back to the note after each chunk. A score is read as
h . (W[yes] - W[no]) at the end of the question, without the rest of the vocabulary. It equals the score of the plain
prompt "note + question" but for rounding. Knows notes and concepts, never gold codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from concept_icd.base_model import LoadedModel, load_model
from concept_icd.concepts import ConceptSet
from concept_icd.errors import InputError
from concept_icd.progress import progress_bar
from concept_icd.prompts import EncodedNote, PromptTemplate, TokenizedPrompt, checked_note_text
from concept_icd.records import Concept, Note, require_notes
from concept_icd.scoring.packing import NOTE, PADDING, QuestionChunk, chunk_questions, visible
from concept_icd.scoring.scores import ConceptScores, NoteScores


class PackedScorer:
    """Scores concepts of notes with a (LoRA-tuned) causal LM of Hugging Face transformers.

    Args:
        max_length, note_text: see `TokenizedPrompt`; by default the longest prompt is the model's.
        chunk_tokens: question tokens per forward pass. More of them waste attention between questions, fewer of them
            waste calls.
        batch_tokens: tokens (notes and their chunk) per forward pass when short notes are batched.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        prompt: PromptTemplate,
        *,
        max_length: int | None = None,
        note_text: str = "whole",
        chunk_tokens: int = 512,
        batch_tokens: int = 8192,
    ) -> None:
        self.model, self.prompt = loaded.model, prompt
        self.max_length = min(max_length or loaded.max_length, loaded.max_length)
        self.tokens = TokenizedPrompt(prompt, loaded.tokenizer, self.max_length, note_text)
        self.chunk_tokens, self.batch_tokens = chunk_tokens, batch_tokens
        self._decoder = _decoder(self.model)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        adapter: str | Path | None = None,
        prompt: PromptTemplate | str | Path = "concept",
        *,
        max_length: int | None = None,
        note_text: str = "whole",
        chunk_tokens: int = 512,
        batch_tokens: int = 8192,
        **loading: Any,
    ) -> PackedScorer:
        """Loads model, adapter and prompt; `loading` goes to `concept_icd.base_model.load_model`."""
        template = prompt if isinstance(prompt, PromptTemplate) else PromptTemplate.load(prompt)
        checked_note_text(note_text)  # before minutes of loading
        return cls(
            load_model(model, adapter, **loading),
            template,
            max_length=max_length,
            note_text=note_text,
            chunk_tokens=chunk_tokens,
            batch_tokens=batch_tokens,
        )

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
        if progress:
            with progress_bar(len(checked), "scoring") as bar:
                for scores in stream:
                    logits[order[scores.note_id]], truncated[order[scores.note_id]] = scores.logits, scores.truncated
                    bar.advance()
        else:
            for scores in stream:
                logits[order[scores.note_id]], truncated[order[scores.note_id]] = scores.logits, scores.truncated
        return ConceptScores(tuple(order), concepts.hash, logits, tuple(truncated))

    def iter_scores(self, notes: Sequence[Note], concepts: Sequence[Concept]) -> Iterator[NoteScores]:
        """Yields the notes' scores as they come, shortest notes first, so that a store can keep what is done."""
        questions = [self.tokens.encode_question(concept.text) for concept in concepts]
        longest = max(map(len, questions), default=0)
        encoded = sorted((self.tokens.encode_note(note, longest) for note in require_notes(notes)), key=_length)
        chunks = [_to(chunk, self.model.device) for chunk in chunk_questions(questions, self.chunk_tokens)]
        widest = max((chunk.ids.shape[1] for chunk in chunks), default=0)
        for batch in _batches(encoded, widest, self.batch_tokens):
            for note, row in zip(batch, self._score_batch(batch, chunks), strict=True):
                yield NoteScores(note.note_id, row, note.truncated)

    def text_read(self, note: Note, concepts: Sequence[Concept]) -> tuple[tuple[int, int], ...]:
        """The spans of the note's text that are read when these concepts are asked."""
        longest = max((len(self.tokens.encode_question(concept.text)) for concept in concepts), default=0)
        return self.tokens.encode_note(note, longest).read

    @torch.inference_mode()
    def _score_batch(self, batch: Sequence[EncodedNote], chunks: Sequence[QuestionChunk]) -> np.ndarray:
        """(notes, concepts) float32 scores of a batch of notes, padded on the right to the longest."""
        device = self.model.device
        lengths = torch.tensor([len(note.ids) for note in batch], device=device)
        size = int(lengths.max())
        ids = torch.zeros((len(batch), size), dtype=torch.long, device=device)
        for row, note in enumerate(batch):
            ids[row, : len(note.ids)] = torch.tensor(note.ids, device=device)
        positions = torch.arange(size, device=device)[None].expand_as(ids)
        segments = torch.where(positions < lengths[:, None], NOTE, PADDING)
        cache = DynamicCache()
        # Right padding needs no mask here: a causal model's real tokens never see what comes after them.
        self._decoder(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True)
        scores = [self._score_chunk(chunk, lengths, segments, positions, cache) for chunk in chunks]
        if not scores:
            return np.empty((len(batch), 0), dtype=np.float32)
        return torch.cat(scores, dim=1).cpu().numpy()

    def _score_chunk(
        self,
        chunk: QuestionChunk,
        lengths: torch.Tensor,
        note_segments: torch.Tensor,
        note_positions: torch.Tensor,
        cache: DynamicCache,
    ) -> torch.Tensor:
        """(notes, questions of the chunk) scores; the cache is left as it was found."""
        rows = len(lengths)
        positions = lengths[:, None] + chunk.offsets
        segments = chunk.segments.expand(rows, -1)
        mask = visible(
            segments,
            positions,
            torch.cat([note_segments, segments], dim=1),
            torch.cat([note_positions, positions], dim=1),
        )
        # Additive once here, where attention would otherwise convert the boolean mask in every layer.
        bias = torch.zeros(mask.shape, dtype=self.model.dtype, device=mask.device)
        bias.masked_fill_(~mask, torch.finfo(self.model.dtype).min)
        hidden = self._decoder(
            input_ids=chunk.ids.expand(rows, -1),
            position_ids=positions,
            attention_mask=bias,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        cache.crop(-chunk.ids.shape[1])
        return self._margin(hidden[:, chunk.ends])

    def _margin(self, hidden: torch.Tensor) -> torch.Tensor:
        """logit(yes) - logit(no) in float32 from hidden states (..., H)."""
        head, config = self.model.get_output_embeddings(), self.model.config.get_text_config()
        answers = torch.tensor([self.tokens.yes_id, self.tokens.no_id], device=hidden.device)
        logits = hidden.float() @ head.weight[answers].float().T
        if getattr(head, "bias", None) is not None:
            logits = logits + head.bias[answers].float()
        if scale := getattr(config, "logits_scaling", None):  # Granite divides its logits
            logits = logits / scale
        if scale := getattr(config, "logit_scale", None):  # Cohere multiplies them
            logits = logits * scale
        if cap := getattr(config, "final_logit_softcapping", None):  # Gemma 2 caps them
            logits = cap * torch.tanh(logits / cap)
        return logits[..., 0] - logits[..., 1]


def _decoder(model: Any) -> Any:
    """The transformer under the LM head, with its LoRA layers in place."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return base.get_decoder()


def _length(note: EncodedNote) -> int:
    return len(note.ids)


def _to(chunk: QuestionChunk, device: torch.device) -> QuestionChunk:
    tensors = {name: getattr(chunk, name).to(device) for name in ("ids", "segments", "offsets", "ends")}
    return QuestionChunk(first=chunk.first, **tensors)


def _batches(notes: Sequence[EncodedNote], chunk: int, tokens: int) -> Iterator[list[EncodedNote]]:
    """Consecutive notes (sorted by length) whose padded size with a chunk stays within `tokens`; one note at least."""
    batch: list[EncodedNote] = []
    for note in notes:
        if batch and (len(batch) + 1) * (len(note.ids) + chunk) > tokens:
            yield batch
            batch = []
        batch.append(note)
    if batch:
        yield batch
