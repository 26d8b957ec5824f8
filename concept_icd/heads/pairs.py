"""(note, code) pairs, and tables of features of some of them. They know nothing of where features come from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from concept_icd.artifacts import loads, require_finite, writing
from concept_icd.errors import InputError


@dataclass(frozen=True, eq=False)
class Pairs:
    """Some (note, code) pairs.

    Attributes:
        note, code: row and column, int64, shape (pairs,).
        place: by falling probability among the note's codes of the same kind, from 1.
        position: by falling probability among all codes of the note, from 0.
    """

    note: np.ndarray
    code: np.ndarray
    place: np.ndarray
    position: np.ndarray

    def __len__(self) -> int:
        return len(self.note)

    def where(self, mask: np.ndarray) -> Pairs:
        """Those that the mask (pairs,) names."""
        return Pairs(self.note[mask], self.code[mask], self.place[mask], self.position[mask])


@dataclass(frozen=True, eq=False)
class PairTable:
    """Features of those pairs for which there are any; all others have zeros.

    Attributes:
        names: of the features. shape: (notes, codes).
        keys: note * codes + code, rising, int64, shape (pairs,). values: float32, shape (pairs, features).
    """

    names: tuple[str, ...]
    shape: tuple[int, int]
    keys: np.ndarray
    values: np.ndarray

    def of(self, note: np.ndarray, code: np.ndarray) -> np.ndarray:
        """Features of pairs, float64, shape (pairs, features)."""
        found = np.zeros((len(note), len(self.names)))
        if len(self.keys):
            wanted = note * self.shape[1] + code
            place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            known = self.keys[place] == wanted
            found[known] = self.values[place[known]]
        return found

    def at_rows(self, rows: np.ndarray, notes: int) -> PairTable:
        """The same of a table of `notes` notes, in which these notes stand in these (rising) rows."""
        note, code = np.divmod(self.keys, self.shape[1])
        shape = (notes, self.shape[1])
        return PairTable(self.names, shape, rows[note] * self.shape[1] + code, self.values)

    def save(self, path: str | Path) -> None:
        """Writes the table as safetensors."""
        from safetensors.numpy import save_file

        about = {"names": json.dumps(self.names), "shape": json.dumps(self.shape)}
        with writing(Path(path)):
            save_file({"keys": self.keys, "values": self.values}, path, metadata=about)

    @classmethod
    def load(cls, path: str | Path) -> PairTable:
        """Reads what `save` wrote.

        Raises:
            InputError: the file is missing or damaged.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                about, keys, values = file.metadata() or {}, file.get_tensor("keys"), file.get_tensor("values")
            require_finite(path, values)
            return cls(tuple(loads(about["names"])), tuple(loads(about["shape"])), keys, values)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise InputError(f"{path} is missing or holds no features of notes") from error
