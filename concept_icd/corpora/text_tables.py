"""Rows of CSV files, and of the same with semicolons, tabs or | between the cells, in bounded memory.

What a spreadsheet or a data frame makes of a table is read: a byte-order mark, line ends of all three kinds, quoted
cells, columns without a name (a data frame's index, the empty cells behind the last one).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from concept_icd.errors import InputError
from concept_icd.files import LONGEST, lines, opened, printable


def delimiter(path: str | Path) -> str:
    """What stands between the cells of the first line: |, else a tab, else a comma, else a semicolon.

    A semicolon stands also between the codes of one cell (`1001,250.00;401.9`): it is asked last.
    """
    first = next(lines(path), (0, ""))[1]
    bare = "".join(first.split('"')[::2])  # without what is quoted
    return next((mark for mark in "|\t,;" if mark in bare), ",")


@contextmanager
def text_rows(path: str | Path) -> Iterator[csv._reader]:  # type: ignore[name-defined]  # typeshed's name
    """The rows, one after another; `line_num` of the reader says where it is.

    Raises:
        InputError: not UTF-8, a cell above `LONGEST` characters, or quotes that do not fit together.
    """
    before = csv.field_size_limit(LONGEST)
    mark = delimiter(path)
    try:
        with opened(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            rows = csv.reader(_bounded(text, path), delimiter=mark, strict=True)  # an open quote would swallow rows
            yield rows
    except UnicodeDecodeError as error:
        raise InputError(f"{printable(path)} is not UTF-8; convert the file to UTF-8") from error
    except csv.Error as error:
        raise InputError(
            f"{printable(path)}, at line {rows.line_num}: it is no table of text, or a quote is not closed or stands "
            'within a quoted cell (there it is written ""); write the table anew'
        ) from error
    finally:
        csv.field_size_limit(before)


def _bounded(text: IO[str], path: str | Path) -> Iterator[str]:
    number = 0
    while line := text.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise InputError(f"{printable(path)}, line {number} has more than {LONGEST >> 20} million characters")
        yield line
