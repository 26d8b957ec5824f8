"""Corpora that are tables: CSV (and ;, tab or | between the cells), Parquet, Feather, a JSON list of records.

A column is known by its name: those of JSON lines (`jsonl.FIELDS`) as they are; of other names the usual ones are
guessed, and the guess is said on stderr; `columns` names any other. A cell of codes holds one code, several joined by
; , or |, or a list. Everything is read as text: codes and ids that a table holds as numbers have lost their zeros.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from concept_icd.corpora.jsonl import FIELDS, GUESSES, NoteBuilder
from concept_icd.corpora.reading import Entry, Failure, without_duplicates
from concept_icd.corpora.text_tables import text_rows
from concept_icd.errors import InputError
from concept_icd.files import is_parquet, opened, printable, read_bytes
from concept_icd.ontology.tree import DEFAULT
from concept_icd.progress import say
from concept_icd.records import age_of

#: Fields whose cells hold several values.
LISTS = ("codes", "diagnoses", "procedures", "drugs")
#: Bytes of a JSON list, which is read at once; JSON lines have no such end.
LONGEST_LIST = 1 << 30
_ROWS = 1000
#: "250,00" and "V30,01": one code, not the two (250 and the chapter 00) that the comma would make of it.
_DECIMAL_COMMA = re.compile(r"(?<![\w.])[VE]?\d{2,3},\d{1,2}(?![\w.])", re.IGNORECASE | re.ASCII)

Row = tuple[str, dict[str, Any]]


def csv_entries(path: Path, columns: Mapping[str, str] | None = None, classification: str = DEFAULT) -> Iterator[Entry]:
    """One entry a row of a table of text; see `reading`."""
    with text_rows(path) as rows:
        names = [name.strip() for name in next(rows, [])]
        if len([name for name in names if name]) < 2:
            raise InputError(
                f"{printable(path)} is no table of notes: no comma, semicolon, tab or | stands in its first line"
            )

        def records() -> Iterator[Row]:
            for row in rows:
                place = f"{printable(path)}, line {rows.line_num}"
                if len(row) > len(names) and any(row[len(names) :]):
                    yield place, {"": f"the row has {len(row)} cells, the header {len(names)}"}
                elif any(cell.strip() for cell in row):
                    yield place, {name: cell for name, cell in zip(names, row, strict=False) if name and cell.strip()}

        yield from _entries(path, names, records(), columns, classification)


def parquet_entries(
    path: Path, columns: Mapping[str, str] | None = None, classification: str = DEFAULT
) -> Iterator[Entry]:
    """One entry a row of a Parquet or Feather file; see `reading`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with opened(path) as file:
            if is_parquet(path):
                source = pq.ParquetFile(file)
                batches: Iterable[pa.RecordBatch] = source.iter_batches(_ROWS)
                names = list(source.schema_arrow.names)
            else:
                table = pa.ipc.open_file(file)
                batches = (table.get_batch(number) for number in range(table.num_record_batches))
                names = list(table.schema.names)
            yield from _entries(path, names, _arrow_rows(path, batches), columns, classification)
    except pa.ArrowException as error:  # its words may quote cells
        raise InputError(f"{printable(path)} is damaged, or no Parquet or Feather file") from error


def json_entries(
    path: Path, columns: Mapping[str, str] | None = None, classification: str = DEFAULT
) -> Iterator[Entry]:
    """One entry a record of a JSON list; see `reading`."""
    where = printable(path)
    try:
        found = json.loads(read_bytes(path, LONGEST_LIST).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        reason = f" ({error.msg} on line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{where} is not valid JSON{reason}; of JSON lines, say so with --format jsonl") from error
    if isinstance(found, dict) and isinstance(found.get("text"), str):
        found = [found]
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise InputError(f'{where} is no list of records, [{{"note_id": ..., "text": ...}}, ...]; write it as one')
    if not found:
        return
    names = list(dict.fromkeys(name for record in found for name in record))
    rows = ((f"{where}, record {number}", record) for number, record in enumerate(found, start=1))
    yield from _entries(path, names, rows, columns, classification)


