"""Codes stay text, keep their order, and are refused when a number has passed through them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from concept_icd.corpora.mimic3.codes import Codes, outside, read_codes
from concept_icd.corpora.mimic3.tables import database, find_tables
from concept_icd.errors import InputError
from concept_icd.ontology.tree import load_ontology
from tests.corpora.mimic3.hand_made import TABLES, Rows, write_tables

pytest.importorskip("duckdb")


def codes_of(folder: Path, **tables: Rows | None) -> Codes:
    found = find_tables(write_tables(folder / "raw", **tables))
    with database(1 << 28, folder / "out") as connection:
        return read_codes(connection, found)


def procedures(*codes: str) -> Rows:
    return [*TABLES["PROCEDURES_ICD"][:1], *((i, 1, 101, i, code) for i, code in enumerate(codes, 1))]


def diagnoses(*codes: str) -> Rows:
    return [*TABLES["DIAGNOSES_ICD"][:1], *((i, 1, 101, i, code) for i, code in enumerate(codes, 1))]


def test_codes_are_dotted_ordered_and_named_once(tmp_path):
    codes = codes_of(tmp_path)
    assert codes.diagnoses.by_stay == {
        "101": ("038.9", "401.9", "250.00"),  # SEQ_NUM 1, 2, 10: ordered as numbers
        "102": ("E888.9", "V15.82"),
        "103": ("428.0", "585"),  # no SEQ_NUM: last
        "104": ("V30.00",),
        "105": ("428.0",),
    }
    assert codes.procedures.by_stay == {"101": ("96.71", "04.07"), "103": ("00.66", "36.01"), "104": ("99.55",)}
    assert codes.of("101") == ("038.9", "401.9", "250.00", "96.71", "04.07")
    assert codes.stays == {"101", "102", "103", "104", "105"}


def test_what_is_left_out_is_counted(tmp_path):
    codes = codes_of(tmp_path)
    assert (codes.diagnoses.rows, codes.diagnoses.missing, codes.procedures.rows) == (11, 1, 6)
    assert codes.diagnoses.repeats == {"101": ("401.9",)}
    assert codes.procedures.repeats == {"103": ("00.66",)}
    assert codes.diagnoses.undescribed == ("585",)
    assert codes.procedures.undescribed == ("36.01",)
    ontology = load_ontology("icd9cm")
    assert outside(ontology, codes.diagnoses.distinct) == ("585",)  # since 2005 divided
    assert outside(ontology, codes.procedures.distinct) == ("36.01",)  # retired


def test_without_descriptions_nothing_is_counted(tmp_path):
    assert codes_of(tmp_path, D_ICD_DIAGNOSES=None).diagnoses.undescribed is None


def test_a_stray_string_is_left_out_and_listed(tmp_path):
    codes = codes_of(tmp_path, DIAGNOSES_ICD=diagnoses(*["0389"] * 200, "I5021"))
    assert codes.diagnoses.odd == {"I5021": 1}
    assert codes.diagnoses.by_stay == {"101": ("038.9",)}


def test_another_classification_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"DIAGNOSES_ICD\.csv: 'I5021' and others are no ICD-9-CM diagnosis codes"):
        codes_of(tmp_path, DIAGNOSES_ICD=diagnoses("I5021", "0389"))


@pytest.mark.parametrize(
    ("table", "raw", "example"),
    [
        ("PROCEDURES_ICD", ("0066", "9671"), "no code '66' can be billed, but '066' can"),
        ("PROCEDURES_ICD", ("0407", "9671"), "no code '407' can be billed, but '0407' can"),
        ("PROCEDURES_ICD", ("9671", "0001", "0017"), "'1' is too short for one"),
        ("DIAGNOSES_ICD", ("0088", "V1582"), "no code '88' can be billed, but '0088' can"),
        ("DIAGNOSES_ICD", ("00845", "V1582"), "no code '845' can be billed, but '0845' can"),
    ],
)
def test_codes_that_were_numbers_are_refused(tmp_path, table, raw, example):
    rows = diagnoses if table == "DIAGNOSES_ICD" else procedures
    assert codes_of(tmp_path, **{table: rows(*raw)}).of("101")
    with pytest.raises(InputError) as told:
        codes_of(tmp_path / "numbers", **{table: rows(*(code.lstrip("0") for code in raw))})
    path = tmp_path / "numbers" / "raw" / f"{table}.csv"
    assert str(told.value).startswith(f"{path}: its codes were turned into numbers and lost zeros ({example})")


@pytest.mark.parametrize("kind", ["DIAGNOSES_ICD", "PROCEDURES_ICD"])
def test_floats_and_dots_are_refused(tmp_path, kind):
    rows = diagnoses if kind == "DIAGNOSES_ICD" else procedures
    with pytest.raises(InputError, match=rf"{kind}\.csv: its codes were turned into numbers \('4280\.0'\)"):
        codes_of(tmp_path / "float", **{kind: rows("4280.0", "9671.0")})
    with pytest.raises(InputError, match=rf"{kind}\.csv: its codes have dots \('42\.81'\)"):
        codes_of(tmp_path / "dot", **{kind: rows("42.81", "96.71")})


def test_a_small_table_without_any_leading_zero_is_not_suspected(tmp_path):
    """Retired codes and three-digit ones stand in genuine tables."""
    codes = codes_of(
        tmp_path,
        PROCEDURES_ICD=procedures("3601", "3605", "458", "966", "9671", "412"),
        DIAGNOSES_ICD=diagnoses("585", "5185", "2765", "486", "4019", "E8889"),
    )
    assert len(codes.procedures.distinct) == len(codes.diagnoses.distinct) == 6


def test_ids_that_were_numbers_are_refused(tmp_path):
    rows = [*TABLES["DIAGNOSES_ICD"][:1], (1, 1, "101.0", 1, "4019")]
    with pytest.raises(InputError, match=r"DIAGNOSES_ICD\.csv: HADM_ID '101\.0' is no whole number"):
        codes_of(tmp_path, DIAGNOSES_ICD=rows)


def test_the_demo_is_read_whole(shared_data, tmp_path):
    tables = find_tables(shared_data / "mimic3_demo", notes=False)
    with database(1 << 28, tmp_path / "out") as connection:
        codes = read_codes(connection, tables)
    assert (codes.diagnoses.rows, len(codes.diagnoses.distinct)) == (1761, 581)
    assert (codes.procedures.rows, len(codes.procedures.distinct)) == (506, 164)
    assert codes.procedures.undescribed == ("36.01", "36.05", "45.8")
    assert len(codes.diagnoses.undescribed or ()) == 20


BILLABLE = load_ontology("icd9cm").codes("procedure")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(BILLABLE), min_size=1, max_size=20, unique=True))
def test_every_real_code_survives_and_no_number_passes(tmp_path_factory, codes):
    folder = tmp_path_factory.mktemp("codes")
    raw = [code.replace(".", "") for code in codes]
    assert codes_of(folder, PROCEDURES_ICD=procedures(*raw)).procedures.by_stay == {"101": tuple(codes)}
    as_numbers = [str(int(code)) for code in raw]
    if any(len(code) < 3 for code in as_numbers):
        with pytest.raises(InputError, match="turned into numbers"):
            codes_of(folder / "numbers", PROCEDURES_ICD=procedures(*as_numbers))


def test_a_table_of_another_classification_is_refused(tmp_path):
    with pytest.raises(InputError, match="2 of the 3 diagnosis rows are codes that no edition of"):
        codes_of(tmp_path, DIAGNOSES_ICD=diagnoses("E119", "E785", "E871"))  # E871 is a code of both
