"""What both kinds of tables come to: the inputs of stays, their bills, and counts of what was found and missing.

A reader (`mimic`, `omop`) fills two tables of DuckDB, `given` (stay, name, concept: one a drug row) and
`concept_ingredients` (concept, ingredient), and says who the stays are and what is on their bills; `collect` makes
sparse rows of it. Drugs are told apart by their ingredients: of the OMOP vocabulary where it knows the concept, else of
the name (`drug_names`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array, hstack

from concept_icd.medications.drug_names import doubtful_names, ingredients_of
from concept_icd.medications.strategy import Stays
from concept_icd.medications.targets import indicator

if TYPE_CHECKING:
    import duckdb

#: An age of this many years, or more, is 1. A year, where days are known: age / 89 is days / 365.25 / 89.
OLDEST, DAYS_A_YEAR = 89, 365.25
#: The age input of a stay whose age is not known: half the scale, which is neither old nor young.
UNKNOWN_AGE = 0.5
FEMALE, AGE, DRUG = "female", "age", "drug:"


@dataclass(frozen=True)
class Admission:
    """Who a stay is: `age` in years (None: not known), `sex` "F", "M" or None, `ward` see `Stays`."""

    stay_id: str
    patient_id: str
    age: float | None
    sex: str | None
    ward: str | None = None


@dataclass(frozen=True)
class ReadStays:
    """Stays and their bills as tables tell them.

    Attributes:
        billed: stay -> dotted diagnosis codes. rows: of each table that was read.
        counts: what was found and what is missing, by name. named: the same by name of what is odd -> rows or why.
    """

    stays: Stays
    billed: Mapping[str, tuple[str, ...]]
    rows: Mapping[str, int]
    counts: Mapping[str, int]
    named: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Bills:
    """What a reader found on bills: `billed`, `counts` and `named` of `ReadStays`, and the table with its `rows`."""

    table: str
    rows: int
    billed: Mapping[str, tuple[str, ...]]
    counts: Mapping[str, int]
    named: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Drugs:
    """Ingredients of stays: float32 0/1 (stays, ingredients), with the counts of `ReadStays`."""

    matrix: csr_array
    ingredients: tuple[str, ...]
    counts: Mapping[str, int]
    named: Mapping[str, Mapping[str, Any]]


def make_given(connection: duckdb.DuckDBPyConnection) -> None:
    """The two empty tables that a reader fills."""
    connection.execute("CREATE OR REPLACE TABLE given (stay VARCHAR, name VARCHAR, concept BIGINT)")
    connection.execute("CREATE OR REPLACE TABLE concept_ingredients (concept BIGINT, ingredient VARCHAR)")


def collect(
    connection: duckdb.DuckDBPyConnection,
    admissions: Sequence[Admission],
    rows: Mapping[str, int],
    counts: Mapping[str, int],
    drug_table: str,
    bills: Bills | None,
) -> ReadStays:
    """The stays of a reader that has filled `given` and `concept_ingredients`.

    Args:
        rows: of the other tables. counts: what is missing of stays and drugs, where only the reader knows it.
        bills: None where they were not read.
    """
    drugs = read_drugs(connection, [who.stay_id for who in admissions])
    counts = _people(admissions) | dict(drugs.counts) | dict(counts)
    rows = dict(rows) | {drug_table: drugs.counts["drug rows"]}
    stays = make_stays(admissions, drugs)
    if bills is None:
        return ReadStays(stays, {}, rows, counts, drugs.named)
    rows[bills.table] = bills.rows
    return ReadStays(stays, bills.billed, rows, counts | dict(bills.counts), dict(drugs.named) | dict(bills.named))


def read_drugs(connection: duckdb.DuckDBPyConnection, stay_ids: Sequence[str]) -> Drugs:
    """The ingredients of each stay from `given` and `concept_ingredients`; rows of other stays are counted, no more."""
    import pyarrow as pa

    order = pa.table({"stay": list(stay_ids), "row": np.arange(len(stay_ids))})
    connection.register("stay_order", order)
    connection.execute("""
        CREATE OR REPLACE TABLE drug_keys AS
        SELECT row_number() OVER (ORDER BY name, concept) - 1 AS key, name, concept, count(*) AS rows
        FROM (SELECT coalesce(name, '') AS name, coalesce(concept, 0) AS concept FROM given) GROUP BY name, concept
    """)
    of_concept = dict(
        connection.execute(
            "SELECT concept, list_sort(list(DISTINCT ingredient)) FROM concept_ingredients GROUP BY concept"
        ).fetchall()
    )
    keys = connection.execute("SELECT name, concept, rows FROM drug_keys ORDER BY key").fetchall()
    pairs = connection.execute("""
        SELECT DISTINCT stay_order.row, drug_keys.key FROM given JOIN stay_order USING (stay)
        JOIN drug_keys ON drug_keys.name = coalesce(given.name, '') AND drug_keys.concept = coalesce(given.concept, 0)
    """).fetchnumpy()
    elsewhere = connection.execute("SELECT count(*) FROM given ANTI JOIN stay_order USING (stay)").fetchall()[0][0]
    connection.unregister("stay_order")

    of_key = [tuple(of_concept.get(concept, ())) or ingredients_of(name) for name, concept, _ in keys]
    columns, matrix = _ingredient_matrix(np.asarray(pairs["row"]), np.asarray(pairs["key"]), of_key, len(stay_ids))
    by_name = [
        (name, rows, of) for (name, concept, rows), of in zip(keys, of_key, strict=True) if concept not in of_concept
    ]
    names = {name for name, _, _ in by_name if name.strip()}
    nothing = {name: rows for name, rows, of in by_name if name.strip() and not of}
    total = sum(rows for _, _, rows in keys)
    counts = {
        "drug rows": total,
        "drug rows of no stay": int(elsewhere),
        "drug rows by their concept": total - sum(rows for _, rows, _ in by_name),
        "drug rows without concept and name": sum(rows for name, rows, _ in by_name if not name.strip()),
        "drug rows of names of no drug": sum(rows for name, rows, of in by_name if name.strip() and not of),
        "drug names read": len(names),
        "ingredients": len(columns),
        "stays with drugs": int((np.diff(matrix.indptr) > 0).sum()),
    }
    return Drugs(matrix, columns, counts, {"names of no drug": nothing, "doubtful drug names": doubtful_names(names)})


def make_stays(admissions: Sequence[Admission], drugs: Drugs) -> Stays:
    """The inputs: drugs, then female, then age / 89 in [0, 1]; what is not known is 0, an unknown age `UNKNOWN_AGE`."""
    female = np.array([who.sex == "F" for who in admissions], dtype=np.float32)
    age = np.array([UNKNOWN_AGE if who.age is None else who.age / OLDEST for who in admissions], dtype=np.float32)
    people = csr_array(np.stack([female, np.clip(age, 0, 1)], axis=1))
    inputs = csr_array(hstack([drugs.matrix, people], format="csr", dtype=np.float32))
    return Stays(
        stay_ids=tuple(who.stay_id for who in admissions),
        patient_ids=tuple(who.patient_id for who in admissions),
        inputs=inputs,
        input_names=(*(f"{DRUG}{name}" for name in drugs.ingredients), FEMALE, AGE),
        wards=tuple(who.ward for who in admissions),
    )


def aligned_inputs(stays: Stays, names: tuple[str, ...]) -> tuple[csr_array, list[str]]:
    """The inputs of stays in the columns of a model, and the names of the stays' inputs that it does not know.

    An input of the model that the stays lack is 0.
    """
    column = {name: number for number, name in enumerate(names)}
    known = [number for number, name in enumerate(stays.input_names) if name in column]
    part = stays.inputs[:, known].tocoo()
    target = np.array([column[stays.input_names[number]] for number in known], dtype=np.int64)
    shape = (stays.inputs.shape[0], len(names))
    matrix = csr_array((part.data, (part.coords[0], target[part.coords[1]])), shape=shape, dtype=np.float32)
    return matrix, [name for name in stays.input_names if name not in column]


def _people(admissions: Sequence[Admission]) -> dict[str, int]:
    """Stays, patients, and of how many stays age or sex is not known or the age above 89."""
    return {
        "stays": len(admissions),
        "patients": len({who.patient_id for who in admissions}),
        "stays without an age": sum(who.age is None for who in admissions),
        "stays above 89 years": sum(who.age is not None and who.age > OLDEST for who in admissions),
        "stays without a sex": sum(who.sex is None for who in admissions),
    }


def _ingredient_matrix(
    rows: np.ndarray, keys: np.ndarray, of_key: Sequence[Sequence[str]], stays: int
) -> tuple[tuple[str, ...], csr_array]:
    """(stays, keys) x (keys, ingredients), its ingredients those that occur, in alphabetical order."""
    given = csr_array((np.ones(len(rows), dtype=np.float32), (rows, keys)), shape=(stays, len(of_key)))
    used = np.unique(keys)
    names = tuple(sorted({name for key in used for name in of_key[key]}))
    column = {name: place for place, name in enumerate(names)}
    of_keys = indicator([[column[name] for name in own if name in column] for own in of_key], len(names))
    matrix = csr_array(given @ of_keys)
    matrix.sort_indices()
    matrix.data[:] = 1
    return names, matrix
