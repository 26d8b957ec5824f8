"""The admission lists of the invented MIMIC-III agree with its tables, as the published ones do."""

import csv
import gzip
from collections import Counter, defaultdict

import pytest

from concept_icd.corpora.mimic3.synthetic.tables import write_synthetic_mimic3
from concept_icd.corpora.mimic3.tasks import MIMIC3_50, RARE50, TASKS
from concept_icd.ontology.tree import load_ontology
from tests.corpora.mimic3.conftest import in_bill_order, lines, rows

SPLITS = ("train", "dev", "test")


@pytest.fixture(scope="module")
def listed(synthetic_mimic3):
    """Name of a list -> split -> HADM_IDs."""
    splits = synthetic_mimic3 / "splits"
    lists = {
        f"caml_{size}": {split: lines(splits / f"caml/{split}_{size}_hadm_ids.csv") for split in SPLITS}
        for size in ("50", "full")
    }
    lists["rare50"] = {s: [row["hadm_id"] for row in rows(splits / f"kept_rare50/{s}_ids.csv")] for s in SPLITS}
    with gzip.open(splits / "edin/mimiciii_clean_splits.csv.gz", "rt") as file:
        clean = list(csv.DictReader(file))
    lists["clean"] = {
        split: [row["_id"] for row in clean if row["split"] == split] for split in ("train", "val", "test")
    }
    return lists


def test_lists_hold_stays_with_a_summary_and_codes_and_no_patient_twice(tables, summaries, listed):
    bills = in_bill_order(tables["DIAGNOSES_ICD"])
    complete = {row["HADM_ID"] for row in summaries} & {stay for stay, codes in bills.items() if codes}
    subject = {row["HADM_ID"]: row["SUBJECT_ID"] for row in tables["ADMISSIONS"]}
    for name, splits in listed.items():
        every = [stay for stays in splits.values() for stay in stays]
        assert len(set(every)) == len(every), name
        assert set(every) <= complete, name
        assert all(splits.values()), name
        patients = [{subject[stay] for stay in stays} for stays in splits.values()]
        assert sum(map(len, patients)) == len(set.union(*patients)), name
    assert {stay for stays in listed["caml_full"].values() for stay in stays} == complete


def test_lists_follow_their_label_sets(tables, listed):
    raw = defaultdict(set)
    for name in ("DIAGNOSES_ICD", "PROCEDURES_ICD"):
        for stay, codes in in_bill_order(tables[name]).items():
            raw[stay].update((name, code) for code in codes)
    fifty = {(table_of(code), code.replace(".", "")) for code in MIMIC3_50}
    for split in SPLITS:
        full, top = listed["caml_full"][split], listed["caml_50"][split]
        assert top == [stay for stay in full if raw[stay] & fifty]
    aliases = TASKS["mimic3-rare50"].aliases
    means = [aliases.get(label, label) for label in RARE50]
    rare = {(table_of(code), code.replace(".", "")) for code in means}
    lists = {stay for stays in listed["rare50"].values() for stay in stays}
    assert lists == {stay for stay in raw if raw[stay] & rare}, "rare codes are nowhere else"
    found = Counter(len(raw[stay] & rare) for stay in lists)
    assert found[1] > found[2]
    assert set(found) <= {1, 2}
    for split in SPLITS:
        assert set(listed["rare50"][split]) <= set(listed["caml_full"][split])


def table_of(code):
    return "PROCEDURES_ICD" if load_ontology().kind(code) == "procedure" else "DIAGNOSES_ICD"


def test_clean_keeps_stays_with_a_code_that_ten_have(tables, listed):
    stays = {stay for split in listed["caml_full"].values() for stay in split}
    clean = {stay for split in listed["clean"].values() for stay in split}
    assert clean <= stays
    assert len(clean) > 0.9 * len(stays)


def test_unknown_ids_are_asked_for(tmp_path):
    write_synthetic_mimic3(tmp_path / "m", 60, unknown_ids=2)
    known = {row["HADM_ID"] for row in rows(tmp_path / "m/ADMISSIONS.csv")}
    for size in ("50", "full"):
        train, dev, test = (lines(tmp_path / f"m/splits/caml/{split}_{size}_hadm_ids.csv") for split in SPLITS)
        assert len(set(train) - known) == 2
        assert set(dev) | set(test) <= known


@pytest.mark.parametrize("seed", range(8))
def test_the_fewest_stays_fill_every_list(tmp_path, seed):
    write_synthetic_mimic3(tmp_path / "m", 60, seed, note_rows=None, summary_length=1000)
    for path in (tmp_path / "m/splits").rglob("*ids.csv"):
        assert lines(path)[path.parent.name == "kept_rare50" :], path
