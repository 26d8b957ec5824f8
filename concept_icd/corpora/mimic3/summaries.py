"""The discharge summaries of NOTEEVENTS, one text a stay: streamed, so that no more than a few are held.

A stay's reports come first, then its addenda, each in chart order (CHARTDATE, CHARTTIME, ROW_ID), joined by a blank
line; the texts themselves are not changed. A summary that repeats another of its stay word for word is left out, and
so are rows marked as errors. It knows nothing of codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from concept_icd.corpora.mimic3.dates import told_dates
from concept_icd.corpora.mimic3.tables import Table, load, require_ids, told
from concept_icd.errors import InputError

if TYPE_CHECKING:
    import duckdb

CATEGORY = "Discharge summary"
SEPARATOR = "\n\n"
#: Rows that come from DuckDB at a time; a summary has about 10,000 characters.
ROWS = 200


@dataclass(frozen=True)
class SummaryCounts:
    """What NOTEEVENTS holds, in rows.

    Attributes:
        rows: of the table. summaries: discharge summaries that are used. addenda: those of them that are addenda.
        errors: discharge summaries left out for ISERROR 1. without_stay: for want of HADM_ID. empty: for want of text.
        repeats: summaries that repeat another of their stay word for word (left out, counted in `summaries`).
    """

    rows: int
    summaries: int
    addenda: int
    errors: int
    without_stay: int
    empty: int
    repeats: int


def load_summaries(connection: duckdb.DuckDBPyConnection, table: Table) -> SummaryCounts:
    """Reads NOTEEVENTS into the database: the texts of discharge summaries, of other notes only that they exist.

    Raises:
        InputError: the file cannot be read, no date of its summaries can, or it holds no discharge summary.
    """
    load(
        connection,
        table,
        f"""
        SELECT
            hadm_id,
            category = '{CATEGORY}' AS is_summary,
            lower(description) = 'addendum' AS is_addendum,
            coalesce(iserror, '') = '1' AS is_error,
            nullif(trim(chartdate), '') IS NOT NULL AS is_dated,
            try_cast(chartdate AS DATE) AS chart_date,
            try_cast(charttime AS TIMESTAMP) AS chart_time,
            try_cast(row_id AS BIGINT) AS row_id,
            CASE WHEN category = '{CATEGORY}' AND trim(text, ' \n\r\t') <> '' THEN text END AS text
        FROM {{rows}}
        """,
    )
    require_ids(connection, table)
    with told(table.path):
        connection.execute("""
            CREATE VIEW summaries AS
            SELECT * FROM noteevents WHERE is_summary AND NOT is_error AND hadm_id IS NOT NULL AND text IS NOT NULL
        """)
        rows, errors, without_stay, empty = _row(
            connection,
            """
            SELECT
                count(*),
                count(*) FILTER (is_summary AND is_error),
                count(*) FILTER (is_summary AND NOT is_error AND hadm_id IS NULL),
                count(*) FILTER (is_summary AND NOT is_error AND hadm_id IS NOT NULL AND text IS NULL)
            FROM noteevents
            """,
        )
        summaries, addenda, repeats = _row(
            connection,
            """
            SELECT count(*), count(*) FILTER (is_addendum), count(*) - count(DISTINCT (hadm_id, hash(text)))
            FROM summaries
            """,
        )
        dated, readable = _row(connection, "SELECT count(*) FILTER (is_dated), count(chart_date) FROM summaries")
    if dated and not readable:
        raise InputError(told_dates(table.path, "chartdate"))
    if not summaries:
        raise InputError(
            f"{table.path} holds no discharge summary (category {CATEGORY!r}) of a stay among its {rows:,} rows; "
            "the open demo of MIMIC-III has no notes: there is --task mimic3-tables"
        )
    return SummaryCounts(rows, summaries, addenda, errors, without_stay, empty, repeats)


def stays_with_summary(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """HADM_ID of every stay with a discharge summary."""
    return frozenset(stay for (stay,) in connection.execute("SELECT DISTINCT hadm_id FROM summaries").fetchall())


def stream_summaries(
    connection: duckdb.DuckDBPyConnection, table: Table, stays: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """HADM_ID and joined text of each of the stays that has a summary, in the order of the ids' numbers."""
    with told(table.path):
        connection.execute("CREATE TEMP TABLE wanted AS SELECT unnest(?) AS hadm_id", [list(stays)])
        rows = connection.execute("""
            SELECT hadm_id, text FROM summaries SEMI JOIN wanted USING (hadm_id)
            ORDER BY hadm_id::BIGINT, hadm_id, is_addendum NULLS FIRST, chart_date, chart_time, row_id
        """)
        pieces = iter(lambda: rows.fetchmany(ROWS), [])
        for stay, group in groupby((row for piece in pieces for row in piece), key=itemgetter(0)):
            yield stay, SEPARATOR.join(dict.fromkeys(text for _, text in group))


def _row(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    row = connection.execute(sql).fetchone()
    assert row is not None  # an aggregate always has one
    return row
