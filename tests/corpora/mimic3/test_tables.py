"""Raw tables: found whatever their names and headers look like, read as they are, refused in one sentence."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from concept_icd.corpora.mimic3 import table_bytes
from concept_icd.corpora.mimic3.tables import Table, database, find_tables, fingerprint, load, read_header
from concept_icd.errors import InputError, MissingExtraError
from tests.corpora.mimic3.hand_made import TABLES, write_tables

duckdb = pytest.importorskip("duckdb")
SECRET = "zebrafish"  # stands for note text that must not reach a message


def read(path: Path, folder: Path) -> list[tuple[str | None, ...]]:
    """Every row of a table file, as DuckDB gets it."""
    table = Table("NOTEEVENTS", path, read_header(path, ()))
    with database(1 << 28, folder / "out") as connection:
        load(connection, table, "SELECT * FROM {rows}")
        return connection.execute("SELECT * FROM noteevents").fetchall()


@pytest.mark.parametrize("lower_case", [False, True])
@pytest.mark.parametrize("gzipped", [False, True])
def test_names_headers_and_compression_do_not_matter(tmp_path, lower_case, gzipped):
    tables = find_tables(write_tables(tmp_path / "raw", lower_case=lower_case, gzipped=gzipped))
    assert sorted(tables) == sorted(TABLES)
    assert tables["PATIENTS"].columns == ("row_id", "subject_id", "gender", "dob")
    assert tables["PATIENTS"].path.name.startswith("patients" if lower_case else "PATIENTS")


def test_texts_come_as_they_are(tmp_path):
    text = 'a "quote", a comma\r\nanother line\n\n\\ "" end '
    quoted = '"' + text.replace('"', '""') + '"'
    for line_end in ("\n", "\r\n"):
        path = tmp_path / "t.csv"
        path.write_bytes(f"\ufeffA,B,C{line_end}001,{quoted},{line_end}2.0,,x".encode())
        assert read(path, tmp_path) == [("001", text, None), ("2.0", None, "x")]


FIELD = st.text(alphabet='ab,"\r\n\\', max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(FIELD, FIELD), max_size=30),
    at_once=st.integers(100, 300),
    quoted=st.booleans(),
    line_end=st.sampled_from(("\n", "\r\n")),
)
def test_pieces_end_where_rows_end(tmp_path, monkeypatch, rows, at_once, quoted, line_end):
    """Whatever a text holds, and wherever a piece is full, the pieces are whole rows and nothing is lost."""
    path = tmp_path / "t.csv"
    with path.open("w", newline="") as file:
        # The csv module leaves a lone carriage return without quotes, which no reader takes as it was meant.
        quoted = quoted or any("\r" in field for row in rows for field in row)
        style = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
        csv.writer(file, lineterminator=line_end, quoting=style).writerows([("A", "B"), *rows])
    monkeypatch.setattr(table_bytes, "PIECE", at_once)
    found = [piece.decode() for piece in table_bytes.pieces(path)]
    assert [tuple(row) for piece in found for row in csv.reader(io.StringIO(piece, newline=""))] == rows
    assert path.read_bytes().endswith("".join(found).encode())


def test_a_table_in_many_pieces_is_one_table(tmp_path, monkeypatch):
    """Texts that look like rows of the table are texts, also where a piece would end."""
    like_rows = '1,"x"\n2,"y"\n"3","' * 5
    rows = [(str(i), f"{like_rows}{i}") for i in range(300)]
    for gzipped in (False, True):
        folder = write_tables(tmp_path / str(gzipped), gzipped=gzipped, PATIENTS=[("A", "B"), *rows])
        path = next(folder.glob("PATIENTS*"))
        monkeypatch.setattr(table_bytes, "PIECE", 1000)
        assert read(path, tmp_path) == rows


def test_a_bad_row_is_counted_over_all_pieces(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    path.write_text("A,B\n" + '1,"x\ny"\n' * 100 + "1,2,3\n" + "1,2\n" * 100)
    monkeypatch.setattr(table_bytes, "PIECE", 100)
    with pytest.raises(InputError, match="row 101: 3 fields where the header has 2"):
        read(path, tmp_path)


def test_a_quote_that_runs_away_does_not_fill_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    path.write_text('A,B\n1,"2\n' + f"1,{SECRET}\n" * 1000 + '1,2"\n')
    monkeypatch.setattr(table_bytes, "PIECE", 1000)
    with pytest.raises(InputError, match="a quote is never closed") as told:
        read(path, tmp_path)
    assert SECRET not in str(told.value)


def test_columns_are_found_by_name(tmp_path):
    (tmp_path / "t.csv").write_text("B,a,extra\nb,a,x\n")
    table = Table("T", tmp_path / "t.csv", read_header(tmp_path / "t.csv", ("a", "b")))
    with database(1 << 28, tmp_path / "out") as connection:
        load(connection, table, "SELECT a, b FROM {rows}")
        assert connection.execute("SELECT * FROM t").fetchall() == [("a", "b")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (f"A,B\n1,2\n1,2,{SECRET}\n", "row 2: 3 fields where the header has 2"),
        (f"A,B\n1,2\n{SECRET}\n", "row 2: 1 fields where the header has 2"),
        (f'A,B\n1,2\n1,"{SECRET}" x\n', "row 2: a quote is never closed, or one inside a text is not doubled"),
        (f"A,B\n1,{SECRET}\xff\n".encode("latin-1"), "row 1: not UTF-8"),
        (f'A,B\n1,"{SECRET * 300_000}"\n', "row 1: more than 2 MB; is a quote missing?"),
    ],
)
def test_a_malformed_row_is_told_without_quoting_it(tmp_path, data, reason):
    path = tmp_path / "t.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(InputError) as told:
        read(path, tmp_path)
    assert str(told.value).startswith(f"{path}, {reason}")
    assert SECRET not in str(told.value)
    assert told.value.__suppress_context__  # else a traceback would quote the row
    assert list(tmp_path.iterdir()) == [path]


def test_the_database_goes_whatever_happens(tmp_path):
    def fail() -> None:
        with database(1 << 28, tmp_path / "out") as connection:
            connection.execute("CREATE TABLE x AS SELECT range AS a FROM range(100000)")
            assert [path.name.startswith(".out-duckdb-") for path in tmp_path.iterdir()] == [True]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not list(tmp_path.iterdir())


def test_the_fingerprint_is_of_the_files(tmp_path):
    tables = find_tables(write_tables(tmp_path))
    expected = {f"{name}.csv": hashlib.sha256((tmp_path / f"{name}.csv").read_bytes()).hexdigest() for name in TABLES}
    assert fingerprint(tables) == expected


def test_gzip_files_of_several_members_are_whole(tmp_path):
    tables = find_tables(write_tables(tmp_path, gzipped=True))
    path = tables["PATIENTS"].path
    path.write_bytes(path.read_bytes() + gzip.compress(b"4,4,F,2100-01-01\n"))
    assert path.name in fingerprint(tables)
    assert len(read(path, tmp_path)) == 4


def test_files_that_are_cut_short_are_refused(tmp_path):
    folder = write_tables(tmp_path / "gz", gzipped=True)
    path = folder / "NOTEEVENTS.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"NOTEEVENTS\.csv\.gz: the gzip file is truncated"):
        fingerprint(find_tables(folder))
    whole = (write_tables(tmp_path / "whole", gzipped=True) / path.name).read_bytes()
    path.write_bytes(whole[:-8] + b"\0\0\0\0" + whole[-4:])  # the checksum
    with pytest.raises(InputError, match=r"NOTEEVENTS\.csv\.gz: the gzip file is damaged"):
        fingerprint(find_tables(folder))
    path.write_bytes(b"no gzip at all")
    with pytest.raises(InputError, match=r"NOTEEVENTS\.csv\.gz: the gzip file is damaged, or no gzip file"):
        find_tables(folder)
    # DuckDB drops a last row whose quote is not closed without a word.
    folder = write_tables(tmp_path / "csv")
    (folder / "NOTEEVENTS.csv").open("a").write(f'14,1,101,,,Discharge summary,Report,,"{SECRET}')
    with pytest.raises(InputError, match=r"NOTEEVENTS\.csv ends inside a quoted text: it is cut short") as told:
        fingerprint(find_tables(folder))
    assert SECRET not in str(told.value)


def test_what_is_missing_is_named(tmp_path):
    folder = write_tables(tmp_path / "raw", PROCEDURES_ICD=None, PRESCRIPTIONS=None, D_ICD_DIAGNOSES=None)
    with pytest.raises(InputError, match=r"raw lacks PROCEDURES_ICD\.csv\[\.gz\]$"):
        find_tables(folder)
    folder = write_tables(tmp_path / "no-notes", NOTEEVENTS=None, PRESCRIPTIONS=None)
    with pytest.raises(InputError, match=r"lacks NOTEEVENTS\.csv\[\.gz\]; without notes there is --task mimic3-tables"):
        find_tables(folder)
    assert "PRESCRIPTIONS" not in find_tables(folder, notes=False)
    folder = write_tables(tmp_path / "column", ADMISSIONS=[("ROW_ID", "HADM_ID"), (1, 2)])
    with pytest.raises(
        InputError, match=r"ADMISSIONS\.csv has no column SUBJECT_ID, ADMITTIME; it has row_id, hadm_id"
    ):
        find_tables(folder)
    folder = write_tables(tmp_path / "headless", NOTEEVENTS=[(1, 1, 101, f"{SECRET} text")])
    with pytest.raises(InputError, match=r"NOTEEVENTS\.csv has no column .*; its first line is no header$"):
        find_tables(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty lacks ADMISSIONS.csv\[.gz\], PATIENTS"):
        find_tables(tmp_path / "empty")
    with pytest.raises(InputError, match=r"nowhere is no folder; --mimic-dir names"):
        find_tables(tmp_path / "nowhere")


def test_mimic_iv_is_recognised(tmp_path):
    four = [("subject_id", "hadm_id", "seq_num", "icd_code", "icd_version"), (1, 2, 1, "I10", 10)]
    with pytest.raises(InputError, match=r"DIAGNOSES_ICD\.csv is a table of MIMIC-IV"):
        find_tables(write_tables(tmp_path / "flat", DIAGNOSES_ICD=four))
    (tmp_path / "mimic-iv" / "hosp").mkdir(parents=True)
    with pytest.raises(InputError, match=r"mimic-iv holds MIMIC-IV"):
        find_tables(tmp_path / "mimic-iv")


def test_of_two_files_the_plain_one_counts(tmp_path):
    folder = write_tables(tmp_path)
    write_tables(folder, gzipped=True)
    assert {table.path.suffix for table in find_tables(folder).values()} == {".csv"}


def test_a_full_disk_is_told(small_disk, tmp_path):
    rows = [(i, 1, 101, "2150-06-20", "", "Discharge summary", "Report", "", f"{SECRET} {i}" * 50) for i in range(9000)]
    table = find_tables(write_tables(tmp_path / "raw", NOTEEVENTS=[*TABLES["NOTEEVENTS"][:1], *rows]))["NOTEEVENTS"]
    with pytest.raises(InputError, match="disk") as told, database(1 << 27, small_disk / "out") as connection:
        load(connection, table, "SELECT * FROM {rows}")
    assert SECRET not in str(told.value)
    assert not list(small_disk.iterdir())


def test_a_missing_duckdb_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    context = database(1 << 28, tmp_path / "out")
    with pytest.raises(MissingExtraError, match=r"pip install '.*\[mimic3\]'"):
        context.__enter__()
    assert not list(tmp_path.iterdir())
