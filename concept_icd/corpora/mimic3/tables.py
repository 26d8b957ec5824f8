"""The raw tables of MIMIC-III: finds them, checks that they are whole, and loads them into DuckDB.

It knows files, headers and DuckDB, and nothing of what the columns mean. Every column is text (codes and ids lose
zeros as numbers). DuckDB's own messages quote the row at fault, so none of them is passed on.
"""

from __future__ import annotations

import csv
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from concept_icd.corpora.mimic3.table_bytes import AGAIN, MEGABYTE, checked_hash, header_line, pieces
from concept_icd.errors import InputError, MissingExtraError
from concept_icd.outputs import private_folder, writing
from concept_icd.progress import progress_bar

if TYPE_CHECKING:
    import duckdb

#: Table -> the columns that are read.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "ADMISSIONS": ("subject_id", "hadm_id", "admittime"),
    "PATIENTS": ("subject_id", "gender", "dob"),
    "DIAGNOSES_ICD": ("hadm_id", "seq_num", "icd9_code"),
    "PROCEDURES_ICD": ("hadm_id", "seq_num", "icd9_code"),
    "NOTEEVENTS": ("row_id", "hadm_id", "chartdate", "charttime", "category", "description", "iserror", "text"),
    "PRESCRIPTIONS": ("hadm_id", "drug"),
    "D_ICD_DIAGNOSES": ("icd9_code",),
    "D_ICD_PROCEDURES": ("icd9_code",),
}
#: Without these, drugs stay empty and codes without a description are not counted.
OPTIONAL = ("PRESCRIPTIONS", "D_ICD_DIAGNOSES", "D_ICD_PROCEDURES")
#: Bytes from which reading a file has a bar.
LARGE = 1 << 24
#: The longest row in bytes; MIMIC-III's longest note has about 55,000. DuckDB's buffers are 16 times as long.
LONGEST_ROW = 1 << 21


@dataclass(frozen=True)
class Table:
    """A raw table.

    Attributes:
        name: in upper case. columns: their names in order, in lower case; "" for one that the header does not name.
    """

    name: str
    path: Path
    columns: tuple[str, ...]


Tables = Mapping[str, Table]


def find_tables(
    folder: Path,
    notes: bool = True,
    columns_of: Mapping[str, tuple[str, ...]] = COLUMNS,
    optional: Sequence[str] = OPTIONAL,
) -> dict[str, Table]:
    """The tables of a folder, `.csv` or `.csv.gz`, whatever the case of names and headers; of two files the `.csv`.

    Args:
        notes: NOTEEVENTS is needed; False: it is left alone.
        columns_of: the tables to find and the columns that they must have. optional: those that may be missing.

    Raises:
        InputError: no such folder, a table or column is missing, or the tables are MIMIC-IV's.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; --mimic-dir names the one with MIMIC-III's .csv or .csv.gz tables")
    files = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
    found = {}
    for name, columns in columns_of.items():
        if name == "NOTEEVENTS" and not notes:
            continue
        path = files.get(f"{name.lower()}.csv") or files.get(f"{name.lower()}.csv.gz")
        if path is not None:
            found[name] = Table(name, path, read_header(path, columns))
    needed = [name for name in columns_of if name not in optional and (notes or name != "NOTEEVENTS")]
    if missing := [name for name in needed if name not in found]:
        raise InputError(_told_missing(folder, missing, files))
    return found


def fingerprint(tables: Tables) -> dict[str, str]:
    """File name -> SHA-256, after reading every byte: this is also where a file that is cut short is found.

    Raises:
        InputError: a truncated or damaged gzip file, or a file that ends inside a quoted text.
    """
    sizes = {table.path: table.path.stat().st_size for table in tables.values()}
    hashes = {}
    with progress_bar(sum(size // MEGABYTE for size in sizes.values()), "checking the tables", "MB") as bar:
        for path in sizes:
            hashes[path.name] = checked_hash(path, bar)
    return hashes


def require_duckdb() -> None:
    """Raises MissingExtraError where DuckDB is not installed."""
    try:
        import duckdb  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("duckdb", "mimic3") from error


@contextmanager
def database(memory: int, beside: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB database in a temporary folder beside the path `beside`, which goes whatever happens.

    Args:
        memory: bytes of DuckDB's own memory; what does not fit goes into the folder.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """
    require_duckdb()
    import duckdb

    with writing(beside):
        private_folder(beside.parent)
        folder = Path(tempfile.mkdtemp(prefix=f".{beside.name}-duckdb-", dir=beside.parent))
    try:
        with duckdb.connect(folder / "tables.duckdb") as connection:
            connection.execute(f"SET memory_limit = '{memory >> 20}MiB'")
            connection.execute(f"SET temp_directory = {_quoted(str(folder / 'spilled'))}")
            connection.execute("SET threads = 2")  # each thread holds buffers of its own
            yield connection
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def load(connection: duckdb.DuckDBPyConnection, table: Table, select: str) -> None:
    """Makes a table, named as `table` in lower case, from a SELECT that keeps every row; `{rows}` stands for the file.

    In the SELECT all columns are text, an empty field is NULL. Rows keep their order.

    Raises:
        InputError: the file is no such table (which row, and why), or memory or disk do not suffice.
    """
    folder = Path(connection.execute("SELECT current_setting('temp_directory')").fetchall()[0][0]).parent
    piece, header, name, rows = folder / "piece.csv", header_line(table.path), table.name.lower(), 0
    delimiter = delimiter_of(header)
    for data in _with_bar(table):
        with writing(folder):
            piece.write_bytes(header.rstrip(b"\r\n") + b"\n" + _with_one_line_end(data))
        begin = f"INSERT INTO {name}" if rows else f"CREATE OR REPLACE TABLE {name} AS"
        with told(table.path, rows):
            source = select.format(rows=_rows(piece, table.columns, delimiter))
            result = connection.execute(f"{begin} {source}").fetchall()
        rows += result[0][0]
    piece.unlink()


