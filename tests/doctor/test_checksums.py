"""Checksums: the list in the folder, the published ones of 1.4, and files that somebody changed or packed."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from concept_icd.corpora.mimic3.tables import Table
from concept_icd.doctor.data import MD5, ROWS, examine_checksums, examine_folder, read_lists

CONTENT = b"SUBJECT_ID,GENDER,DOB\n1,F,2100-01-01 00:00:00\n"


def patients(path: Path) -> dict[str, Table]:
    return {"PATIENTS": Table("PATIENTS", path, ("subject_id", "gender", "dob"))}


def list_of(folder: Path, name: str, digest: str) -> None:
    (folder / "SHA256SUMS.txt").write_text(f"{digest} {name}\n", encoding="utf-8")


def test_the_demo_is_as_its_publisher_lists_it(shared_data: Path) -> None:
    folder = shared_data / "mimic3_demo"
    findings = examine_checksums(folder, examine_folder(folder)[1])
    assert [finding.state for finding in findings] == ["ok"] * 8


def test_one_changed_byte_is_seen(tmp_path: Path) -> None:
    list_of(tmp_path, "PATIENTS.csv", hashlib.sha256(CONTENT).hexdigest())
    path = tmp_path / "PATIENTS.csv"
    path.write_bytes(CONTENT)
    assert examine_checksums(tmp_path, patients(path))[0].state == "ok"
    path.write_bytes(CONTENT.replace(b"1,F", b"1,M"))
    (finding,) = examine_checksums(tmp_path, patients(path))
    assert (finding.state, finding.text) == ("warning", "PATIENTS.csv is not the file of SHA256SUMS.txt")


def test_a_table_packed_again_is_the_same_table(tmp_path: Path) -> None:
    list_of(tmp_path, "PATIENTS.csv", hashlib.sha256(CONTENT).hexdigest())
    path = tmp_path / "PATIENTS.csv.gz"
    path.write_bytes(gzip.compress(CONTENT, compresslevel=1))
    assert examine_checksums(tmp_path, patients(path))[0].state == "ok"


def test_a_list_of_packed_files_is_of_the_packed_bytes(tmp_path: Path) -> None:
    path = tmp_path / "PATIENTS.csv.gz"
    path.write_bytes(gzip.compress(CONTENT))
    list_of(tmp_path, "PATIENTS.csv.gz", hashlib.sha256(path.read_bytes()).hexdigest())
    assert examine_checksums(tmp_path, patients(path))[0].state == "ok"


def test_a_truncated_file_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "PATIENTS.csv.gz"
    path.write_bytes(gzip.compress(CONTENT * 1000)[:-40])
    (finding,) = examine_checksums(tmp_path, patients(path))
    assert (finding.state, finding.text) == ("missing", "PATIENTS.csv.gz is truncated or damaged")


def test_without_a_list_the_published_checksum_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "PATIENTS.csv"
    path.write_bytes(CONTENT)
    assert examine_checksums(tmp_path, patients(path))[0].text == "PATIENTS.csv is not the file of MIMIC-III 1.4"
    monkeypatch.setitem(MD5, "PATIENTS", hashlib.md5(CONTENT, usedforsecurity=False).hexdigest())
    assert examine_checksums(tmp_path, patients(path))[0].text == "PATIENTS.csv is the file of MIMIC-III 1.4"


def test_every_table_has_a_published_checksum() -> None:
    assert set(MD5) == set(ROWS)
    assert all(len(digest) == 32 and int(digest, 16) for digest in MD5.values())
    assert len(set(MD5.values())) == len(MD5)


def test_lists_are_read_with_one_blank_or_two(tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS.txt").write_text(f"{'a' * 64} A.csv\n{'B' * 64}  B.csv\nno digest\n", encoding="utf-8")
    (tmp_path / "checksum_md5_unzipped.txt").write_text(f"{'c' * 32} *A.csv\n{'d' * 32} C.csv\n", encoding="utf-8")
    assert read_lists(tmp_path) == {
        "a.csv": ("a" * 64, "SHA256SUMS.txt"),
        "b.csv": ("b" * 64, "SHA256SUMS.txt"),
        "c.csv": ("d" * 32, "checksum_md5_unzipped.txt"),
    }
