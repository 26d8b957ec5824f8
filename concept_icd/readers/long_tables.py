"""Predictions as a table with a row a code, in CSV or Parquet: written by `concept-icd code`, read by `evaluate`.

The columns are `concept_icd.records.tables.COLUMNS`; `note_id`, `code` and `probability` are enough to be read. A note
without a code has a row all the same, with an empty code. Parquet also keeps the versions of the coder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_icd.errors import InputError
from concept_icd.files import opened
from concept_icd.readers.files import Source
from concept_icd.readers.forms import PredictionRows, Predictions, require_once, require_probability
from concept_icd.readers.label_sets import LabelReader
from concept_icd.records.tables import COLUMNS, rows_of, schema_of_results, table_of

if TYPE_CHECKING:
    import pyarrow as pa

#: Columns that make a table of predictions such a one.
NEEDED = ("note_id", "code", "probability")
_VERSIONS = b"concept-icd versions"
#: Notes whose rows are written together.
_NOTES = 2000


def is_long(names: Iterable[str]) -> bool:
    """Whether these columns are those of a table with a row a code."""
    return set(NEEDED) <= set(names)


def write_table(path: Path, form: str, results: Iterable[Mapping[str, Any]]) -> None:
    """Writes results, some at a time.

    Args:
        form: "csv" or "parquet". results: as `CodingResult.to_dict` has them.
    """
    import pyarrow.csv
    import pyarrow.parquet as pq

    left = iter(results)
    part = list(islice(left, _NOTES))
    schema = schema_of_results()
    if form == "parquet":
        versions = json.dumps(part[0]["versions"] if part else {})
        schema = schema.with_metadata({_VERSIONS: versions.encode()})
    writer = pyarrow.csv.CSVWriter if form == "csv" else pq.ParquetWriter
    with writer(str(path), schema) as file:
        while part:
            rows = (row for result in part for row in rows_of(result, result["codes"], every_note=True))
            file.write_table(table_of(rows).replace_schema_metadata(schema.metadata))
            part = list(islice(left, _NOTES))


def read_predictions(source: Source, reader: LabelReader, delimiter: str = ",") -> Predictions:
    """See `predictions.read_predictions`.

    Args:
        delimiter: of a table of text.
    """
    import pyarrow as pa

    try:
        table, versions = _csv_table(source, delimiter) if source.form == "text table" else _parquet_table(source)
    except pa.ArrowException as error:  # its words may quote cells
        raise InputError(f"{source} is damaged, or no table of predictions with a row a code") from error
    rows, seen = PredictionRows(), set[str]()
    passages: dict[str, dict[str, list[tuple[int, int]]]] = {}
    for note_id, codes in groupby(_records(table), key=lambda row: row["note_id"]):
        if not note_id or note_id in seen:
            fault = f"the rows of the note {note_id!r} do not stand together" if note_id else "a row has no note_id"
            raise InputError(f"{source}: {fault}")
        seen.add(note_id)
        listed = [row for row in codes if row["code"]]
        try:
            _add(rows, note_id, listed, reader)
        except InputError as error:
            raise InputError(f"{source}, note {note_id!r}: {error}") from error
        if found := {reader.read(row["code"]): spans for row in listed if (spans := _spans(row.get("evidence")))}:
            passages[note_id] = found
    if not seen:
        raise InputError(f"{source} holds no note")
    return replace(rows.predictions(versions), passages=passages)


def _spans(places: str | None) -> list[tuple[int, int]]:
    """Places as the table has them, "17-44;60-72"; none where they are written in another way."""
    pairs = [part.partition("-")[::2] for part in (places or "").split(";")]
    return [(int(start), int(end)) for start, end in pairs if start.isdecimal() and end.isdecimal()]


def _add(rows: PredictionRows, note_id: str, listed: Sequence[Mapping[str, Any]], reader: LabelReader) -> None:
    codes = tuple(reader.read(row["code"]) for row in listed)
    require_once(codes)
    for row in listed:
        require_probability(row["code"], row["probability"])

    def column(name: str) -> list[Any] | None:
        values = [row.get(name) for row in listed]
        return None if None in values else values

    probabilities = [row["probability"] for row in listed]
    rows.add(note_id, codes, probabilities, column("rank"), column("accepted"), column("expected_recall"))


def _records(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=10_000):
        yield from batch.to_pylist()


def _wanted(names: Iterable[str]) -> dict[str, Any]:
    """Columns that predictions have -> their Arrow types, of those that are there."""
    types = {field.name: field.type for field in schema_of_results()}
    return {
        name: types[name] for name in (*NEEDED, "rank", "accepted", "expected_recall", "evidence") if name in set(names)
    }


def _csv_table(source: Source, delimiter: str) -> tuple[pa.Table, dict[str, str]]:
    import pyarrow.csv

    with opened(source.path) as file:
        names = file.readline().decode("utf-8-sig").replace('"', "").strip().split(delimiter)
    types = _wanted(names)
    convert = pyarrow.csv.ConvertOptions(column_types=types, include_columns=list(types), strings_can_be_null=True)
    with opened(source.path) as file:
        parse = pyarrow.csv.ParseOptions(delimiter=delimiter)
        return pyarrow.csv.read_csv(file, parse_options=parse, convert_options=convert), {}


def _parquet_table(source: Source) -> tuple[pa.Table, dict[str, str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with opened(source.path) as file:
        table = pq.read_table(file) if source.form == "parquet" else pa.ipc.open_file(file).read_all()
    types = _wanted(table.column_names)
    versions = json.loads((table.schema.metadata or {}).get(_VERSIONS, b"{}"))
    return table.select(list(types)).cast(pa.schema(list(types.items()))), versions


def is_ours(path: Path) -> bool:
    """Whether a file is a table that `write_table` wrote."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        head = file.read(4096)
        if not head.startswith(b"PAR1"):
            return head.split(b"\n")[0].decode(errors="replace").replace('"', "").split(",") == list(COLUMNS)
        try:
            return _VERSIONS in (pq.read_schema(file).metadata or {})
        except pa.ArrowException:
            return False
