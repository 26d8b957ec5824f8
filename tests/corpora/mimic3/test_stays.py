"""Patients, ages, sexes and drugs of stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from concept_icd.corpora.mimic3.stays import Stay, count_rows, read_stays
from concept_icd.corpora.mimic3.tables import database, find_tables
from concept_icd.errors import InputError
from tests.corpora.mimic3.hand_made import TABLES, Rows, write_tables

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


@pytest.mark.parametrize(("gender", "sex"), [("female", "F"), ("Male", "M"), ("m", "M"), ("unknown", None), ("", None)])
def test_sex_in_the_words_of_other_tables(tmp_path, gender, sex):
    patients = [*TABLES["PATIENTS"][:1], (1, 2, gender, "2100-01-02 00:00:00")]
    assert stays_of(tmp_path, PATIENTS=patients)["103"].sex == sex


def test_a_gender_that_is_none_is_refused_without_being_quoted(tmp_path):
    patients = [*TABLES["PATIENTS"][:1], (1, 2, "weiblich", "2100-01-02 00:00:00")]
    with pytest.raises(InputError, match=r"PATIENTS\.csv, column GENDER: 'sex' must be") as error:
        stays_of(tmp_path, PATIENTS=patients)
    assert "weiblich" not in str(error.value)


@pytest.mark.parametrize(("table", "place", "column"), [("PATIENTS", 3, "DOB"), ("ADMISSIONS", 3, "ADMITTIME")])
def test_a_column_of_which_no_date_can_be_read_is_refused(tmp_path, table, place, column):
    header, *rows = TABLES[table]
    for date in ("03/04/2012", "04.03.2012"):
        spoilt = [header, *((*row[:place], date, *row[place + 1 :]) for row in rows)]
        with pytest.raises(InputError, match=rf"{table}\.csv: none of the dates in column {column} can be read"):
            stays_of(tmp_path / date.replace("/", ""), **{table: spoilt})
    with pytest.raises(InputError, match=rf"1 of {len(rows)} dates in column {column} cannot be read"):
        stays_of(tmp_path / "one", **{table: [header, *spoilt[1:2], *rows[1:]]})
    together = [header, *((*row[:place], row[place][:10].replace("-", ""), *row[place + 1 :]) for row in rows)]
    assert stays_of(tmp_path / "together", **{table: together}) == stays_of(tmp_path / "as-it-was")
