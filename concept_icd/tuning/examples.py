"""Training examples: what one note teaches, and the batches made of them.

A row holds the tokens of a note, the concepts that are (partly) true of it and how true; every other concept of the
set is a negative. Which of them are asked is drawn anew each time the note comes up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from concept_icd.errors import InputError
from concept_icd.llm.packing import pack_batch
from concept_icd.llm.prompts import TokenizedPrompt
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.records import CodedNote
from concept_icd.tuning.distillation import TaughtNote

#: Marks the columns of a batch that hold no answer.
NO_ANSWER = -100.0


def targets_of(note: CodedNote, concepts: ConceptSet, soft_targets: float = 0.0) -> np.ndarray:
    """How true each concept is of a note, float32 (concepts,) in [0, 1].

    target = (1 - s) * [covers a gold code] + s * (share of annotators with a code that the concept covers)

    with s = `soft_targets`; a note without annotators has the first term alone.
    """
    gold = concepts.weak_labels(note.codes)
    if not soft_targets or not note.annotations:
        return gold
    votes = np.mean([concepts.weak_labels(codes) for codes in note.annotations.values()], axis=0)
    return ((1 - soft_targets) * gold + soft_targets * votes).astype(np.float32)


def training_rows(
    notes: Sequence[CodedNote],
    concepts: ConceptSet,
    prompt: TokenizedPrompt,
    soft_targets: float = 0.0,
    taught: Sequence[TaughtNote] = (),
) -> dict[str, list[Any]]:
    """Columns of a training set, one row a note, `taught` ones last.

    They are tokens, indices of the true concepts, how true, whether these are a teacher's probabilities, the length,
    and whether the note is not read to its end.

    Raises:
        InputError: a note is empty.
    """
    longest = max(len(prompt.encode_concept(concept)) for concept in concepts.concepts)
    names = ("input_ids", "positives", "targets", "taught", "length", "truncated")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    all_targets = [targets_of(note, concepts, soft_targets) for note in notes] + [one.targets for one in taught]
    texts = [coded.note for coded in notes] + [one.note for one in taught]
    for number, (note, targets) in enumerate(zip(texts, all_targets, strict=True)):
        positives = np.flatnonzero(targets)
        # Arrays: as Python lists, the tokens of 50,000 long notes would take many gigabytes.
        encoded = prompt.encode_note(note, longest)
        ids = np.array(encoded.ids, dtype=np.int32)
        columns["input_ids"].append(ids)
        columns["positives"].append(positives.astype(np.int32))
        columns["targets"].append(targets[positives])
        columns["taught"].append(number >= len(notes))
        columns["length"].append(len(ids))
        columns["truncated"].append(encoded.truncated is not None)
    return columns


@dataclass
class PackedCollator:
    """Draws the questions of each note and packs the batch (`concept_icd.llm.packing.pack_batch`).

    Attributes:
        questions: tokens of every concept's question.
        positive_share, negative_share: chance of a true and of a false concept to be asked.
        dropout: chance of a token of the note's text to be left out, drawn anew each time the note comes up, so that
            no answer hangs on one word (word dropout: Iyyer et al., 2015, "Deep unordered composition", section 3.3).
        around: tokens of the prompt before and after the note's text, which are never left out.

    The draws come from torch's global generator, whose state a checkpoint keeps.
    """

    questions: list[list[int]]
    padding_id: int
    positive_share: float = 1.0
    negative_share: float = 0.1
    dropout: float = 0.0
    around: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise InputError(f"note_dropout must lie in [0, 1), it is {self.dropout}")
        for name in ("positive_share", "negative_share"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} must lie in (0, 1], it is {getattr(self, name)}")

    @property
    def sampling_offset(self) -> float:
        """log(positive_share / negative_share): what sampling adds to the log-odds of "yes".

        The loss adds it to the margin, so that the margin itself is the log-odds over all concepts, asked or not
        (prior correction: King and Zeng, 2001, "Logistic regression in rare events data", section 4.1).
        """
        return math.log(self.positive_share / self.negative_share)

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """A batch with `labels` (B, K) float: the targets of the last K columns, `NO_ANSWER` where there is none."""
        asked, answers = [], []
        for row in rows:
            targets = torch.zeros(len(self.questions))
            targets[torch.tensor(row["positives"], dtype=torch.long)] = torch.tensor(row["targets"])
            if row["taught"]:
                # As if it were drawn whether the concept is true, with the teacher's probability, and then whether it
                # is asked: so `sampling_offset` holds for these rows as well.
                true = targets * self.positive_share
                chance = true + (1 - targets) * self.negative_share
                targets = true / chance
            else:
                chance = torch.where(targets > 0, self.positive_share, self.negative_share)
            drawn = torch.rand(len(targets)) < chance
            if not drawn.any():  # a row must teach something
                drawn[torch.randint(len(targets), (1,))] = True
            chosen = drawn.nonzero()[:, 0]
            asked.append([self.questions[i] for i in chosen.tolist()])
            answers.append(targets[chosen])
        batch = pack_batch([self._thinned(row["input_ids"]) for row in rows], asked, self.padding_id)
        labels = torch.full((len(rows), max(map(len, asked))), NO_ANSWER)
        for number, answer in enumerate(answers):
            labels[number, -len(answer) :] = answer
        return {**batch, "labels": labels}

    def _thinned(self, note: Sequence[int]) -> Sequence[int]:
        if not self.dropout:
            return note
        kept = torch.rand(len(note)) >= self.dropout
        kept[: self.around[0]] = kept[len(note) - self.around[1] :] = True
        return [token for token, keep in zip(note, kept.tolist(), strict=True) if keep]
