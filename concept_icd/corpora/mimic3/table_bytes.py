"""A table file as bytes, compressed or not: its hash, whether it is whole, and pieces that end where a row ends.

Why pieces: DuckDB reads a CSV file with several threads by guessing where rows begin, and takes a note that quotes CSV
for rows; with one thread it is exact, but keeps the whole file in memory. Pieces read one by one are exact and small.
In such a file a line end is the end of a row where the quotes before it are even in number (RFC 4180).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from concept_icd.errors import InputError
from concept_icd.progress import ProgressBar

#: Bytes read at a time, and the least bytes of a piece.
CHUNK, PIECE = 1 << 22, 1 << 26
MEGABYTE = 1 << 20
AGAIN = "take the file again from its source"


def is_gzip(path: Path) -> bool:
    """By its name."""
    return path.suffix.lower() == ".gz"


def checked_hash(path: Path, bar: ProgressBar) -> str:
    """SHA-256 of the file, after reading it to its end; `bar` advances by megabytes.

    Raises:
        InputError: it cannot be read, is truncated or damaged, or ends inside a quoted text.
    """
    digest, quotes = hashlib.sha256(), 0
    with _told(path), path.open("rb") as file:
        unzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if is_gzip(path) else None
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.advance(file.tell() // MEGABYTE - (file.tell() - len(chunk)) // MEGABYTE)
            if unzip is None:
                quotes += chunk.count(b'"')
                continue
            while chunk:
                if unzip.eof:  # gzip files may stand one after another in one file
                    unzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
                quotes += unzip.decompress(chunk).count(b'"')
                chunk = unzip.unused_data
        if unzip is not None and not unzip.eof:
            raise EOFError
    if quotes % 2:
        raise InputError(f"{path} ends inside a quoted text: it is cut short; {AGAIN}")
    return digest.hexdigest()


def header_line(path: Path) -> bytes:
    """The first line with its end.

    Raises:
        InputError: the file cannot be read.
    """
    with _told(path), _opened(path) as (file, _):
        return file.readline(CHUNK)


def pieces(path: Path, bar: ProgressBar | None = None) -> Iterator[bytes]:
    """The rows after the header, in pieces of whole rows of about `PIECE` bytes; the last may be empty.

    Args:
        bar: advances by megabytes of the file.

    Raises:
        InputError: the file cannot be read, or ends inside a quoted text.
    """
    with _told(path), _opened(path) as (file, raw):
        file.readline(CHUNK)
        rest, read = b"", 0
        while more := file.read(PIECE):
            if bar is not None:
                bar.advance(raw.tell() // MEGABYTE - read)
                read = raw.tell() // MEGABYTE
            data = rest + more
            end = _last_row_end(data)
            if not end and len(data) >= PIECE:
                raise InputError(f"{path}: a quote is never closed, or one inside a text is not doubled; {AGAIN}")
            if end:
                yield data[:end]
            rest = data[end:]
        if rest.count(b'"') % 2:
            raise InputError(f"{path} ends inside a quoted text: it is cut short; {AGAIN}")
        yield rest  # a last row without a line end, or nothing


def _last_row_end(data: bytes) -> int:
    """Behind the last line end that is not inside quotes; 0: there is none. `data` begins at the begin of a row."""
    quotes, end = data.count(b'"'), len(data)
    while (line_end := data.rfind(b"\n", 0, end)) >= 0:
        quotes -= data.count(b'"', line_end, end)
        if quotes % 2 == 0:
            return line_end + 1
        end = line_end
    return 0


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], io.BufferedReader]]:
    """The bytes of the table, and the file itself."""
    with path.open("rb") as raw:
        yield (cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if is_gzip(path) else raw), raw


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except EOFError as error:
        raise InputError(f"{path}: the gzip file is truncated; {AGAIN}") from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: the gzip file is damaged, or no gzip file; {AGAIN}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
