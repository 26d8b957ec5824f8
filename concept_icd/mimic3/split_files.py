"""One file of admission ids: a line an id, a CSV with a header, or a table in Feather or Parquet.

It takes ids and splits and leaves every other column. It knows nothing of benchmarks.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from concept_icd.errors import InputError

SPLITS = ("train", "dev", "test")
_ID = re.compile(r"[0-9]+", re.ASCII)


def read_ids(path: Path, column: str | None, split: str | None) -> dict[str, tuple[str, ...]]:
    """Split -> ids in file order.

    Args:
        column: of the ids; None: one id a line and no header.
        split: which split the file is; None: a column `split` says it row by row ("val" is "dev").

    Raises:
        InputError: the file is unreadable, lacks the column, holds no ids, or an id is no number or stands twice.
    """
    lists: dict[str, dict[str, None]] = {name: {} for name in ([split] if split else SPLITS)}
    for line, stay, named in _rows(path, column):
        name = split or {"val": "dev"}.get(named, named)
        if name not in lists:
            raise InputError(f"{path}, row {line}: the split {named!r} is none of train, val, dev and test")
        if not _ID.fullmatch(stay):
            raise InputError(f"{path}, row {line}: {stay!r} is no admission number")
        if stay in lists[name]:
            raise InputError(f"{path}, row {line}: the stay {stay} is in the list twice")
        lists[name][stay] = None
    if not any(lists.values()):
        raise InputError(f"{path} holds no ids")
    return {name: tuple(stays) for name, stays in lists.items()}


def _rows(path: Path, column: str | None) -> Iterator[tuple[int, str, str]]:
    """Row number (of text files the line, with the header), id and what stands in the column `split`."""
    if path.suffix in (".feather", ".parquet"):
        yield from _table_rows(path, column)
        return
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig") as file:
            yield from _text_rows(path, csv.reader(file), column)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or 'it is damaged'}") from error
    except (EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: it is damaged or no text") from error


def _text_rows(path: Path, reader: Iterator[list[str]], column: str | None) -> Iterator[tuple[int, str, str]]:
    header = [name.strip().lower() for name in next(reader, [])] if column else []
    place = _column(path, header, column) if column else 0
    split = header.index("split") if "split" in header else None
    for line, row in enumerate(reader, start=2 if column else 1):
        if any(cell.strip() for cell in row):
            cells = [*row, *[""] * (len(header) - len(row))]
            yield line, cells[place].strip(), "" if split is None else cells[split].strip()


def _table_rows(path: Path, column: str | None) -> Iterator[tuple[int, str, str]]:
    import pyarrow
    from pyarrow import feather, parquet

    try:
        table = feather.read_table(path) if path.suffix == ".feather" else parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"cannot read {path}: it is damaged or no {path.suffix[1:]} file") from error
    names = [name.lower() for name in table.column_names]
    ids = table.column(_column(path, names, column)).to_pylist()
    splits = table.column(names.index("split")).to_pylist() if "split" in names else [""] * len(ids)
    for row, (stay, split) in enumerate(zip(ids, splits, strict=True), start=1):
        yield row, str(stay).strip(), str(split)


def _column(path: Path, header: list[str], column: str | None) -> int:
    if column not in header:
        raise InputError(f"{path} has no column {column}; its columns are {', '.join(header) or 'none'}")
    return header.index(column)
