"""Tables of text: CSV, and the same with | or tabs between the cells.

With a header they are a matrix, or have a column LABELS; without one each line is a note's id and its codes, as CAML's
`persistence.py` writes them (`id|` for a note without codes). Such lines are decisions: they have no probabilities.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from concept_icd.corpora.jsonl import UnreadCodes
from concept_icd.corpora.text_tables import delimiter, text_rows
from concept_icd.errors import InputError
from concept_icd.files import opened, printable
from concept_icd.readers import long_tables
from concept_icd.readers.arrow_files import matrix_gold, matrix_predictions
from concept_icd.readers.files import Source
from concept_icd.readers.forms import NOTE, Columns, Gold, GoldRows, PredictionRows, Predictions
from concept_icd.readers.label_sets import LabelReader
from concept_icd.readers.long_tables import is_long

if TYPE_CHECKING:
    import pyarrow as pa


def read_predictions(source: Source, reader: LabelReader) -> Predictions:
    """See `predictions.read_predictions`."""
    if is_long(_first_line(source)):
        return long_tables.read_predictions(source, reader, delimiter(source.path))
    columns = _header(source)
    if columns is not None and (columns.rest or columns.labels is None):
        codes = columns.codes(reader, source)
        return matrix_predictions(_matrix(source, columns), columns, codes, source)
    rows = PredictionRows()
    for note_id, codes, _ in _lists(source, columns, reader):
        rows.add(note_id, codes, None, accepted=[True] * len(codes))
    return rows.predictions()


def read_gold(source: Source, reader: LabelReader) -> Gold:
    """See `predictions.read_gold`."""
    columns = _header(source)
    if columns is not None and columns.labels is None:
        codes = columns.codes(reader, source)
        return matrix_gold(_matrix(source, columns), columns, codes, source)
    rows = GoldRows(source.path)
    for note_id, codes, patient in _lists(source, columns, reader):
        rows.add(note_id, codes, patient)
    return rows.gold()


def _first_line(source: Source) -> list[str]:
    with text_rows(source.path) as rows:
        names: list[str] = next(rows, [])
    return names


def _header(source: Source) -> Columns | None:
    """The columns of the first line; None where it is a note already."""
    names = _first_line(source)
    if not names:
        raise InputError(f"{source} holds no line")
    if len(names) < 2:
        raise InputError(f"{source}, line 1 has one cell: no comma, semicolon, tab or | stands in it")
    if not any(name.strip().lower() in NOTE[:-1] for name in names) and names[0].strip():
        return None
    return Columns.of(names, source)


def _lists(
    source: Source, columns: Columns | None, reader: LabelReader
) -> Iterator[tuple[str, tuple[str, ...], str | None]]:
    """Note id, codes, patient of every line."""
    seen: dict[str, int] = {}
    unread = UnreadCodes(printable(source.path), reader.ontology)
    with text_rows(source.path) as rows:
        names = next(rows) if columns is not None else []
        for row in rows:
            if not row:
                continue
            try:
                if columns is None:
                    note_id, cells, patient = row[0].strip(), row[1:], None
                else:
                    while len(row) > len(names) and not row[-1].strip():  # the empty cells behind a spreadsheet's last
                        row.pop()
                    cell = dict(zip(names, row, strict=True))
                    note_id, cells = cell[columns.note].strip(), [cell[columns.labels or ""]]
                    patient = cell[columns.patient].strip() or None if columns.patient else None
                if not note_id or note_id in seen:
                    fault = f"note {note_id!r} stands on line {seen[note_id]} already" if note_id else "no note id"
                    raise InputError(fault)
                codes = reader.read_all(cells)
            except ValueError:
                raise InputError(
                    f"{source}, line {rows.line_num} has {len(row)} cells, the header {len(names)}"
                ) from None
            except InputError as error:
                raise InputError(f"{source}, line {rows.line_num}: {error}") from error
            seen[note_id] = rows.line_num
            unread.look({name: cell[name] for name in columns.rest} if columns is not None else {})
            yield note_id, codes, patient
    unread.say()


def _matrix(source: Source, columns: Columns) -> pa.Table:
    """The columns of a matrix: ids as text, cells as numbers, parsed by Arrow."""
    import pyarrow as pa
    import pyarrow.csv

    beside = [name for name in (columns.note, columns.patient) if name is not None]
    types = dict.fromkeys(beside, pa.string()) | dict.fromkeys(columns.rest, pa.float64())
    point = "," if _has_decimal_commas(source, columns) else "."
    convert = pa.csv.ConvertOptions(column_types=types, include_columns=list(types), decimal_point=point)
    parse = pa.csv.ParseOptions(delimiter=delimiter(source.path))
    try:
        with opened(source.path) as file:
            block = pa.csv.ReadOptions(block_size=32 * 2**20)  # some rows of 9,000 cells
            return pa.csv.read_csv(file, block, parse, convert)
    except pa.ArrowException as error:  # its words quote cells, which may hold note text
        raise InputError(_first_fault(source, columns)) from error


def _has_decimal_commas(source: Source, columns: Columns) -> bool:
    """Whether the first rows have numbers such as 0,9, as spreadsheets outside the US write them."""
    with text_rows(source.path) as rows:
        names = next(rows)
        first = list(itertools.islice(rows, 100))
    return any("," in cell for row in first for name, cell in zip(names, row, strict=False) if name in columns.rest)


def _first_fault(source: Source, columns: Columns) -> str:
    with text_rows(source.path) as rows:
        names = next(rows)
        for row in rows:
            if row and len(row) != len(names):
                return f"{source}, line {rows.line_num} has {len(row)} cells, the header {len(names)}"
            for name, cell in zip(names, row, strict=False):
                try:
                    float(cell.replace(",", ".") if name in columns.rest else "0")
                except ValueError:
                    return f"{source}, line {rows.line_num}: the cell of {name} is no number"
    return f"{source} cannot be read as a table of numbers"
