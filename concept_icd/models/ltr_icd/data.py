"""Notes and their codes as numbers: tokens, columns of codes, the sequence that the decoder is to write.

A note's codes enter in `training_example` alone; what `NoteEncoder` reads is a `Note`, which has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from concept_icd.corpora import Corpus
from concept_icd.corpora.reading import flaw
from concept_icd.errors import InputError
from concept_icd.folds import group_folds
from concept_icd.models.ltr_icd.decoding import Grammar
from concept_icd.models.ltr_icd.model import NO_TOKEN
from concept_icd.ontology import load_ontology
from concept_icd.records import CodedNote, Note


@dataclass(frozen=True)
class NoteEncoder:
    """Tokens of a note, from its beginning, at most `max_tokens`."""

    tokenizer: Any
    max_tokens: int

    def encode(self, note: Note) -> tuple[np.ndarray, str | None]:
        """The tokens, int32, and None or one sentence on what was not read.

        Raises:
            InputError: the note is empty or no text.
        """
        if reason := flaw(note.text):
            raise InputError(f"note {note.note_id!r}: {reason}")
        ids = np.array(self.tokenizer(note.text, verbose=False)["input_ids"], dtype=np.int32)
        if len(ids) <= self.max_tokens:
            return ids, None
        said = f"the note has {len(ids)} tokens, the first {self.max_tokens} were read"
        return ids[: self.max_tokens], said


def labels_of(
    corpus: Corpus, notes: Sequence[CodedNote], classification: str
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, str]]:
    """Diagnoses and procedures of the label set (the corpus's, or the codes of the notes, sorted), and its aliases.

    Raises:
        InputError: a label is no code of the classification.
    """
    ontology = load_ontology(classification)
    labels = corpus.label_set or tuple(sorted({code for note in notes for code in note.codes}))
    aliases = {label: code for label, code in corpus.aliases.items() if label in set(labels)}
    kinds = {label: ontology.kind(aliases.get(label, label)) for label in labels}
    diagnoses = tuple(label for label in labels if kinds[label] == "diagnosis")
    return diagnoses, tuple(label for label in labels if kinds[label] == "procedure"), aliases


def training_notes(corpus: Corpus, holdout: float, seed: int) -> tuple[list[CodedNote], list[CodedNote]]:
    """Coded notes to learn from, and those that choose the threshold: dev's, or a share of the training patients.

    A note without a split counts as a training note; test notes are neither.

    Raises:
        InputError: there is nothing to learn from, or one patient alone and no dev split.
    """
    train = [note for note in corpus.notes if note.codes and note.split in (None, "train")]
    if not train:
        raise InputError("the corpus has no coded training notes")
    dev = [note for note in corpus.split("dev") if note.codes]
    if dev or not holdout:
        return train, dev
    patients = [note.note.patient_id or f"note {note.note.note_id}" for note in train]
    if len(set(patients)) < 2:
        raise InputError("the training notes are of one patient, so none can be held out: set holdout to 0")
    fold_of = group_folds(patients, max(2, round(1 / holdout)), seed)
    chosen = [note for note, fold in zip(train, fold_of, strict=True) if fold == 0]
    return [note for note, fold in zip(train, fold_of, strict=True) if fold != 0], chosen


def training_example(
    note: CodedNote, encoder: NoteEncoder, columns: Mapping[str, int], grammar: Grammar
) -> dict[str, Any]:
    """One note with its targets. Codes outside the label set, and repeats, are left out, the others keep their order.

    A note with none left has no labels and the sequence `DIAGNOSES PROCEDURES END`.
    """
    codes = [columns[code] for code in dict.fromkeys(note.codes) if code in columns]
    return {"input_ids": encoder.encode(note.note)[0], "codes": codes, "sequence": grammar.encode(codes)}


@dataclass(frozen=True)
class Collator:
    """Pads examples to a batch, as `LtrIcd.forward` takes it."""

    codes: int
    padding_id: int

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch of some examples."""
        ids, mask = pad_ids([example["input_ids"] for example in examples], self.padding_id)
        labels = torch.zeros(len(examples), self.codes)
        for row, example in enumerate(examples):
            labels[row, example["codes"]] = 1.0
        longest = max(len(example["sequence"]) for example in examples)
        sequence = torch.full((len(examples), longest), NO_TOKEN)
        for row, example in enumerate(examples):
            sequence[row, : len(example["sequence"])] = torch.tensor(example["sequence"])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels, "sequence": sequence}


def pad_ids(notes: Sequence[np.ndarray], padding_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, int64 (notes, longest), padded on the right."""
    ids = torch.full((len(notes), max(map(len, notes))), padding_id)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(notes):
        ids[row, : len(tokens)] = torch.from_numpy(tokens.astype(np.int64))
        mask[row, : len(tokens)] = 1
    return ids, mask
