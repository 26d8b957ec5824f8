"""The discharge summaries of NOTEEVENTS, one text a stay: streamed, so that no more than a few are held.

A stay's reports come first, then its addenda, each in chart order (CHARTDATE, CHARTTIME, ROW_ID), joined by a blank
line; the texts themselves are not changed. A summary that repeats another of its stay word for word is left out, and
so are rows marked as errors. It knows nothing of codes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from concept_icd.corpora.mimic3.dates import date_of, require_dates, told_dates
from concept_icd.corpora.mimic3.tables import Table, Tables, load, require_ids, told
from concept_icd.errors import InputError
from concept_icd.records import OneLine, sex_of

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


# Who was admitted: patient, age, sex and drugs of each stay. It knows nothing of notes or codes.

#: Ages above this are 90.0: MIMIC-III moves these patients' births 300 years back.
OLDEST = 89


@dataclass(frozen=True, repr=False)
class Stay(OneLine):
    """An admission.

    Attributes:
        patient_id: SUBJECT_ID.
        age: whole years at admission, 90.0 above 89; None where a date is missing. sex: "F", "M" or None.
        drugs: different DRUG names of PRESCRIPTIONS, in alphabetical order.
    """

    patient_id: str
    age: float | None
    sex: str | None
    drugs: tuple[str, ...] = ()


def read_stays(connection: duckdb.DuckDBPyConnection, tables: Tables) -> dict[str, Stay]:
    """HADM_ID -> stay, for every admission, in the order of the ids' numbers.

    Raises:
        InputError: a table cannot be read, ids are no whole numbers, a sex is none, or a date cannot be read.
    """
    for name in ("ADMISSIONS", "PATIENTS"):
        load(connection, tables[name], "SELECT * FROM {rows}")
    require_ids(connection, tables["ADMISSIONS"], ("hadm_id", "subject_id"))
    require_ids(connection, tables["PATIENTS"], ("subject_id",))
    require_dates(connection, tables["ADMISSIONS"], ("admittime",))
    require_dates(connection, tables["PATIENTS"], ("dob",))
    sexes = _sexes(connection, tables["PATIENTS"])
    rows = connection.execute(f"""
        SELECT
            hadm_id,
            any_value(subject_id),
            any_value(
                CASE WHEN years > {OLDEST} THEN 90.0 WHEN years >= 0 THEN years::DOUBLE END
            ),
            any_value(gender)
        FROM (
            SELECT
                admissions.hadm_id, admissions.subject_id, gender,
                date_sub('year', {date_of("dob")}, {date_of("admittime")}) AS years
            FROM admissions LEFT JOIN patients USING (subject_id)
        )
        WHERE hadm_id IS NOT NULL
        GROUP BY hadm_id
        ORDER BY hadm_id::BIGINT, hadm_id
    """).fetchall()
    drugs = _drugs(connection, tables)
    return {stay: Stay(patient, age, sexes[gender], drugs.get(stay, ())) for stay, patient, age, gender in rows}


def count_rows(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Rows of ADMISSIONS and PATIENTS, after `read_stays`."""
    tables = ("ADMISSIONS", "PATIENTS")
    return {name: connection.execute(f"SELECT count(*) FROM {name.lower()}").fetchall()[0][0] for name in tables}


def _sexes(connection: duckdb.DuckDBPyConnection, table: Table) -> dict[str | None, str | None]:
    """Each spelling of GENDER, and none, as `sex_of` reads it."""
    try:
        found = connection.execute("SELECT DISTINCT gender FROM patients").fetchall()
        return {None: None} | {gender: sex_of(gender) for (gender,) in found}
    except InputError as error:
        raise InputError(f"{table.path}, column GENDER: {error}") from None


def _drugs(connection: duckdb.DuckDBPyConnection, tables: Tables) -> Mapping[str, tuple[str, ...]]:
    table = tables.get("PRESCRIPTIONS")
    if table is None:
        return {}
    load(connection, table, "SELECT hadm_id, drug FROM {rows}")
    require_ids(connection, table)
    rows = connection.execute("""
        SELECT hadm_id, list_sort(list(DISTINCT drug)) FROM prescriptions
        WHERE hadm_id IS NOT NULL AND drug IS NOT NULL GROUP BY hadm_id
    """)
    found: dict[str, tuple[str, ...]] = {}
    while piece := rows.fetchmany(1000):
        # A few thousand names, millions of times: each is held once.
        found.update((stay, tuple(map(sys.intern, names))) for stay, names in piece)
    return found
