"""Bytes of a file, unzipped where they are gzipped, in bounded memory; and what its first bytes and its name say.

Everything that a user names is opened here: pipes and devices are refused, since they may never end; a gzip file that
unpacks to hundreds of times its size is a bomb and ends in a sentence. No format is read.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import stat
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from concept_icd.errors import InputError

#: Bytes of a note, of a line or of a member of an archive: a thousand times the longest discharge summary.
LONGEST = 1 << 26
#: gzip packs a thousand equal bytes into one; text, even repeated text, stays far below this.
BOMB_RATIO = 500
_GZIP = b"\x1f\x8b"
_JSON_OBJECTS_BY_CR = re.compile(rb"\}\s*\r\s*\{")


def printable(path: str | Path) -> str:
    """A path as text for messages, ids and JSON: bytes that are not UTF-8, and controls, become `\\xfc` and the like.

    >>> printable("notes/a\\n.txt")
    'notes/a\\\\n.txt'
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) == "Cc" else character
        for character in text
    )


def ending(path: str | Path) -> str:
    """The last ending in lower case, without .gz: ".csv" of "gold.CSV.gz"."""
    name = Path(path).name.lower().removesuffix(".gz")
    return Path(name).suffix


def is_parquet(path: str | Path) -> bool:
    """Whether the file is Parquet, by its first bytes."""
    with opened(path) as file:
        return file.read(4) == b"PAR1"


@contextmanager
def opened(path: str | Path, *, by_name: bool = False) -> Iterator[IO[bytes]]:
    """The file's bytes, unzipped where its first bytes are gzip's.

    Args:
        by_name: unzip only what is called .gz.

    Raises:
        InputError: it cannot be read, is no regular file, its gzip is cut short, damaged or a bomb.
    """
    where = printable(path)
    try:
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a folder says itself what is wrong
            raise InputError(f"{where} is a pipe or a device, not a file; write what it gives into a file first")
        with open(path, "rb") as raw:
            zipped, named = raw.read(2) == _GZIP, Path(path).suffix.lower() == ".gz"
            raw.seek(0)
            if named and not zipped:
                raise gzip.BadGzipFile
            zipped = named if by_name else zipped
            if not zipped:
                yield raw
                return
            with io.BufferedReader(_Unpacked(raw, where)) as file:
                yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"cannot read {where}: it is a damaged or cut-short gzip file; copy it again") from error
    except OSError as error:
        raise InputError(f"cannot read {where}: {error.strerror or error}") from error


class _Unpacked(io.RawIOBase):
    """What a gzip file holds, as long as it is no bomb."""

    def __init__(self, packed: IO[bytes], where: str) -> None:
        self._packed, self._file, self._where = packed, gzip.GzipFile(fileobj=packed), where

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # typeshed's WriteableBuffer
        data = self._file.read(len(buffer))
        size = self._file.tell()
        if size > LONGEST and size > BOMB_RATIO * self._packed.tell():
            raise InputError(f"{self._where} unpacks to more than {BOMB_RATIO} times its size: no text does; not read")
        buffer[: len(data)] = data
        return len(data)


def read_bytes(path: str | Path, most: int = LONGEST) -> bytes:
    """The whole file, unzipped.

    Raises:
        InputError: see `opened`; it holds more than `most` bytes.
    """
    with opened(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise InputError(f"{printable(path)} holds more than {most >> 20} MiB, the most that is read at once")
    return data


def byte_lines(path: str | Path, *, json: bool = False) -> Iterator[tuple[int, bytes | None]]:
    """Line numbers from 1, and the lines, ended by LF, CRLF or, as on old Macs, CR; None for one above `LONGEST` bytes.

    Args:
        json: a lone CR ends a line only between objects, since it may stand as a blank inside one; and only what is
            called .gz is unzipped.
    """
    with opened(path, by_name=json) as file:
        head = file.peek(1 << 16)  # type: ignore[attr-defined]  # both kinds of `opened` are buffered
        by_cr = b"\n" not in head and bool(_JSON_OBJECTS_BY_CR.search(head) if json else b"\r" in head)
        lines = _split_at_cr(file) if by_cr else _split_at_lf(file)
        yield from enumerate(lines, start=1)


def _split_at_lf(file: IO[bytes]) -> Iterator[bytes | None]:
    while line := file.readline(LONGEST + 1):
        if len(line) <= LONGEST:
            yield line
            continue
        while line and not line.endswith(b"\n"):  # what follows of it, without keeping it
            line = file.readline(LONGEST)
        yield None


def _split_at_cr(file: IO[bytes]) -> Iterator[bytes | None]:
    rest = b""
    while piece := file.read(1 << 20):
        *whole, rest = (rest + piece).split(b"\r")
        yield from whole
        if len(rest) > LONGEST:
            yield None
            return
    if rest:
        yield rest


def lines(path: str | Path, *, json: bool = False) -> Iterator[tuple[int, str]]:
    """Line numbers from 1, and lines without blanks around them; empty lines are left out.

    Raises:
        InputError: see `opened`; a line is not UTF-8, or too long.
    """
    for number, line in byte_lines(path, json=json):
        if line is None:
            raise InputError(f"{printable(path)}, line {number} has more than {LONGEST >> 20} MiB; is it a text file?")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise InputError(f"{printable(path)}, line {number} is not UTF-8; convert the file to UTF-8") from error
        if text:
            yield number, text
