"""Tables in Arrow's memory: Feather and Parquet files, and the matrices that `delimited` reads into it.

Edin et al.'s trainer (`save_predictions`) writes a column a code with probabilities (its "logits" went through the
sigmoid), `target` with each note's gold codes as a list, and `_id` with whole numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from concept_icd.errors import InputError
from concept_icd.files import opened
from concept_icd.readers import long_tables
from concept_icd.readers.files import Source
from concept_icd.readers.forms import Columns, Gold, GoldRows, Predictions
from concept_icd.readers.label_sets import LabelReader
from concept_icd.readers.long_tables import is_long

if TYPE_CHECKING:
    import pyarrow as pa


def read_predictions(source: Source, reader: LabelReader) -> Predictions:
    """See `predictions.read_predictions`; needs a column a code, or a row a code."""
    if is_long(names := _names(source)):
        return long_tables.read_predictions(source, reader)
    columns = Columns.of(names, source)
    if not columns.rest:
        raise InputError(f"{source} has no column of a code")
    codes = columns.codes(reader, source)
    return matrix_predictions(_table(source, [columns.note, *columns.rest]), columns, codes, source)


def read_gold(source: Source, reader: LabelReader) -> Gold:
    """See `predictions.read_gold`: a column of labels, or a column a code with 0 and 1."""
    columns = Columns.of(_names(source), source)
    beside = [name for name in (columns.note, columns.patient) if name is not None]
    if columns.labels is None:
        codes = columns.codes(reader, source)
        return matrix_gold(_table(source, [*beside, *columns.rest]), columns, codes, source)
    table = _table(source, [*beside, columns.labels])
    note_ids, patients = ids_of(table, columns.note, source), patients_of(table, columns)
    rows = GoldRows(source.path)
    for note_id, patient, labels in zip(note_ids, patients, table.column(columns.labels).to_pylist(), strict=True):
        try:
            codes = reader.read_all(labels if isinstance(labels, list) else [labels or ""])
        except InputError as error:
            raise InputError(f"{source}, note {note_id!r}: {error}") from error
        rows.add(note_id, codes, patient)
    return rows.gold()


def matrix_predictions(table: pa.Table, columns: Columns, codes: tuple[str, ...], source: Source) -> Predictions:
    """Probabilities; or decisions, where every cell is 0 or 1.

    Raises:
        InputError: a cell is empty, no number, or outside 0..1; a note stands there twice.
    """
    note_ids = ids_of(table, columns.note, source)
    cells = cells_of(table, columns, codes, note_ids, source)
    if binary(cells):
        return Predictions(note_ids, codes, None, accepted=cells.astype(bool))
    return Predictions(note_ids, codes, cells)


def matrix_gold(table: pa.Table, columns: Columns, codes: tuple[str, ...], source: Source) -> Gold:
    """Gold of a 0/1 matrix."""
    note_ids = ids_of(table, columns.note, source)
    cells = cells_of(table, columns, codes, note_ids, source)
    if not codes or not binary(cells):
        raise InputError(f"{source} is no gold: it needs a column LABELS, or a column a code with 0 and 1")
    rows = GoldRows(source.path)
    for note_id, patient, row in zip(note_ids, patients_of(table, columns), cells, strict=True):
        rows.add(note_id, tuple(codes[column] for column in np.flatnonzero(row)), patient)
    return rows.gold()


def binary(cells: NDArray[Any]) -> bool:
    """Whether every cell is 0 or 1."""
    return bool(((cells == 0) | (cells == 1)).all())


def ids_of(table: pa.Table, name: str, source: Source) -> tuple[str, ...]:
    """The ids of a column, as text and without repeats.

    Raises:
        InputError: they are fractions, missing, or one stands there twice.
    """
    import pyarrow as pa

    column = table.column(name)
    if not (
        pa.types.is_integer(column.type) or pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    ):
        raise InputError(f"{source}: the ids in column {name!r} are {column.type}; they must be text or whole numbers")
    ids = tuple("" if value is None else str(value).strip() for value in column.to_pylist())
    seen = set[str]()
    for row, note_id in enumerate(ids, start=1):
        if not note_id or note_id in seen:
            fault = f"the note {note_id!r} stands there twice" if note_id else "it has no note id"
            raise InputError(f"{source}, row {row}: {fault}")
        seen.add(note_id)
    if not ids:
        raise InputError(f"{source} holds no note")
    return ids


def patients_of(table: pa.Table, columns: Columns) -> list[str | None]:
    """Patient ids as text, or Nones."""
    if columns.patient is None:
        return [None] * table.num_rows
    return [None if value is None else str(value) for value in table.column(columns.patient).to_pylist()]


def cells_of(
    table: pa.Table, columns: Columns, codes: tuple[str, ...], note_ids: tuple[str, ...], source: Source
) -> NDArray[Any]:
    """(notes, codes) of the code columns, as they are stored: float32 stays float32."""
    import pyarrow as pa

    types = [table.schema.field(name).type for name in columns.rest]
    for code, kind in zip(codes, types, strict=True):
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
            raise InputError(f"{source}: the column of {code} holds {kind}, not probabilities")
    wide = any(not pa.types.is_boolean(kind) and kind.bit_width > 32 for kind in types)
    cells = np.empty((len(codes), len(note_ids)), dtype=np.float64 if wide else np.float32)
    for row, name in enumerate(columns.rest):
        cells[row] = table.column(name).to_numpy()
    bad = np.argwhere(~((cells >= 0) & (cells <= 1)))  # NaN, an empty cell, is bad too
    if len(bad):
        column, row = bad[0]
        value, logits = cells[column, row], "; apply the sigmoid first" if np.isfinite(cells[column, row]) else ""
        raise InputError(
            f"{source}: the probability of {codes[column]} for note {note_ids[row]!r} is {value:g}, not a number "
            f"between 0 and 1{logits}"
        )
    return np.ascontiguousarray(cells.T)


def _names(source: Source) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with opened(source.path) as file:
            schema = pq.read_schema(file) if source.form == "parquet" else pa.ipc.open_file(file).schema
    except pa.ArrowException as error:
        raise InputError(f"{source} is damaged, or no Feather or Parquet file") from error
    return [name for name in schema.names if not name.startswith("__index_level_")]  # the index of a data frame


def _table(source: Source, names: list[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.parquet as pq

    try:
        with opened(source.path) as file:
            if source.form == "parquet":
                return pq.read_table(file, columns=names)
            return pa.feather.read_table(file, columns=names, memory_map=False)
    except pa.ArrowException as error:
        raise InputError(f"{source} is damaged, or no Feather or Parquet file") from error
