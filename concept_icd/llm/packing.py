"""Packing: one note and K questions in one sequence, exact to the K prompts "note + question" it stands for.

Every token has a segment (0 the note, 1..K the questions, -1 padding) and a position. Positions of each question
restart right after the note, and the one rule of attention is

    query i sees key j  <=>  (segment_j = segment_i  or  segment_j = 0)  and  position_j <= position_i

so a question sees the note and itself, never another question; a layer with a sliding window sees of that what is near
enough by position. Where attention is all that mixes tokens, the hidden state at a question's last token is the one of
the plain prompt (papers: "CEC" asks one prompt a concept); `concept_icd.llm.packing_check` refuses other models.
The same rule serves scoring and training. This module knows nothing of text or models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch

NOTE, PADDING = 0, -1


def visible(
    query_segments: torch.Tensor, query_positions: torch.Tensor, key_segments: torch.Tensor, key_positions: torch.Tensor
) -> torch.Tensor:
    """The rule above as a boolean mask.

    Args:
        query_segments, query_positions: (B, Q) integers. key_segments, key_positions: (B, K) integers.

    Returns:
        (B, 1, Q, K), True where the query sees the key. Nothing but padding sees padding; padding sees itself, so that
        no row is empty.
    """
    key, query = key_segments[:, None, None, :], query_segments[:, None, :, None]
    before = key_positions[:, None, None, :] <= query_positions[:, None, :, None]
    return ((key == query) | (key == NOTE)) & before


@dataclass(frozen=True)
class QuestionChunk:
    """Some questions side by side, a row a note (one row where all notes are asked the same), padded on the right.

    Attributes:
        ids, segments, offsets: (rows, Q) for Q tokens. segments: 1..n. offsets: position within the question.
        ends: (rows, n), each question's last token. counts: how many questions each row has.
    """

    ids: torch.Tensor
    segments: torch.Tensor
    offsets: torch.Tensor
    ends: torch.Tensor
    counts: tuple[int, ...]


def chunk_questions(rows: Sequence[Sequence[Sequence[int]]], tokens: int) -> Iterator[QuestionChunk]:
    """Cuts each row's questions, in order, into chunks of at most `tokens` tokens (one question at least)."""
    for parts in zip_longest(*(_cut(questions, tokens) for questions in rows), fillvalue=()):
        width, most = max(sum(map(len, part)) for part in parts), max(map(len, parts))
        ids = torch.zeros((len(parts), width), dtype=torch.long)
        segments, offsets = torch.full_like(ids, PADDING), torch.zeros_like(ids)
        ends = torch.zeros((len(parts), most), dtype=torch.long)
        for row, part in enumerate(parts):
            lengths = torch.tensor([len(question) for question in part], dtype=torch.long)
            size = int(lengths.sum())
            ids[row, :size] = torch.tensor([token for question in part for token in question], dtype=torch.long)
            segments[row, :size] = torch.repeat_interleave(torch.arange(1, len(part) + 1), lengths)
            offsets[row, :size] = torch.arange(size) - torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
            ends[row, : len(part)] = lengths.cumsum(0) - 1
        yield QuestionChunk(ids, segments, offsets, ends, tuple(map(len, parts)))


def _cut(questions: Sequence[Sequence[int]], tokens: int) -> Iterator[Sequence[Sequence[int]]]:
    first = 0
    while first < len(questions):
        last, size = first, 0
        while last < len(questions) and (last == first or size + len(questions[last]) <= tokens):
            size += len(questions[last])
            last += 1
        yield questions[first:last]
        first = last


def pack_batch(
    notes: Sequence[Sequence[int]], questions: Sequence[Sequence[Sequence[int]]], padding_id: int
) -> dict[str, torch.Tensor]:
    """One training batch: per row a note and its own questions, each question's last token in the row's last columns.

    The order of tokens in a row does not matter under explicit masks and positions; with the last tokens at the end,
    the K answers of every row stand in the same columns, also inside the wrappers of DDP, FSDP and DeepSpeed. Rows
    with fewer tokens or questions are padded on the left of each part.

    Returns:
        input_ids, position_ids, segments: (B, L), for a model that takes them (`llm.packed_pass.accept_packing`). The
        answers of row b stand in its last len(questions[b]) columns, in order.

    A note of three tokens and two questions; the last token of each question stands at the end:

        >>> for name, rows in pack_batch([[1, 2, 3]], [[[7, 8], [9]]], padding_id=0).items():
        ...     print(name, rows.tolist())
        input_ids [[1, 2, 3, 7, 8, 9]]
        position_ids [[0, 1, 2, 3, 4, 3]]
        segments [[0, 0, 0, 1, 1, 2]]
    """
    body = max(len(note) + sum(len(q) - 1 for q in qs) for note, qs in zip(notes, questions, strict=True))
    tail = max(len(qs) for qs in questions)
    shape = (len(notes), body + tail)
    ids = torch.full(shape, padding_id)
    segments = torch.full(shape, PADDING)
    positions = torch.zeros(shape, dtype=torch.long)
    for row, (note, qs) in enumerate(zip(notes, questions, strict=True)):
        tokens, segment, position = list(note), [NOTE] * len(note), list(range(len(note)))
        for number, question in enumerate(qs, start=1):
            tokens += question[:-1]
            segment += [number] * (len(question) - 1)
            position += range(len(note), len(note) + len(question) - 1)
        left = body - len(tokens)
        ids[row, left:body] = torch.tensor(tokens)
        segments[row, left:body] = torch.tensor(segment)
        positions[row, left:body] = torch.tensor(position)
        if qs:
            ids[row, -len(qs) :] = torch.tensor([question[-1] for question in qs])
            segments[row, -len(qs) :] = torch.arange(1, len(qs) + 1)
            positions[row, -len(qs) :] = torch.tensor([len(note) + len(question) - 1 for question in qs])
    return {"input_ids": ids, "position_ids": positions, "segments": segments}
