"""Stays from OMOP CDM tables: visit_occurrence, person, drug_exposure, condition_occurrence, and the vocabulary.

Codes are the source codes of ICD-9-CM: of condition_source_concept_id where `concept` knows it, else as written in
condition_source_value. Ingredients come from concept and concept_ancestor where both are there, else from
drug_source_value (`drug_names`). A visit has no ward here.

Drugs are those prescribed, as in the study: rows of drug_exposure with the drug_type_concept_id 38000177 ("prescription
written"). A table without that column, or `drug_types` "all" (ours: administrations too), gives every row.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from concept_icd.corpora.mimic3.codes import refuse_numbers
from concept_icd.corpora.mimic3.dates import date_of, require_dates
from concept_icd.corpora.mimic3.tables import Table, Tables
from concept_icd.errors import InputError
from concept_icd.medications.omop_files import (
    ANCESTOR_COLUMNS,
    CONCEPT_COLUMNS,
    count,
    find_omop_tables,
    load_concepts,
    load_ingredients,
    load_omop,
)
from concept_icd.medications.stays import DAYS_A_YEAR, Admission, Bills, ReadStays, collect, make_given
from concept_icd.ontology.code_shapes import ICD9CM

if TYPE_CHECKING:
    import duckdb

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "visit_occurrence": ("visit_occurrence_id", "person_id", "visit_start_date"),
    "person": ("person_id", "gender_concept_id", "year_of_birth"),
    "drug_exposure": ("visit_occurrence_id", "drug_concept_id"),
    "condition_occurrence": ("visit_occurrence_id", "condition_source_value"),
    "concept": CONCEPT_COLUMNS,
    "concept_ancestor": ANCESTOR_COLUMNS,
}
BILLS, OPTIONAL = "condition_occurrence", ("concept", "concept_ancestor")
FEMALE, MALE = 8532, 8507
DrugTypes = Literal["prescriptions", "all"]
#: drug_type_concept_id of a prescription that was written.
PRESCRIPTION = 38000177
_DIAGNOSIS = next(shape for shape in ICD9CM if shape.kind == "diagnosis")


def find_cdm_tables(folder: Path, vocabulary: Path | None, codes: bool = True) -> Tables:
    """The tables; those of the vocabulary from a folder of their own where one is named.

    Args:
        codes: condition_occurrence is needed; False: it is left alone.

    Raises:
        InputError: a folder, a table or a column is missing.
    """
    left = (() if vocabulary is None else OPTIONAL) + (() if codes else (BILLS,))
    cdm = {name: columns for name, columns in COLUMNS.items() if name not in left}
    found = find_omop_tables(folder, cdm, OPTIONAL, "--omop-dir")
    if vocabulary is not None:
        own = {name: COLUMNS[name] for name in OPTIONAL}
        found |= find_omop_tables(vocabulary, own, (), "--vocabulary-dir")
    drugs = found["drug_exposure"]
    if not _has_vocabulary(found) and "drug_source_value" not in drugs.columns:
        raise InputError(
            f"{drugs.path} has no column drug_source_value, and there is no concept and concept_ancestor: nothing "
            "tells which drug a drug_concept_id is; --vocabulary-dir names the folder of the vocabulary"
        )
    return found


def read_cdm_tables(
    connection: duckdb.DuckDBPyConnection, tables: Tables, drug_types: DrugTypes = "prescriptions"
) -> ReadStays:
    """Every visit, with or without drugs and codes, in the order of the ids.

    Args:
        drug_types: see the module.

    Raises:
        InputError: a table is damaged, a visit has no id or stands twice, a date is not written as a date, no drug is
            prescribed, the vocabulary knows none of the drug concepts, or no condition has an ICD-9-CM code.
    """
    admissions = _admissions(connection, tables)
    if _has_vocabulary(tables):
        load_concepts(connection, tables)
    counts = _load_given(connection, tables, drug_types)
    rows = {"ADMISSIONS": len(admissions), "PATIENTS": count(connection, "SELECT count(*) FROM person")}
    bills = _bills(connection, tables) if BILLS in tables else None
    return collect(connection, admissions, rows, counts, "drug_exposure", bills)


def _has_vocabulary(tables: Tables) -> bool:
    return all(name in tables for name in OPTIONAL)


def _admissions(connection: duckdb.DuckDBPyConnection, tables: Tables) -> list[Admission]:
    visits: Table = tables["visit_occurrence"]
    load_omop(connection, visits, COLUMNS["visit_occurrence"])
    load_omop(connection, tables["person"], (*COLUMNS["person"], "month_of_birth", "day_of_birth"))
    for name, key in (("visit_occurrence", "visit_occurrence_id"), ("person", "person_id")):
        rows, ids = connection.execute(f"SELECT count(*), count(DISTINCT {key}) FROM {name}").fetchall()[0]
        if rows != ids:
            raise InputError(f"{tables[name].path}: {rows - ids:,} rows have no {key}, or one that another row has")
    require_dates(connection, visits, ("visit_start_date",))
    # By the days since birth; in whole years by the year alone where the day of birth is not told.
    rows = connection.execute(f"""
        SELECT visit_occurrence_id, person_id,
            CASE gender_concept_id WHEN {FEMALE} THEN 'F' WHEN {MALE} THEN 'M' END,
            coalesce(
                (start - try_cast(format('{{:04d}}-{{:02d}}-{{:02d}}', year_of_birth, month_of_birth, day_of_birth)
                    AS DATE)) / {DAYS_A_YEAR},
                year(start) - year_of_birth)
        FROM (SELECT *, {date_of("visit_start_date")} AS start FROM visit_occurrence)
        LEFT JOIN person USING (person_id) ORDER BY visit_occurrence_id
    """).fetchall()
    return [
        Admission(str(visit), str(person), float(age) if age is not None and age >= 0 else None, sex)
        for visit, person, sex, age in rows
    ]


def _load_given(connection: duckdb.DuckDBPyConnection, tables: Tables, drug_types: DrugTypes) -> dict[str, int]:
    """Drug rows by concept, else by name; how many rows have no concept that the vocabulary leads to an ingredient."""
    table = tables["drug_exposure"]
    load_omop(connection, table, (*COLUMNS["drug_exposure"], "drug_source_value", "drug_type_concept_id"))
    counts = {}
    if drug_types == "prescriptions" and "drug_type_concept_id" in table.columns:
        counts["drug rows that are no prescription"] = _drop_other_types(connection, table)
    make_given(connection)
    connection.execute("""
        INSERT INTO given
        SELECT visit_occurrence_id::VARCHAR, drug_source_value, nullif(drug_concept_id, 0) FROM drug_exposure
    """)
    if not _has_vocabulary(tables):
        return counts
    load_ingredients(connection, "SELECT concept FROM given WHERE concept IS NOT NULL")
    rows, without, missing, concepts = connection.execute("""
        SELECT count(concept), count(*) FILTER (concept IS NULL),
            count(concept) FILTER (concept_id IS NULL), count(DISTINCT concept) FILTER (concept_id IS NULL)
        FROM given LEFT JOIN (SELECT DISTINCT concept_id FROM concept) ON concept_id = concept
    """).fetchall()[0]
    if rows and missing == rows:
        raise InputError(
            f"{tables['concept'].path} knows none of the {rows:,} drug_concept_id of {table.path}: they are of another "
            "version of the vocabulary; --vocabulary-dir names the folder of theirs"
        )
    return counts | {
        "drug rows without a concept": without,
        "drug rows of concepts that the vocabulary lacks": missing,
        "drug concepts that the vocabulary lacks": concepts,
    }


def _drop_other_types(connection: duckdb.DuckDBPyConnection, table: Table) -> int:
    """Leaves the prescriptions; returns how many other rows there were.

    Raises:
        InputError: there are rows, and none is a prescription.
    """
    rows = count(connection, "SELECT count(*) FROM drug_exposure")
    other = f"drug_exposure WHERE drug_type_concept_id IS DISTINCT FROM {PRESCRIPTION}"
    others = count(connection, f"DELETE FROM {other}")
    if rows and rows == others:
        raise InputError(
            f"{table.path}: none of its {rows:,} rows has the drug_type_concept_id {PRESCRIPTION} (prescription "
            "written), which the study reads; --drug-types all reads every row"
        )
    return others


def _bills(connection: duckdb.DuckDBPyConnection, tables: Tables) -> Bills:
    """The codes of each visit; named: what is no code, and other vocabularies."""
    table = tables[BILLS]
    load_omop(connection, table, (*COLUMNS[BILLS], "condition_source_concept_id"))
    if "concept" not in tables:
        connection.execute("CREATE TABLE concept (concept_id BIGINT, vocabulary_id VARCHAR, concept_code VARCHAR)")
    elif not _has_vocabulary(tables):
        load_omop(connection, tables["concept"], CONCEPT_COLUMNS)
    _refuse_numbers(connection, table)
    rows = connection.execute("""
        SELECT visit_occurrence_id::VARCHAR, vocabulary_id,
            upper(CASE vocabulary_id WHEN 'ICD9CM' THEN concept_code ELSE condition_source_value END), count(*)
        FROM condition_occurrence c LEFT JOIN concept s
            ON s.concept_id = c.condition_source_concept_id AND s.concept_id <> 0
        GROUP BY ALL ORDER BY ALL
    """).fetchall()
    billed: defaultdict[str, dict[str, None]] = defaultdict(dict)
    odd, others, missing = Counter[str](), Counter[str](), 0
    for visit, vocabulary, raw, number in rows:
        if vocabulary not in (None, "ICD9CM"):
            others[vocabulary] += number
        elif not raw:
            missing += number
        elif not _DIAGNOSIS.dotted.fullmatch(code := raw if "." in raw else _DIAGNOSIS.add_dot(raw)):
            odd[raw] += number
        elif visit is not None:
            billed[visit][code] = None
    if not billed:
        raise InputError(
            f"{table.path}: no condition of a visit has an ICD-9-CM code in condition_source_value or, through "
            "concept, in condition_source_concept_id"
        )
    counts = {"diagnosis rows without a code": missing, "diagnosis rows of other vocabularies": sum(others.values())}
    named = {"no ICD-9-CM diagnosis codes": dict(odd), "other vocabularies of diagnoses": dict(others)}
    number = count(connection, f"SELECT count(*) FROM {BILLS}")
    return Bills(BILLS, number, {visit: tuple(codes) for visit, codes in billed.items()}, counts, named)


def _refuse_numbers(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Source values without a dot that went through a number have lost the zeros they began with."""
    values = connection.execute("""
        SELECT DISTINCT upper(condition_source_value) FROM condition_occurrence
        WHERE regexp_full_match(upper(condition_source_value), '[0-9VE][0-9]*')
    """).fetchall()
    try:
        refuse_numbers(table, _DIAGNOSIS, frozenset(value for (value,) in values))
    except InputError as error:
        raise InputError(
            f"{table.path}: the codes of condition_source_value were turned into numbers and lost zeros; write the "
            "table again with that column as text"
        ) from error
