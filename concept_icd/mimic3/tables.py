"""The raw tables of MIMIC-III as files: finds them, checks that they are whole, and opens them in DuckDB.

It knows files, headers and DuckDB, and nothing of what the columns mean. Every column is text (codes and ids lose
zeros as numbers). DuckDB's own messages quote the row at fault, so none of them is passed on.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
import shutil
import tempfile
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from concept_icd.artifacts import writing
from concept_icd.errors import InputError, MissingExtraError
from concept_icd.progress import ProgressBar, progress_bar

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
#: Bytes read at a time, and bytes from which reading a file has a bar.
CHUNK, LARGE = 1 << 22, 1 << 24
#: The longest row in bytes; MIMIC-III's longest note has about 55,000. DuckDB's buffers are 16 times as long.
LONGEST_ROW = 1 << 21


@dataclass(frozen=True)
class Table:
    """A raw table: its upper-case name, its file and the names of its columns in order, in lower case."""

    name: str
    path: Path
    columns: tuple[str, ...]

    @property
    def rows(self) -> str:
        """The table as it stands in SQL: every row, all columns text, an empty field NULL.

        Not read in parallel: then a quoted text with line ends in it is never cut at a guess.
        """
        columns = ", ".join(f"{_quoted(name)}: 'VARCHAR'" for name in self.columns)
        return (
            f"read_csv({_quoted(str(self.path))}, columns={{{columns}}}, header=true, delim=',', quote='\"', "
            f"escape='\"', nullstr='', auto_detect=false, parallel=false, max_line_size={LONGEST_ROW})"
        )


Tables = Mapping[str, Table]


def find_tables(folder: Path, notes: bool = True) -> dict[str, Table]:
    """The tables of a folder, `.csv` or `.csv.gz`, whatever the case of names and headers; of two files the `.csv`.

    Args:
        notes: NOTEEVENTS is needed; False: it is left alone.

    Raises:
        InputError: no such folder, a table or column is missing, or the tables are MIMIC-IV's.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; --mimic-dir names the one with MIMIC-III's .csv or .csv.gz tables")
    files = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
    found = {}
    for name, columns in COLUMNS.items():
        if name == "NOTEEVENTS" and not notes:
            continue
        path = files.get(f"{name.lower()}.csv") or files.get(f"{name.lower()}.csv.gz")
        if path is not None:
            found[name] = Table(name, path, read_header(path, columns))
    needed = [name for name in COLUMNS if name not in OPTIONAL and (notes or name != "NOTEEVENTS")]
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
    with progress_bar(sum(sizes.values()) >> 20, "checking the tables", "MB") as bar:
        for path in sizes:
            hashes[path.name] = _checked_hash(path, bar)
    return hashes


@contextmanager
def database(memory: int, beside: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB database in a temporary folder beside the path `beside`, which goes whatever happens.

    Args:
        memory: bytes of DuckDB's own memory; what does not fit goes into the folder.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """
    try:
        import duckdb
    except ImportError as error:
        raise MissingExtraError("duckdb", "mimic3") from error
    with writing(beside):
        beside.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{beside.name}-duckdb-", dir=beside.parent))
    try:
        with duckdb.connect(folder / "tables.duckdb") as connection:
            connection.execute(f"SET memory_limit = '{memory >> 20}MiB'")
            connection.execute(f"SET temp_directory = {_quoted(str(folder / 'spilled'))}")
            connection.execute("SET threads = 2")  # each thread holds buffers of its own
            connection.execute("SET enable_progress_bar = true; SET enable_progress_bar_print = false")
            yield connection
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def load(connection: duckdb.DuckDBPyConnection, table: Table, sql: str) -> None:
    """Runs the statement `sql` that reads `table`, with a bar where the file is large.

    Raises:
        InputError: the file is no such table (which line, and why), or memory or disk do not suffice.
    """
    with told(table.path), _bar_of(connection, f"reading {table.name}", table.path.stat().st_size > LARGE):
        connection.execute(sql)


def require_ids(connection: duckdb.DuckDBPyConnection, table: Table, ids: Sequence[str] = ("hadm_id",)) -> None:
    """Checks ids of a loaded table (its name is the table's in lower case); a missing id is not this check's matter.

    Raises:
        InputError: an id is no whole number, as when a table was saved by a program that made it 145834.0.
    """
    for column in ids:
        sql = f"SELECT {column} FROM {table.name.lower()} WHERE NOT regexp_full_match({column}, '[0-9]+') LIMIT 1"
        if odd := connection.execute(sql).fetchone():
            raise InputError(
                f"{table.path}: {column.upper()} {odd[0][:20]!r} is no whole number; {table.name} is needed as "
                "PhysioNet publishes it, its ids read as text"
            )


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turns DuckDB's errors about `path` into one sentence that quotes nothing of the file."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException:
        reason = f"reading {path} needs more memory or temporary disk than allowed; raise --memory or free the disk"
    except duckdb.Error as error:
        reason = _reason(path, str(error))
    else:
        return
    raise InputError(reason) from None  # the cause quotes the row: it must not reach a traceback either


def _reason(path: Path, message: str) -> str:
    line = re.search(r"CSV Error on Line: (\d+)", message)
    place = f"{path}, line {line[1]}" if line else str(path)
    again = "take the file again from its source"
    if counts := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message):
        return f"{place}: {counts[2]} fields where the header has {counts[1]}; {again}"
    if "unterminated quote" in message:
        return f"{place}: a quote is never closed, or one inside a text is not doubled; {again}"
    if "not utf-8 encoded" in message:
        return f"{place}: not UTF-8; {again}"
    if "Maximum line size" in message:
        return f"{place}: a row of more than {LONGEST_ROW >> 20} MB; is a quote missing? {again}"
    if "GZIP stream" in message:
        return f"{place}: the gzip file is truncated or damaged; {again}"
    if line is None and ("IO Error" in message or "write" in message):
        return f"reading {place}: the temporary files beside --out cannot be written; is the disk full?"
    return f"{place}: not a CSV table that can be read; {again}"


