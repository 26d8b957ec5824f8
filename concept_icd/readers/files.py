"""One file of predictions or gold codes, and the form that it has. The bytes are looked at once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from concept_icd.files import ending, lines, opened

Form = Literal["feather", "parquet", "text table", "json", "json lines"]
_TEXT_TABLES = (".csv", ".psv", ".tsv", ".tab")


@dataclass(frozen=True)
class Source:
    """A file. Feather and Parquet are known by their first bytes, the other forms by their ending."""

    path: str | Path
    form: Form

    @classmethod
    def of(cls, path: str | Path) -> Source:
        """Looks at a file.

        Raises:
            InputError: it cannot be read.
        """
        with opened(path) as file:
            head = file.read(6)
        if head == b"ARROW1":
            return cls(path, "feather")
        if head.startswith(b"PAR1"):
            return cls(path, "parquet")
        if ending(path) in _TEXT_TABLES:
            return cls(path, "text table")
        return cls(path, "json" if ending(path) == ".json" and _is_one_document(path) else "json lines")

    def __str__(self) -> str:
        return str(self.path)


def _is_one_document(path: str | Path) -> bool:
    """Whether the first line is not a whole line of JSON lines."""
    first = next(lines(path), (0, ""))[1]
    try:
        return "note_id" not in json.loads(first)
    except (ValueError, TypeError, RecursionError):
        return True
