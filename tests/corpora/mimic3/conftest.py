"""One invented MIMIC-III for all tests that read one, and its tables as rows."""

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from concept_icd.corpora.mimic3.synthetic.files import COLUMNS
from concept_icd.corpora.mimic3.synthetic.tables import write_synthetic_mimic3

STAYS = 400


@pytest.fixture(scope="session")
def synthetic_mimic3(tmp_path_factory):
    """The folder of the tables of `STAYS` stays; the lists are in its `splits`. Do not write into it."""
    folder = tmp_path_factory.mktemp("synthetic") / "mimic"
    write_synthetic_mimic3(folder, STAYS, seed=0)
    return folder


@pytest.fixture(scope="session")
def tables(synthetic_mimic3):
    return {name: rows(synthetic_mimic3 / f"{name}.csv") for name in COLUMNS}


@pytest.fixture(scope="session")
def summaries(tables):
    """The rows of NOTEEVENTS that are discharge summaries."""
    return [row for row in tables["NOTEEVENTS"] if row["CATEGORY"] == "Discharge summary"]


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def by_stay(table):
    stays = defaultdict(list)
    for row in table:
        stays[row["HADM_ID"]].append(row)
    return stays


def in_bill_order(table):
    """HADM_ID -> raw codes by SEQ_NUM as a number, those without one last."""
    return {
        stay: [r["ICD9_CODE"] for r in sorted(found, key=lambda r: int(r["SEQ_NUM"] or 10**9)) if r["ICD9_CODE"]]
        for stay, found in by_stay(table).items()
    }


def by_subject(table):
    subjects = defaultdict(list)
    for row in table:
        subjects[row["SUBJECT_ID"]].append(row)
    return subjects
