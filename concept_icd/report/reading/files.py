"""Bytes of a file, unzipped where they are gzipped, and what its first bytes and its ending say. No format is read."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from concept_icd.errors import InputError

_GZIP = b"\x1f\x8b"


def ending(path: str | Path) -> str:
    """The last ending in lower case, without .gz: ".csv" of "gold.csv.gz"."""
    name = Path(path).name.lower().removesuffix(".gz")
    return Path(name).suffix


def is_feather(path: str | Path) -> bool:
    """Whether the file is Feather (version 2), by its first bytes."""
    with opened(path) as file:
        return file.read(6) == b"ARROW1"


def is_parquet(path: str | Path) -> bool:
    """Whether the file is Parquet, by its first bytes."""
    with opened(path) as file:
        return file.read(4) == b"PAR1"


@contextmanager
def opened(path: str | Path) -> Iterator[IO[bytes]]:
    """The file's bytes.

    Raises:
        InputError: it cannot be read, or its gzip is cut short or damaged.
    """
    try:
        with open(path, "rb") as raw:
            zipped = raw.read(2) == _GZIP
        with gzip.open(path) if zipped else open(path, "rb") as file:
            yield file  # type: ignore[misc]  # a GzipFile is a binary file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is a damaged or cut-short gzip file; copy it again") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Line numbers from 1, and lines without blanks around them; empty lines are left out.

    Raises:
        InputError: see `opened`; a line is not UTF-8.
    """
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise InputError(f"{path}, line {number} is not UTF-8; convert the file to UTF-8") from error
            if text:
                yield number, text
