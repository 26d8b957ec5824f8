"""Stays from MIMIC-III's tables: ADMISSIONS, PATIENTS, PRESCRIPTIONS, DIAGNOSES_ICD, and SERVICES for the wards.

How the tables are found, streamed and checked is `concept_icd.corpora.mimic3`'s; here are the columns that the network
needs. With the tables of an OMOP vocabulary (CONCEPT, CONCEPT_RELATIONSHIP, CONCEPT_ANCESTOR) a drug's NDC gives its
RxNorm ingredients, as in the study; without them, and for rows without a known NDC, its name does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from concept_icd.corpora.mimic3.codes import read_kind
from concept_icd.corpora.mimic3.dates import date_of
from concept_icd.corpora.mimic3.stays import count_rows, read_stays
from concept_icd.corpora.mimic3.tables import Tables, find_tables, load, require_ids
from concept_icd.medications.omop_files import NDC_TABLES, find_omop_tables, load_ndc_ingredients
from concept_icd.medications.stays import DAYS_A_YEAR, Admission, Bills, ReadStays, collect, make_given

if TYPE_CHECKING:
    import duckdb

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "ADMISSIONS": ("subject_id", "hadm_id", "admittime"),
    "PATIENTS": ("subject_id", "gender", "dob"),
    "DIAGNOSES_ICD": ("hadm_id", "seq_num", "icd9_code"),
    "PRESCRIPTIONS": ("hadm_id", "drug"),
    "SERVICES": ("hadm_id", "curr_service"),
}
BILLS, OPTIONAL = "DIAGNOSES_ICD", ("SERVICES",)
#: Services of newborns, and of surgery. A stay with neither is medical: obstetrics, psychiatry and dentistry too.
NEWBORN = ("NB", "NBB")
SURGICAL = ("SURG", "CSURG", "NSURG", "PSURG", "TSURG", "VSURG", "ORTHO", "TRAUM", "ENT", "EYE", "GU", "GYN")


def find_mimic_tables(folder: Path, vocabulary: Path | None, codes: bool = True) -> tuple[Tables, Tables]:
    """The tables of MIMIC-III, and those of the vocabulary (none without its folder).

    Args:
        codes: DIAGNOSES_ICD is needed; False: it is left alone.

    Raises:
        InputError: a folder, a table or a column is missing.
    """
    wanted = {name: columns for name, columns in COLUMNS.items() if codes or name != BILLS}
    tables = find_tables(folder, columns_of=wanted, optional=OPTIONAL)
    return tables, find_omop_tables(vocabulary, NDC_TABLES, (), "--vocabulary-dir") if vocabulary else {}


def read_mimic_tables(connection: duckdb.DuckDBPyConnection, tables: Tables, vocabulary: Tables) -> ReadStays:
    """Every admission, with or without drugs and codes, in the order of the ids' numbers.

    Raises:
        InputError: a table is damaged, its ids or codes are not as published, or the vocabulary knows none of the NDCs.
    """
    bills = None
    if BILLS in tables:
        codes = read_kind(connection, tables, "diagnosis")
        missing, odd = {"diagnosis rows without a code": codes.missing}, {"no ICD-9-CM diagnosis codes": codes.odd}
        bills = Bills(BILLS, codes.rows, codes.by_stay, missing, odd)
    people = read_stays(connection, {name: tables[name] for name in ("ADMISSIONS", "PATIENTS")})
    ages, wards = _ages(connection), _wards(connection, tables)
    admissions = [Admission(stay, who.patient_id, ages[stay], who.sex, wards.get(stay)) for stay, who in people.items()]
    _load_given(connection, tables, vocabulary)
    without = {"stays without a ward": sum(who.ward is None for who in admissions)}
    return collect(connection, admissions, count_rows(connection), without, "PRESCRIPTIONS", bills)


def _load_given(connection: duckdb.DuckDBPyConnection, tables: Tables, vocabulary: Tables) -> None:
    table = tables["PRESCRIPTIONS"]
    ndc = "trim(ndc)" if vocabulary and "ndc" in table.columns else "NULL"
    load(connection, table, f"SELECT hadm_id, drug, {ndc} AS ndc FROM {{rows}}")
    require_ids(connection, table)
    make_given(connection)
    if not vocabulary:
        connection.execute("INSERT INTO given SELECT hadm_id, drug, NULL FROM prescriptions")
        return
    load_ndc_ingredients(connection, vocabulary, table)
    connection.execute("""
        INSERT INTO given SELECT hadm_id, drug, ndc_concepts.concept
        FROM prescriptions LEFT JOIN ndc_concepts USING (ndc)
    """)


def _ages(connection: duckdb.DuckDBPyConnection) -> dict[str, float | None]:
    """Stay -> years from birth to admission, by their days; None where a date is missing or birth comes later."""
    rows = connection.execute(f"""
        SELECT hadm_id, any_value(CASE WHEN days >= 0 THEN days / {DAYS_A_YEAR} END)
        FROM (
            SELECT admissions.hadm_id, {date_of("admittime")} - {date_of("dob")} AS days
            FROM admissions LEFT JOIN patients USING (subject_id)
        )
        WHERE hadm_id IS NOT NULL GROUP BY hadm_id
    """).fetchall()
    return dict(rows)


def _wards(connection: duckdb.DuckDBPyConnection, tables: Tables) -> dict[str, str]:
    """Stay -> "newborn" where any of its services is one, else "surgical" where any is, else "medical" (study, S9)."""
    if "SERVICES" not in tables:
        return {}
    load(connection, tables["SERVICES"], "SELECT hadm_id, upper(trim(curr_service)) AS service FROM {rows}")
    rows = connection.execute(f"""
        SELECT hadm_id, CASE WHEN bool_or(service IN {NEWBORN}) THEN 'newborn'
            WHEN bool_or(service IN {SURGICAL}) THEN 'surgical' ELSE 'medical' END
        FROM services WHERE service <> '' GROUP BY hadm_id
    """).fetchall()
    return dict(rows)
