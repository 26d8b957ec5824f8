"""The raw tables: which are there, whose they are, and what is wrong with them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from concept_icd.corpora.mimic3.checks import EDITIONS, edition_of
from concept_icd.doctor.data import ROWS, examine_folder, examine_rows
from concept_icd.doctor.findings import Finding

pytest.importorskip("duckdb")
HEADERS = {
    "ADMISSIONS": "ROW_ID,SUBJECT_ID,HADM_ID,ADMITTIME",
    "PATIENTS": "ROW_ID,SUBJECT_ID,GENDER,DOB",
    "DIAGNOSES_ICD": "ROW_ID,SUBJECT_ID,HADM_ID,SEQ_NUM,ICD9_CODE",
    "PROCEDURES_ICD": "ROW_ID,SUBJECT_ID,HADM_ID,SEQ_NUM,ICD9_CODE",
    "NOTEEVENTS": "ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CHARTTIME,STORETIME,CATEGORY,DESCRIPTION,CGID,ISERROR,TEXT",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The five tables that every task needs, with headers alone."""
    for name, header in HEADERS.items():
        (tmp_path / f"{name}.csv").write_text(header + "\n", encoding="utf-8")
    return tmp_path


def of_state(findings: list[Finding], state: str) -> list[str]:
    return [finding.text for finding in findings if finding.state == state]


def test_the_demo_is_called_the_demo(shared_data: Path) -> None:
    found, tables = examine_folder(shared_data / "mimic3_demo", notes=False)
    assert not of_state(found, "missing")
    findings = examine_rows(tables, notes=False)
    assert "DIAGNOSES_ICD.csv: 1,761 rows" in of_state(findings, "ok")
    assert "PRESCRIPTIONS.csv.gz: 10,398 rows" in of_state(findings, "ok")
    assert any("the MIMIC-III demo" in text for text in of_state(findings, "warning"))
    assert not of_state(findings, "missing")


def test_the_demo_holds_no_notes(shared_data: Path) -> None:
    _, tables = examine_folder(shared_data / "mimic3_demo")
    missing = [finding for finding in examine_rows(tables) if finding.state == "missing"]
    assert [finding.text for finding in missing] == ["NOTEEVENTS has no rows: there is nothing to read"]
    assert "mimic3-tables" in str(missing[0].mend)


def test_a_missing_table_is_named_with_its_source(folder: Path) -> None:
    (folder / "PROCEDURES_ICD.csv").unlink()
    findings, tables = examine_folder(folder)
    missing = [finding for finding in findings if finding.state == "missing"]
    assert [finding.text for finding in missing] == [f"PROCEDURES_ICD.csv[.gz] is not in {folder}"]
    assert "physionet.org" in str(missing[0].mend)
    assert "PROCEDURES_ICD" not in tables


def test_optional_tables_are_warnings_that_say_what_is_lost(folder: Path) -> None:
    findings, _ = examine_folder(folder)
    assert any("PRESCRIPTIONS is absent: notes will carry no drugs" in text for text in of_state(findings, "warning"))
    assert not of_state(findings, "missing")


def test_notes_are_not_asked_for_where_tables_suffice(folder: Path) -> None:
    (folder / "NOTEEVENTS.csv").unlink()
    assert of_state(examine_folder(folder)[0], "missing")
    assert not of_state(examine_folder(folder, notes=False)[0], "missing")


def test_file_names_and_endings_in_any_case(folder: Path) -> None:
    (folder / "PATIENTS.csv").unlink()
    with gzip.open(folder / "patients.CSV.GZ", "wt", encoding="utf-8") as file:
        file.write("subject_id,gender,dob\n1,F,2100-01-01 00:00:00\n")
    findings, tables = examine_folder(folder)
    assert not of_state(findings, "missing")
    assert "patients.CSV.GZ: 1 rows, 46,520 in MIMIC-III 1.4" in of_state(examine_rows(tables), "warning")


def test_a_note_with_line_breaks_and_quotes_is_one_row(folder: Path) -> None:
    text = 'Admission Date:  [**2151-7-4**]\n\nHe said ""no"".\r\nPlan:\n'
    with (folder / "NOTEEVENTS.csv").open("a", encoding="utf-8", newline="") as file:
        for number in (1, 2):
            file.write(f'{number},1,1,2151-07-04,,,"Discharge summary",Report,,,"{text}"\n')
    _, tables = examine_folder(folder)
    assert "NOTEEVENTS.csv: 2 rows, 2,083,180 in MIMIC-III 1.4" in of_state(examine_rows(tables), "warning")


def test_a_table_of_mimic_iv_is_told(folder: Path) -> None:
    (folder / "DIAGNOSES_ICD.csv").write_text("subject_id,hadm_id,seq_num,icd_code,icd_version\n", encoding="utf-8")
    assert any("MIMIC-IV" in text for text in of_state(examine_folder(folder)[0], "missing"))


def test_a_folder_of_mimic_iv_is_told(tmp_path: Path) -> None:
    (tmp_path / "hosp").mkdir()
    findings, tables = examine_folder(tmp_path)
    assert "MIMIC-IV" in findings[0].text
    assert not tables


def test_a_truncated_gzip_is_missing_and_its_text_stays_secret(folder: Path) -> None:
    secret = "Mr Unrepeatable came in with a cough. " * 3
    rows = (
        HEADERS["NOTEEVENTS"]
        + "\n"
        + "".join(
            f'{n},1,1,2151-07-04,,,"Discharge summary",Report,,,"{n} {secret}{n * 7919 % 104729}"\n'
            for n in range(20_000)
        )
    )
    packed = gzip.compress(rows.encode())
    (folder / "NOTEEVENTS.csv").unlink()
    (folder / "NOTEEVENTS.csv.gz").write_bytes(packed[: len(packed) // 2])
    _, tables = examine_folder(folder)
    findings = examine_rows(tables)
    assert any("NOTEEVENTS.csv.gz" in text for text in of_state(findings, "missing"))
    assert not any("Unrepeatable" in finding.text for finding in findings)


def test_no_folder(tmp_path: Path) -> None:
    assert examine_folder(tmp_path / "nowhere")[0][0].state == "missing"


def test_versions_by_their_admissions_and_patients() -> None:
    assert edition_of(ROWS) == "MIMIC-III 1.4"
    assert edition_of(EDITIONS["MIMIC-III's CareVue subset"]) == "MIMIC-III's CareVue subset"
    assert edition_of({"ADMISSIONS": 58_976}) is None


def test_generated_tables_are_nobodys(tmp_path: Path) -> None:
    synthetic = pytest.importorskip("concept_icd.corpora.mimic3.synthetic.tables")
    synthetic.write_synthetic_mimic3(tmp_path / "mimic", stays=200, seed=1, note_rows=700)
    found, tables = examine_folder(tmp_path / "mimic")
    assert not of_state(found, "missing")
    findings = examine_rows(tables)
    assert "NOTEEVENTS.csv: 700 rows, 2,083,180 in MIMIC-III 1.4" in of_state(findings, "warning")
    assert any("not the tables of MIMIC-III 1.4" in text for text in of_state(findings, "warning"))