def require_ids(connection: duckdb.DuckDBPyConnection, table: Table, ids: Sequence[str] = ("hadm_id",)) -> None:
    """Checks ids of a loaded table (its name is the table's in lower case); a missing id is not this check's matter.

    Raises:
        InputError: an id is no whole number, as when a table was saved by a program that made it 145834.0.
    """
    for column in ids:
        sql = (
            f"SELECT {column} FROM {table.name.lower()} WHERE NOT regexp_full_match({column}, '[0-9]{{1,18}}') LIMIT 1"
        )
        if odd := connection.execute(sql).fetchone():
            raise InputError(
                f"{table.path}: {column.upper()} {odd[0][:20]!r} is no whole number; {table.name} is needed as "
                "PhysioNet publishes it, its ids read as text"
            )


@contextmanager
def told(path: Path, rows_before: int = 0) -> Iterator[None]:
    """Turns DuckDB's errors about `path` into one sentence that quotes nothing of the file."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException:
        reason = f"reading {path} needs more memory or temporary disk than allowed; raise --memory or free the disk"
    except duckdb.Error as error:
        reason = _reason(path, str(error), rows_before)
    else:
        return
    raise InputError(reason) from None  # the cause quotes the row: it must not reach a traceback either


def _reason(path: Path, message: str, rows_before: int) -> str:
    # DuckDB's line counts rows, not line ends, the header being the first.
    line = re.search(r"CSV Error on Line: (\d+)", message)
    place = f"{path}, row {rows_before + int(line[1]) - 1}" if line else str(path)
    if counts := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message):
        return f"{place}: {counts[2]} fields where the header has {counts[1]}; {AGAIN}"
    if "unterminated quote" in message:
        return f"{place}: a quote is never closed, or one inside a text is not doubled; {AGAIN}"
    if "not utf-8 encoded" in message:
        return f"{place}: not UTF-8; {AGAIN}"
    if "Maximum line size" in message:
        return f"{place}: more than {LONGEST_ROW >> 20} MB; is a quote missing? {AGAIN}"
    if line is None and "IO Error" in message:
        return f"reading {place}: the temporary files beside --out cannot be written; is the disk full?"
    return f"{place}: not a CSV table that can be read; {AGAIN}"


def _rows(path: Path, columns: Sequence[str], delimiter: str) -> str:
    """The rows of a CSV file, as they stand in SQL; not in parallel, see `table_bytes`."""
    # A data frame's index has no name and a spreadsheet may end in empty columns: they get one that nobody asks for.
    names = [name or f"column without a name {place}" for place, name in enumerate(columns)]
    types = ", ".join(f"{_quoted(name)}: 'VARCHAR'" for name in names)
    return (
        f"read_csv({_quoted(str(path))}, columns={{{types}}}, header=true, delim={_quoted(delimiter)}, "
        f"quote='\"', escape='\"', nullstr='', auto_detect=false, parallel=false, max_line_size={LONGEST_ROW})"
    )


def _with_one_line_end(data: bytes) -> bytes:
    """Rows that all end in LF: DuckDB reads no file with both ends. What stands inside quotes is left as it is."""
    if b"\r\n" not in data:
        return data
    parts = data.split(b'"')  # every other one is inside quotes; a doubled quote makes an empty part
    parts[::2] = [part.replace(b"\r\n", b"\n") for part in parts[::2]]
    return b'"'.join(parts)


def _with_bar(table: Table) -> Iterator[bytes]:
    """The pieces of a table, with a bar where the file is large."""
    size = table.path.stat().st_size
    if size < LARGE:
        yield from pieces(table.path)
        return
    with progress_bar(size // MEGABYTE, f"reading {table.name}", "MB") as bar:
        yield from pieces(table.path, bar)


def delimiter_of(header: bytes) -> str:
    """What stands between the fields, by the header: a comma, a semicolon (spreadsheets outside the US) or a tab."""
    return max(",;\t", key=lambda mark: header.count(mark.encode()))


def header_text(path: Path) -> str:
    """The header of a table file, without its end.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or ends its lines in a way that nothing here reads.
    """
    raw = header_line(path).rstrip(b"\r\n")
    try:
        line = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: its header is not UTF-8; is it a CSV table?") from error
    if "\0" in line:
        raise InputError(f"{path}: its header is not UTF-8 but UTF-16, or no text; save it again as UTF-8")
    if "\r" in line:
        raise InputError(f"{path} ends its lines with a carriage return alone; save it again with LF or CRLF")
    return line


def read_header(path: Path, needed: Sequence[str]) -> tuple[str, ...]:
    """The names of a table's columns, in lower case; "" for one without a name, or with that of one before it.

    Raises:
        InputError: the file is unreadable, lacks a needed column or names one twice, or is a table of MIMIC-IV.
    """
    line = header_text(path)
    columns = tuple(
        name.strip().lower() for name in next(csv.reader([line], delimiter=delimiter_of(line.encode())), [])
    )
    if "icd_version" in columns:
        raise InputError(f"{path} is a table of MIMIC-IV (columns icd_code, icd_version); `mimic3` reads MIMIC-III 1.4")
    if missing := [name.upper() for name in needed if name not in columns]:
        # A file without a header begins with a row, which no message may quote.
        named = [name for name in columns if name]
        is_header = named and all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in named)
        has = f"it has {', '.join(named)}" if is_header else "its first line is no header"
        raise InputError(f"{path} has no column {', '.join(missing)}; {has}")
    if twice := [name.upper() for name in needed if columns.count(name) > 1]:
        raise InputError(f"{path} has more than one column {', '.join(twice)}")
    return tuple(name if name not in columns[:place] else "" for place, name in enumerate(columns))


def _told_missing(folder: Path, missing: Sequence[str], files: Mapping[str, Path]) -> str:
    if (folder / "hosp").is_dir() or any(name.startswith("discharge.csv") for name in files):
        return f"{folder} holds MIMIC-IV, as its files tell; `mimic3` reads the tables of MIMIC-III 1.4"
    names = ", ".join(f"{name}.csv[.gz]" for name in missing)
    hint = "" if missing != ["NOTEEVENTS"] else "; without notes there is --task mimic3-tables"
    return f"{folder} lacks {names}{hint}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
