"""The codes of each stay from DIAGNOSES_ICD and PROCEDURES_ICD: dotted, in billing order, without repeats.

It refuses tables whose codes were turned into numbers, and counts what it leaves out. It knows nothing of notes or
label sets.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from concept_icd.corpora.mimic3.tables import Table, Tables, load, require_ids
from concept_icd.errors import InputError
from concept_icd.ontology.code_checks import never_had
from concept_icd.ontology.code_shapes import ICD9CM, CodeShape
from concept_icd.ontology.tree import Ontology, load_ontology
from concept_icd.records import Kind

if TYPE_CHECKING:
    import duckdb

CODE_TABLES: Mapping[Kind, str] = {"diagnosis": "DIAGNOSES_ICD", "procedure": "PROCEDURES_ICD"}
TITLE_TABLES: Mapping[Kind, str] = {"diagnosis": "D_ICD_DIAGNOSES", "procedure": "D_ICD_PROCEDURES"}
#: Odd codes are left out and listed; a table where more rows than this have one is of another kind altogether.
ODD_SHARE = 0.01


@dataclass(frozen=True)
class KindOfCodes:
    """The codes of one kind.

    Attributes:
        by_stay: HADM_ID -> dotted codes in the order of SEQ_NUM (a missing one last), the first of repeats kept.
        repeats: HADM_ID -> the codes of rows that repeat an earlier one of the stay.
        rows: of the table. missing: rows without a code.
        odd: what is no code of this kind (left out) -> rows.
        undescribed: dotted codes that the D_ICD table lacks, sorted; None: there is no such table.
    """

    by_stay: Mapping[str, tuple[str, ...]]
    repeats: Mapping[str, tuple[str, ...]]
    rows: int
    missing: int
    odd: Mapping[str, int]
    undescribed: tuple[str, ...] | None

    @property
    def distinct(self) -> frozenset[str]:
        """Every code of the table."""
        return frozenset(code for codes in self.by_stay.values() for code in codes)


@dataclass(frozen=True)
class Codes:
    """The codes of all stays."""

    diagnoses: KindOfCodes
    procedures: KindOfCodes

    def of(self, stay: str) -> tuple[str, ...]:
        """The codes of a stay: diagnoses in order, then procedures in order."""
        return self.diagnoses.by_stay.get(stay, ()) + self.procedures.by_stay.get(stay, ())

    @property
    def stays(self) -> frozenset[str]:
        """Every stay with a code."""
        return frozenset(
            stay for kind in (self.diagnoses, self.procedures) for stay, own in kind.by_stay.items() if own
        )


def read_codes(connection: duckdb.DuckDBPyConnection, tables: Tables) -> Codes:
    """Both kinds of codes.

    Raises:
        InputError: codes were turned into numbers, have dots or are of another classification; ids are no whole
            numbers.
    """
    return Codes(read_kind(connection, tables, "diagnosis"), read_kind(connection, tables, "procedure"))


def outside(ontology: Ontology, codes: frozenset[str]) -> tuple[str, ...]:
    """The codes that may not stand on a claim of the shipped version: retired, since then divided, or none; sorted."""
    return tuple(sorted(code for code in codes if code not in ontology or not ontology.billable(code)))


def read_kind(connection: duckdb.DuckDBPyConnection, tables: Tables, kind: Kind) -> KindOfCodes:
    """The codes of one kind; raises as `read_codes` does."""
    table, shape = tables[CODE_TABLES[kind]], next(shape for shape in ICD9CM if shape.kind == kind)
    name = table.name.lower()
    columns = "hadm_id, try_cast(seq_num AS INTEGER) AS place, upper(trim(icd9_code)) AS code"
    load(connection, table, f"SELECT {columns} FROM {{rows}}")
    require_ids(connection, table)
    rows_of = dict(connection.execute(f"SELECT code, count(*) FROM {name} GROUP BY code").fetchall())
    rows, missing = sum(rows_of.values()), rows_of.pop(None, 0) + rows_of.pop("", 0)
    refuse_numbers(table, shape, frozenset(rows_of))
    dotted = {code: shape.add_dot(code) for code in rows_of}
    odd = {code: rows_of[code] for code in sorted(rows_of) if not shape.dotted.fullmatch(dotted[code])}
    if sum(odd.values()) > ODD_SHARE * rows:
        raise InputError(f"{table.path}: {next(iter(odd))!r} and others are no ICD-9-CM {kind} codes")
    ontology = load_ontology("icd9cm")
    spelt = {dotted[code]: number for code, number in rows_of.items() if code not in odd}
    strange = {code: number for code, number in spelt.items() if not ontology.had(code)}
    if sum(strange.values()) > ODD_SHARE * rows:
        sentence = never_had(spelt, ontology, f"{kind} rows")
        raise InputError(f"{table.path}: {sentence}; is it a table of another classification, such as ICD-10?")
    in_order = connection.execute(f"""
        SELECT hadm_id, code FROM {name} WHERE code <> '' AND hadm_id IS NOT NULL
        ORDER BY hadm_id, place NULLS LAST, rowid
    """).fetchall()
    by_stay: dict[str, tuple[str, ...]] = {}
    repeats: dict[str, tuple[str, ...]] = {}
    for stay, group in groupby(in_order, key=itemgetter(0)):
        codes = [dotted[code] for _, code in group if code not in odd]
        by_stay[stay] = tuple(dict.fromkeys(codes))
        if len(codes) > len(by_stay[stay]):
            repeats[stay] = tuple((Counter(codes) - Counter(by_stay[stay])).elements())
    known = frozenset(rows_of) - frozenset(odd)
    return KindOfCodes(by_stay, repeats, rows, missing, odd, _undescribed(connection, tables, shape, known))


def _undescribed(
    connection: duckdb.DuckDBPyConnection, tables: Tables, shape: CodeShape, codes: frozenset[str]
) -> tuple[str, ...] | None:
    table = tables.get(TITLE_TABLES[shape.kind])
    if table is None:
        return None
    name = table.name.lower()
    load(connection, table, "SELECT upper(trim(icd9_code)) AS code FROM {rows}")
    described = {code for (code,) in connection.execute(f"SELECT code FROM {name}").fetchall()}
    return tuple(sorted(shape.add_dot(code) for code in codes - described))


def refuse_numbers(table: Table, shape: CodeShape, codes: frozenset[str]) -> None:
    """Refuses a table whose codes went through a number or a dot.

    A table that keeps its zeros has codes that begin with one. One that has none is refused when a code is too short
    to be one (66 for 0066), or can only be billed with its zeros put back (407 for 0407).
    """
    as_published = f"; {table.name} is needed as PhysioNet publishes it, its codes read as text"
    points = sorted(code for code in codes if "." in code)
    if points and all(re.fullmatch(r"\d+\.0+|\d\.\d+E\+?\d+", code) for code in points):
        raise InputError(f"{table.path}: its codes were turned into numbers ({points[0]!r}){as_published}")
    if points:
        raise InputError(f"{table.path}: its codes have dots ({points[0]!r}){as_published}")
    short = sorted(code for code in codes if code.isdecimal() and len(code) < 3)
    keeps_zeros = any(code.startswith("0") for code in codes)
    stripped = [] if keeps_zeros else sorted(code for code in codes if _with_zeros(shape, code))
    if short or stripped:
        code = (short or stripped)[0]
        full = _with_zeros(shape, code)
        example = f"no code {code!r} can be billed, but {full!r} can" if full else f"{code!r} is too short for one"
        raise InputError(f"{table.path}: its codes were turned into numbers and lost zeros ({example}){as_published}")


def _with_zeros(shape: CodeShape, code: str) -> str | None:
    """The undotted code that lost its leading zeros, when only with them it is one that can be billed."""
    ontology = load_ontology("icd9cm")

    def billable(undotted: str) -> bool:
        dotted = shape.add_dot(undotted)
        return bool(shape.dotted.fullmatch(dotted)) and dotted in ontology and ontology.billable(dotted)

    if billable(code):
        return None
    return next((zeros + code for zeros in ("0", "00") if billable(zeros + code)), None)