@contextmanager
def _bar_of(connection: duckdb.DuckDBPyConnection, label: str, shown: bool) -> Iterator[None]:
    """Shows DuckDB's own estimate of how far a statement is, asked twice a second."""
    if not shown:
        yield
        return
    done = threading.Event()
    with progress_bar(100, label, "%") as bar:

        def watch() -> None:
            while not done.wait(0.5):
                percent = min(int(connection.query_progress()), 99)  # -1: it cannot tell
                bar.advance(max(0, percent - bar.done))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
        bar.advance(100 - bar.done)


def read_header(path: Path, needed: Sequence[str]) -> tuple[str, ...]:
    """The names of a table's columns, in lower case.

    Raises:
        InputError: the file is unreadable, lacks a needed column, or is a table of MIMIC-IV.
    """
    try:
        with gzip.open(path) if _is_gzip(path) else path.open("rb") as file:
            line = file.readline(CHUNK).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is no readable {'gzip' if _is_gzip(path) else 'CSV'} file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: its header is not UTF-8; is it a CSV table?") from error
    columns = tuple(name.strip().lower() for name in next(csv.reader([line]), []))
    if "icd_version" in columns:
        raise InputError(f"{path} is a table of MIMIC-IV (columns icd_code, icd_version); `mimic3` reads MIMIC-III 1.4")
    if missing := [name.upper() for name in needed if name not in columns]:
        # A file without a header begins with a row, which no message may quote.
        is_header = columns and all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in columns)
        has = f"it has {', '.join(columns)}" if is_header else "its first line is no header"
        raise InputError(f"{path} has no column {', '.join(missing)}; {has}")
    return columns


def _told_missing(folder: Path, missing: Sequence[str], files: Mapping[str, Path]) -> str:
    if (folder / "hosp").is_dir() or any(name.startswith("discharge.csv") for name in files):
        return f"{folder} holds MIMIC-IV, as its files tell; `mimic3` reads the tables of MIMIC-III 1.4"
    names = ", ".join(f"{name}.csv[.gz]" for name in missing)
    hint = "" if missing != ["NOTEEVENTS"] else "; without notes there is --task mimic3-tables"
    return f"{folder} lacks {names}{hint}"


def _checked_hash(path: Path, bar: ProgressBar) -> str:
    digest, quotes, read = hashlib.sha256(), 0, 0
    unzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if _is_gzip(path) else None
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                bar.advance((read + len(chunk) >> 20) - (read >> 20))
                read += len(chunk)
                if unzip is None:
                    quotes += chunk.count(b'"')
                    continue
                while chunk:
                    quotes += unzip.decompress(chunk).count(b'"')
                    chunk = unzip.unused_data
                    if chunk:  # gzip files may be several, one after another
                        unzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except zlib.error as error:
        raise InputError(f"{path}: the gzip file is damaged; take it again from its source") from error
    if unzip is not None and not unzip.eof:
        raise InputError(f"{path}: the gzip file is truncated; take it again from its source")
    if quotes % 2:  # DuckDB drops an unclosed last row without a word
        raise InputError(f"{path} ends inside a quoted text: it is cut short; take it again from its source")
    return digest.hexdigest()


def _is_gzip(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
