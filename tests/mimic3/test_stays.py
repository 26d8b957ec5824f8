"""Patients, ages, sexes and drugs of stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from concept_icd.errors import InputError
from concept_icd.mimic3.stays import Stay, count_rows, read_stays
from concept_icd.mimic3.tables import database, find_tables
from tests.mimic3.hand_made import TABLES, Rows, write_tables

pytest.importorskip("duckdb")


def stays_of(folder: Path, **tables: Rows | None) -> dict[str, Stay]:
    found = find_tables(write_tables(folder / "raw", **tables))
    with database(1 << 28, folder / "out") as connection:
        return read_stays(connection, found)


def test_the_stays(tmp_path):
    assert list(stays_of(tmp_path).items()) == [
        ("101", Stay("1", 49.0, "F", ("Heparin, flush", "Metoprolol"))),  # the day before a birthday
        ("102", Stay("1", 50.0, "F")),
        ("103", Stay("2", 90.0, "M")),  # born 300 years before
        ("104", Stay("3", 0.0, "M")),
        ("105", Stay("3", 0.0, "M")),
        ("106", Stay("2", 90.0, "M")),
    ]


@pytest.mark.parametrize(
    ("born", "age"),
    [("2061-01-02", 89.0), ("2060-01-02", 90.0), ("1850-01-02", 90.0), ("2152-01-01", None), ("", None)],
)
def test_the_89_year_rule(tmp_path, born, age):
    patients = [*TABLES["PATIENTS"][:1], (1, 2, "", f"{born} 00:00:00" if born else "")]
    assert stays_of(tmp_path, PATIENTS=patients)["103"] == Stay("2", age, None)


def test_a_stay_whose_patient_is_missing_has_no_age(tmp_path):
    assert stays_of(tmp_path, PATIENTS=TABLES["PATIENTS"][:2])["103"] == Stay("2", None, None)


def test_drugs_are_not_needed(tmp_path):
    assert stays_of(tmp_path, PRESCRIPTIONS=None)["101"] == Stay("1", 49.0, "F", ())


def test_repeated_rows_change_nothing(tmp_path):
    twice = {name: [*TABLES[name], *TABLES[name][1:]] for name in ("ADMISSIONS", "PATIENTS", "PRESCRIPTIONS")}
    assert stays_of(tmp_path / "twice", **twice) == stays_of(tmp_path / "once")


def test_ids_that_were_numbers_are_refused(tmp_path):
    rows = [*TABLES["ADMISSIONS"], (9, "3.0", 107, "2150-05-01")]
    with pytest.raises(InputError, match=r"ADMISSIONS\.csv: SUBJECT_ID '3\.0' is no whole number"):
        stays_of(tmp_path, ADMISSIONS=rows)


def test_the_demo(shared_data, tmp_path):
    with database(1 << 28, tmp_path / "out") as connection:
        stays = read_stays(connection, find_tables(shared_data / "mimic3_demo", notes=False))
        assert count_rows(connection) == {"ADMISSIONS": 129, "PATIENTS": 100}
    assert len(stays) == 129
    assert len({stay.patient_id for stay in stays.values()}) == 100
    assert all(stay.sex in ("F", "M") and stay.age is not None and 0 <= stay.age <= 90 for stay in stays.values())
    assert sum(bool(stay.drugs) for stay in stays.values()) == 122
    assert len({drug for stay in stays.values() for drug in stay.drugs}) == 592
