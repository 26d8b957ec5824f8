"""The study's counts beside a full MIMIC-III's, told from its numbers of patients and admissions."""

from dataclasses import replace

from concept_icd.corpora.mimic3.checks import in_words
from concept_icd.medications.prepare import all_checks
from concept_icd.medications.stays import ReadStays
from concept_icd.medications.synthetic import synthetic_stays
from concept_icd.medications.targets import LostCodes

NOTHING_LOST = LostCodes({}, {}, {})


def lines(rows, lost=NOTHING_LOST):
    made = synthetic_stays(20, seed=0)
    counts = {"stays": 58_976, "patients": 46_520, "ingredients": 1_163, "stays with drugs": 58_976}
    read = ReadStays(made.stays, {}, rows, counts)
    return [in_words(check) for check in all_checks(read, made.targets, lost)]


def test_the_counts_of_the_study_stand_beside_a_full_mimic():
    said = lines({"ADMISSIONS": 58_976, "PATIENTS": 46_520, "PRESCRIPTIONS": 4_156_450})
    assert "ok      stays: 58,976 (published: 58,976)" in said
    assert "differs ingredients: 1,163 (published: 1,164)" in said
    assert "ok      rows of PRESCRIPTIONS: 4,156,450 (published: 4,156,450)" in said
    assert sum("published" in line for line in said) == 12  # three tables and nine counts of the study
    assert any(line.startswith("differs nodes: ") and line.endswith("(published: 9,336)") for line in said)


def test_nothing_is_published_of_other_tables():
    said = lines({"ADMISSIONS": 58_975, "PATIENTS": 46_520})
    assert not any("published" in line for line in said)
    assert "another version of MIMIC-III" in said[0]


def test_lost_codes_are_told_by_name():
    lost = LostCodes({"999.99": "999.9"}, {"36.01": 4}, {"999.99": 2})
    said = lines({"ADMISSIONS": 1, "PATIENTS": 1}, lost)
    assert "-       codes that the tree lacks, placed at their nearest ancestor: 1: 999.99 as 999.9 (2)" in said
    assert "-       codes outside the tree, left out: 1: 36.01 (4)" in said
    many = replace(lost, outside={f"{number:05}": 1 for number in range(30)})
    assert any(line.endswith("and 18 more") for line in lines({"ADMISSIONS": 1, "PATIENTS": 1}, many))
