"""The nodes of one kind as a table that is held as text: a code's row, what stands there, the rows above and below.

A row is cut out of the text when it is asked for. Two hundred thousand nodes as objects would be a hundred megabytes;
so they are their text and some bytes each.
"""

from __future__ import annotations

import gzip
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

from concept_icd.records import Kind


@dataclass(frozen=True)
class Entry:
    """A row of a table.

    Attributes:
        parent: "" for a root.
        listed: first and last fiscal year, "2016/2026"; "" where the table knows no years.
        billable: "1" or "0" without years; with years, first and last, each a fiscal year or a day within one; "".
    """

    code: str
    parent: str
    level: str
    listed: str
    billable: str
    title: str


class NodeTable:
    """A table in tree order: parents before their children, siblings sorted by code."""

    def __init__(self, path: Path, kind: Kind) -> None:
        """Reads `path`, gzipped or not; its columns stand in ontology/README.md."""
        content = path.read_bytes()
        self._text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
        self.kind = kind
        header, *lines = self._text.removesuffix("\n").split("\n")
        self._columns = header.split("\t")
        self._starts = array("I", accumulate(map(len, lines[:-1]), _behind, initial=len(header) + 1))
        billable = self._columns.index("billable")
        self._billable, self._parents, row_of = bytearray(), array("i"), {"": -1}
        for row, line in enumerate(lines):
            cells = line.split("\t", 5)
            row_of[cells[0]] = row
            self._parents.append(row_of[cells[1]])
            self._billable.append(cells[billable] not in ("", "0"))
        del lines, row_of[""]
        codes = sorted(row_of)
        self._sorted_rows = array("I", map(row_of.__getitem__, codes))
        self._sorted_keys = array("Q", map(_key, codes))

    def __len__(self) -> int:
        return len(self._starts)

    def row(self, code: str) -> int | None:
        """Of exactly this code."""
        if not code.isascii():
            return None
        place = bisect_left(self._sorted_keys, _key(code))
        if place == len(self._sorted_keys):
            return None
        row = self._sorted_rows[place]
        return row if self.code(row) == code else None

    def code(self, row: int) -> str:
        """That stands in a row."""
        start = self._starts[row]
        return self._text[start : self._text.index("\t", start)]

    def billable(self, row: int) -> bool:
        """Whether its code was billable at some time."""
        return bool(self._billable[row])

    def entry(self, row: int) -> Entry:
        """Everything that stands in a row."""
        start = self._starts[row]
        cells = dict(zip(self._columns, self._text[start : self._text.index("\n", start)].split("\t"), strict=True))
        return Entry(*(cells.get(name, "") for name in ("code", "parent", "level", "listed", "billable", "title")))

    def parent(self, row: int) -> int | None:
        """The row above."""
        above = self._parents[row]
        return None if above < 0 else above

    def children(self, row: int) -> Iterator[int]:
        """The rows right below, in their order."""
        below, end = row + 1, self._ends[row]
        while below < end:
            yield below
            below = self._ends[below]

    def descendants(self, row: int) -> range:
        """All rows below, each parent before its children."""
        return range(row + 1, self._ends[row])

    @cached_property
    def _ends(self) -> array[int]:
        """Row -> the first row behind it that does not lie below it."""
        ends = array("I", range(1, len(self) + 1))
        for row in range(len(self) - 1, -1, -1):
            above = self._parents[row]
            if above >= 0:
                ends[above] = max(ends[above], ends[row])
        return ends


def _behind(start: int, length: int) -> int:
    """Where the next line starts, behind the end of this one."""
    return start + length + 1


def _key(code: str) -> int:
    """A number in the order of the codes; no two codes of a table begin with the same eight characters."""
    return int.from_bytes(code[:8].ljust(8, "\0").encode(), "big")
