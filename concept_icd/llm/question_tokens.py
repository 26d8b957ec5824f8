"""Learned question tokens: a few vectors per concept that ask about it in the place of its title.

A file beside the adapter that they were trained with holds them; this module reads and writes it and knows no model.
In a prompt they are ids beyond the vocabulary (`QuestionTokens.ids`); `concept_icd.llm.question_embedding` gives those
a meaning. For an engine that takes vectors in a prompt, `values` are those vectors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from concept_icd.artifacts import loads, require_finite
from concept_icd.errors import InputError
from concept_icd.llm.reference import QUESTION_TOKENS

_TENSOR = "question_tokens"


@dataclass(frozen=True, eq=False)
class QuestionTokens:
    """The tokens of a concept set.

    Attributes:
        keys: of the concepts.
        values: float32 (concepts, tokens, hidden size), as the input embedding would return them.
    """

    keys: tuple[str, ...]
    values: np.ndarray

    @classmethod
    def load(cls, folder: str | Path) -> QuestionTokens | None:
        """Those of an adapter folder; None where its adapter asks in words.

        Raises:
            InputError: the file is damaged.
        """
        path = Path(folder) / QUESTION_TOKENS
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="numpy") as content:
                keys, values = tuple(loads(content.metadata()["keys"])), content.get_tensor(_TENSOR)
        except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
            raise InputError(f"{path} is damaged: tune the adapter again") from error
        if values.ndim != 3 or values.dtype != np.float32 or len(set(keys)) != len(values):
            raise InputError(f"{path} is damaged: tune the adapter again")
        require_finite(path, values)
        return cls(keys, values)

    def save(self, folder: str | Path) -> None:
        """Writes the file into a folder."""
        save_file({_TENSOR: self.values}, Path(folder) / QUESTION_TOKENS, metadata={"keys": json.dumps(self.keys)})

    @property
    def vectors(self) -> np.ndarray:
        """(concepts x tokens, hidden size), in the order of `ids`."""
        return self.values.reshape(-1, self.values.shape[2])

    def ids(self, first: int) -> dict[str, tuple[int, ...]]:
        """Key of a concept -> the ids of its tokens: token t of concept c is `first` + c * (tokens a concept) + t.

        Args:
            first: the base model's embedding has the ids below.

            >>> QuestionTokens(("code:486", "code:786.2"), np.zeros((2, 2, 4), dtype=np.float32)).ids(8000)
            {'code:486': (8000, 8001), 'code:786.2': (8002, 8003)}
        """
        size = self.values.shape[1]
        return {key: tuple(range(first + c * size, first + (c + 1) * size)) for c, key in enumerate(self.keys)}
