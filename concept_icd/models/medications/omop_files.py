"""The tables of an OMOP CDM or its vocabulary as files: comma-separated, tab-separated (Athena's downloads), Parquet.

It finds them, checks their columns and loads them into DuckDB, and knows nothing of what the columns mean. Ids become
whole numbers; "12.0" and "12,0", as programs write numbers that may be missing, are 12.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from concept_icd.artifacts import sha256
from concept_icd.errors import InputError
from concept_icd.mimic3.table_bytes import header_line
from concept_icd.mimic3.tables import Table, fingerprint, header_text, load, read_header, told

if TYPE_CHECKING:
    import duckdb

ENDINGS = (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
#: Columns of numbers, by their ending, and those that end so and hold words.
_ID = ("_id", "_id_1", "_id_2", "year_of_birth", "month_of_birth", "day_of_birth")
_WORDS = ("vocabulary_id", "concept_class_id", "relationship_id")
#: Stands for an id that is no number while a table is checked.
_NO_ID = -(1 << 62) - 77


def find_omop_tables(
    folder: Path, columns_of: Mapping[str, tuple[str, ...]], optional: Sequence[str], option: str
) -> dict[str, Table]:
    """The tables of a folder, whatever the case of names and headers; Parquet before CSV.

    Args:
        columns_of: table -> the columns it must have. optional: tables that may be missing. option: names the folder.

    Raises:
        InputError: no such folder, or a table or column is missing.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder} is no folder; {option} names the one with the OMOP tables (.csv, .csv.gz, .parquet)"
        )
    files = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
    found = {}
    for name, columns in columns_of.items():
        path = next((files[name + ending] for ending in ENDINGS if name + ending in files), None)
        if path is not None:
            found[name] = Table(name, path, _header(path, columns))
    if missing := [name for name in columns_of if name not in found and name not in optional]:
        raise InputError(f"{folder} lacks {', '.join(missing)} (.csv, .csv.gz or .parquet) of the OMOP tables")
    return found


def omop_fingerprint(tables: Mapping[str, Table]) -> dict[str, str]:
    """File name -> SHA-256; a comma-separated file is checked to be whole on the way."""
    comma = {name: table for name, table in tables.items() if not _is_parquet(table.path) and not _is_tab(table.path)}
    others = {table.path.name: sha256(table.path) for name, table in tables.items() if name not in comma}
    return fingerprint(comma) | others


def load_omop(connection: duckdb.DuckDBPyConnection, table: Table, columns: Sequence[str]) -> None:
    """Loads columns of a table under its name: ids as numbers, everything else as trimmed text; empty is NULL.

    A column that the file lacks is NULL.

    Raises:
        InputError: the file cannot be read, or an id is no whole number.
    """
    selected = []
    for column in columns:
        value = f"nullif(trim({column}::VARCHAR), '')" if column in table.columns else "NULL::VARCHAR"
        if _is_number(column):
            number = f"try_cast(regexp_replace({value}, '[.,]0?0?$', '') AS BIGINT)"
            value = f"CASE WHEN {value} IS NOT NULL THEN coalesce({number}, {_NO_ID}) END"
        selected.append(f"{value} AS {column}")
    select = f"SELECT {', '.join(selected)} FROM {{rows}}"
    if _is_parquet(table.path) or _is_tab(table.path):
        with told(table.path):
            connection.execute(f"CREATE OR REPLACE TABLE {table.name} AS {select.format(rows=_rows(table.path))}")
    else:
        load(connection, table, select)
    for column in filter(_is_number, columns):
        if count(connection, f"SELECT count(*) FROM {table.name} WHERE {column} = {_NO_ID}"):
            raise InputError(f"{table.path}: {column} holds what is no whole number")


def count(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    """The one number that a query gives."""
    return int(connection.execute(sql).fetchall()[0][0])


def _header(path: Path, needed: Sequence[str]) -> tuple[str, ...]:
    if not _is_parquet(path) and not _is_tab(path):
        return read_header(path, needed)
    if _is_parquet(path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            names = pq.read_schema(path).names
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path}: no Parquet file, or a damaged one") from error
    else:
        names = header_text(path).split("\t")
    columns = tuple(name.strip().strip('"').lower() for name in names)
    if missing := [name for name in needed if name not in columns]:
        raise InputError(f"{path} has no column {', '.join(missing)}")
    if twice := [name for name in needed if columns.count(name) > 1]:
        raise InputError(f"{path} has more than one column {', '.join(twice)}")
    return columns


def _is_number(column: str) -> bool:
    return column.endswith(_ID) and column not in _WORDS


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _is_tab(path: Path) -> bool:
    """By its header: Athena's files are called .csv and are separated by tabs."""
    return b"\t" in header_line(path)


def _rows(path: Path) -> str:
    quoted = "'" + str(path).replace("'", "''") + "'"
    if _is_parquet(path):
        return f"read_parquet({quoted})"
    # Athena writes no quotes around fields, so one is part of a name; other programs quote the header too.
    quote = '"' if b'"' in header_line(path) else ""
    return (
        f"read_csv({quoted}, delim='\t', quote='{quote}', escape='{quote}', header=true, all_varchar=true, nullstr='')"
    )
