"""Who was admitted: patient, age, sex and drugs of each stay. It knows nothing of notes or codes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from concept_icd.corpora.mimic3.dates import date_of, require_dates
from concept_icd.corpora.mimic3.tables import Table, Tables, load, require_ids
from concept_icd.errors import InputError
from concept_icd.records import OneLine, sex_of

if TYPE_CHECKING:
    import duckdb

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
