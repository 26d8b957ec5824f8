"""Notes and their codes as numbers: tokens, columns of codes, the sequence that the decoder is to write.

A note's codes enter in `training_example` alone; what `NoteEncoder` reads is a `Note`, which has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from concept_icd.baselines.corpus import require_text
from concept_icd.baselines.ltr_icd.decoding import Grammar
from concept_icd.baselines.ltr_icd.model import NO_TOKEN
from concept_icd.baselines.training import pad_ids
from concept_icd.records import CodedNote, Note


@dataclass(frozen=True)
class NoteEncoder:
    """Tokens of a note, from its beginning, at most `max_tokens` with those that end a text.

    Attributes:
        text: "raw", or "caml" for `caml_words` of the note.
    """

    tokenizer: Any
    max_tokens: int
    text: str = "raw"

    def encode(self, note: Note) -> tuple[np.ndarray, str | None]:
        """The tokens, int32, and None or one sentence on what was not read.

        Raises:
            InputError: the note is empty or no text.
        """
        require_text(note)
        text = caml_words(note.text) if self.text == "caml" else note.normalized.text
        ids = np.array(self.tokenizer(text, verbose=False)["input_ids"], dtype=np.int32)
        if len(ids) <= self.max_tokens:
            return ids, None
        said = f"the note has {len(ids)} tokens, the first {self.max_tokens} were read"
        cut = self.tokenizer(text, verbose=False, truncation=True, max_length=self.max_tokens)
        return np.array(cut["input_ids"], dtype=np.int32), said


def caml_words(text: str) -> str:
    """CAML's text of a note (Mullenbach et al. 2018, section 4.1): words in lower case, numbers left out.

    >>> caml_words("BP 120/80, given Lasix 40mg IV.")
    'bp given lasix 40mg iv'
    """
    return " ".join(word.lower() for word in re.findall(r"\w+", text) if not word.isnumeric())


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
