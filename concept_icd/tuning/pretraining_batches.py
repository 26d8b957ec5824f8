"""Batches of notes with questions: which notes go together, and what each token of a packed row is followed by."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import torch

from concept_icd.tuning.pretraining_questions import QuestionedNote, QuestionMaker


def batches(
    maker: QuestionMaker, seed: int, first: int, notes: int, easy_steps: int = 0, group: int = 8
) -> Iterator[list[QuestionedNote]]:
    """Batches of notes of similar length from number `first` on, without end.

    Batches are drawn in groups of `group`, sorted by length, so that little is padding; the random numbers of a
    group follow from the seed and the group's number alone, so any batch can be made again after a restart. The
    first `easy_steps` batches are the literal ones alone, then the share of those falls to a twentieth.
    """
    number = first
    while True:
        start = number - number % group
        rng = random.Random(f"questions-{seed}-{start}")
        easy = min(1.0, max(0.05, 2 - start / easy_steps)) if easy_steps else 0.0
        drawn = [maker.draw(rng, easy) for _ in range(notes * group)]
        drawn.sort(key=lambda note: len(note.text) + sum(map(len, note.questions)))
        parts = [drawn[index * notes : (index + 1) * notes] for index in range(group)]
        rng.shuffle(parts)
        yield from parts[number - start :]
        number = start + group


def next_tokens(
    notes: Sequence[Sequence[int]],
    questions: Sequence[Sequence[Sequence[int]]],
    labels: Sequence[Sequence[float]],
    instruction: int,
) -> torch.Tensor:
    """What follows each token of `pack_batch`'s rows: (B, L), -1 where nothing is to be learnt.

    Learnt are the words of the note and those of the true questions, so that a note foretells its concepts: many more
    signs of what goes with what than the yes and no alone. The instruction is always the same and is left out.
    """
    body = max(len(note) + sum(len(q) - 1 for q in qs) for note, qs in zip(notes, questions, strict=True))
    targets = torch.full((len(notes), body + max(map(len, questions))), -1)
    for row, (note, qs) in enumerate(zip(notes, questions, strict=True)):
        place = body - len(note) - sum(len(q) - 1 for q in qs)
        targets[row, place + instruction - 1 : place + len(note) - 1] = torch.tensor(note[instruction:])
        place += len(note)
        for question, label in zip(qs, labels[row], strict=True):
            if label == 1:
                targets[row, place : place + len(question) - 1] = torch.tensor(question[1:])
            place += len(question) - 1
    return targets
