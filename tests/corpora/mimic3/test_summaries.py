"""The discharge summaries of a stay are one text: reports, then addenda, in chart order and unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from concept_icd.corpora.mimic3.summaries import SummaryCounts, load_summaries, stays_with_summary, stream_summaries
from concept_icd.corpora.mimic3.tables import database, find_tables
from concept_icd.errors import InputError
from tests.corpora.mimic3.hand_made import ODD_TEXT, TABLES, Rows, write_tables

pytest.importorskip("duckdb")
HEADER = TABLES["NOTEEVENTS"][0]


def summaries_of(folder: Path, rows: Rows = TABLES["NOTEEVENTS"]) -> tuple[SummaryCounts, dict[str, str]]:
    """The counts, and the texts of all stays in the order in which they come."""
    table = find_tables(write_tables(folder / "raw", NOTEEVENTS=rows))["NOTEEVENTS"]
    with database(1 << 28, folder / "out") as connection:
        counts = load_summaries(connection, table)
        return counts, dict(stream_summaries(connection, table, stays_with_summary(connection)))


def test_the_texts_of_each_stay(tmp_path):
    counts, texts = summaries_of(tmp_path)
    assert list(texts.items()) == [
        ("101", "report of 101\n\naddendum of 101"),
        ("102", "first of 102\n\nsecond of 102"),
        ("103", ODD_TEXT),  # once, though it stands there twice
        ("104", "summary of 104"),
        ("106", "summary of 106"),
    ]
    assert counts == SummaryCounts(
        rows=13, summaries=8, addenda=1, errors=1, without_stay=1, empty=1, repeats=1
    )  # of 13 rows, one is a nurse's and one of "Discharge Summary", another category


def test_only_the_wanted_stays_come(tmp_path):
    table = find_tables(write_tables(tmp_path / "raw"))["NOTEEVENTS"]
    with database(1 << 28, tmp_path / "out") as connection:
        load_summaries(connection, table)
        assert [stay for stay, _ in stream_summaries(connection, table, ["104", "101", "999"])] == ["101", "104"]


def test_chart_order_is_date_then_time_then_row(tmp_path):
    def summary(row: int, date: str, time: str, text: str) -> tuple[object, ...]:
        return (row, 1, 9, date, time, "Discharge summary", "Report", "", text)

    rows = [
        summary(10, "2150-01-02", "2150-01-02 08:00:00", "third"),
        summary(9, "2150-01-02", "", "fifth"),  # no time: after those of the day that have one
        summary(11, "2150-01-02", "2150-01-02 09:00:00", "fourth"),
        summary(12, "2150-01-01", "2150-01-01 23:00:00", "second"),
        summary(2, "2150-01-01", "2150-01-01 23:00:00", "first"),  # as numbers, 2 is before 12
    ]
    assert summaries_of(tmp_path, [HEADER, *rows])[1] == {"9": "first\n\nsecond\n\nthird\n\nfourth\n\nfifth"}


def test_stays_come_in_the_order_of_their_numbers(tmp_path):
    rows = [(i, 1, stay, "", "", "Discharge summary", "Report", "", "x") for i, stay in enumerate((100, 20, 3))]
    assert list(summaries_of(tmp_path, [HEADER, *rows])[1]) == ["3", "20", "100"]


def test_a_table_without_summaries_is_refused(tmp_path, shared_data):
    with pytest.raises(InputError, match=r"no discharge summary .* 0 rows; the open demo .* --task mimic3-tables"):
        summaries_of(tmp_path, [HEADER])
    table = find_tables(shared_data / "mimic3_demo")["NOTEEVENTS"]
    with database(1 << 28, tmp_path / "demo") as connection, pytest.raises(InputError, match="holds no discharge"):
        load_summaries(connection, table)