def _arrow_rows(path: Path, batches: Iterable[Any]) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for record in batch.to_pylist():
            number += 1
            yield f"{printable(path)}, row {number}", record


def _entries(
    path: Path, names: list[str], rows: Iterable[Row], columns: Mapping[str, str] | None, classification: str
) -> Iterator[Entry]:
    chosen = _chosen(path, names, columns or {})
    builder = NoteBuilder(printable(path), classification=classification)

    def numbered() -> Iterator[tuple[str, Entry]]:
        for place, record in rows:
            if "" in record and len(record) == 1:
                yield place, Failure(place, str(record[""]))
                continue
            try:
                yield place, builder.entry(place, _record(record, chosen))
            except InputError as error:
                yield place, Failure(place, str(error))
        builder.say_what_was_not_read()

    return without_duplicates(numbered())


def _chosen(path: Path, names: list[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Field -> column: those that were named, those of the fields' own names, and guesses, which are said.

    Raises:
        InputError: a column that was named is not there, or there is none for the ids or the texts.
    """
    where = printable(path)
    if absent := next((name for name in columns.values() if name not in names), None):
        raise InputError(f"{where} has no column {absent!r}{_told(names)}")
    lower = {name.lower(): name for name in reversed(names)}
    chosen = {field: lower[field] for field in FIELDS if field in lower} | dict(columns)
    guessed = {}
    for field, others in GUESSES.items():
        if field in chosen or (field == "codes" and {"diagnoses", "procedures"} & chosen.keys()):
            continue
        if name := next(
            (lower[other] for other in others if other in lower and lower[other] not in chosen.values()), None
        ):
            guessed[field] = name
    chosen |= guessed
    if twice := next((name for name in chosen.values() if names.count(name) > 1), None):
        raise InputError(f"{where} has two columns called {twice!r}; give each a name of its own")
    for field, option in (("note_id", "--id-column"), ("text", "--text-column")):
        if field not in chosen:
            raise InputError(f"{where} has no column {field!r}; name the column with {option}{_told(names)}")
    if guessed:
        said = ", ".join(f"{field} from {name!r}" for field, name in guessed.items())
        say(f"{where}: {said}, by its name; --id-column, --text-column, --codes-column and so on choose another")
    return chosen


def _told(names: list[str]) -> str:
    """The columns, unless they may be cells: a table without a header begins with a note, which no message quotes."""
    plain = [name for name in names if name]
    if len(plain) > 40 or not all(re.fullmatch(r"[A-Za-z_][\w .-]{0,39}", name) for name in plain):
        return "; its first line may be no header"
    return f"; it has {', '.join(plain)}"


def _record(row: Mapping[str, Any], chosen: Mapping[str, str]) -> dict[str, Any]:
    """A row as `jsonl` knows records; columns that are no field stay, so that codes in them are noticed."""
    taken = set(chosen.values())
    record = {name: value for name, value in row.items() if name not in taken and name not in FIELDS}
    for field, name in chosen.items():
        value = row.get(name)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            continue
        if field in ("note_id", "patient_id"):
            value = _identifier(value, name)
        elif field == "age":
            value = age_of(value)
        elif field in LISTS:
            value = _listed(value, field)
        elif field == "annotations" and isinstance(value, str):
            value = None  # a table has no votes
        record[field] = value
    return {name: value for name, value in record.items() if value is not None}


def _identifier(value: Any, name: str) -> str:
    if isinstance(value, (float, bool)):
        raise InputError(f"the id in column {name!r} is a number with decimals; ids are text or whole numbers")
    return str(value).strip() if isinstance(value, (str, int)) else value


def _listed(value: Any, field: str) -> Any:
    """The values of a cell; what is no text is left for `jsonl` to refuse."""
    if isinstance(value, (int, float)):
        return [value]
    if not isinstance(value, str):
        return value
    if field != "drugs" and _DECIMAL_COMMA.search(value):
        raise InputError(f"a decimal comma stands in {field!r}: write codes with a dot (250.00), and ; between them")
    parts = re.split(r"[;|\n]" if field == "drugs" else r"[;,|\s]+", value.strip().strip("[](){}"))
    return [part.strip().strip("'\"") for part in parts if part.strip().strip("'\"")]
