"""The invented MIMIC-III holds every trap that the tables of the real one set. Read back with the csv module."""

import gzip
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from concept_icd.corpora.mimic3.synthetic.billing import terms, words
from concept_icd.corpora.mimic3.synthetic.files import COLUMNS
from concept_icd.corpora.mimic3.synthetic.tables import write_synthetic_mimic3
from concept_icd.corpora.mimic3.tasks import MIMIC3_50
from concept_icd.errors import InputError
from concept_icd.ontology.tree import load_ontology
from tests.corpora.mimic3.conftest import STAYS, by_stay, by_subject, in_bill_order, lines, rows


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_counts_are_those_of_the_files(tmp_path):
    counts = write_synthetic_mimic3(tmp_path / "m", 60)
    for name in COLUMNS:
        table = rows(tmp_path / f"m/{name}.csv")
        assert counts[name.lower()] == len(table) > 0, name
        assert [row["ROW_ID"] for row in table] == [str(number) for number in range(1, len(table) + 1)]
    assert counts["stays"] == 60 == counts["admissions"]


def test_columns_are_those_of_the_open_demo(synthetic_mimic3, tmp_path, shared_data):
    write_synthetic_mimic3(tmp_path / "lower", 60, upper_case=False)
    for name in COLUMNS:
        demo = shared_data / "mimic3_demo" / f"{name}.csv"
        text = demo.read_bytes() if demo.exists() else gzip.decompress(Path(f"{demo}.gz").read_bytes())
        header = text.decode().splitlines()[0]
        assert lines(tmp_path / "lower" / f"{name}.csv")[0] == header
        assert lines(synthetic_mimic3 / f"{name}.csv")[0] == ",".join(
            f'"{column}"' for column in header.upper().split(",")
        )


def test_text_is_quoted_and_numbers_are_not(synthetic_mimic3, tmp_path):
    assert re.fullmatch(r'1,\d+,\d+,\d*,"[0-9EV]+"', lines(synthetic_mimic3 / "DIAGNOSES_ICD.csv")[1])
    write_synthetic_mimic3(tmp_path / "lower", 60, upper_case=False)
    assert re.fullmatch(r"1,\d+,\d+,\d*,[0-9EV]+", lines(tmp_path / "lower" / "DIAGNOSES_ICD.csv")[1])
    table = rows(tmp_path / "lower" / "NOTEEVENTS.csv")
    assert all(row["text"].endswith("\n") for row in table)


def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path):
    """Also where Python orders its sets in another way; another seed gives other bytes."""
    for name, seed, hashing in (("a", 1, "0"), ("b", 1, "1"), ("c", 2, "0")):
        program = (
            "from concept_icd.corpora.mimic3.synthetic.tables import write_synthetic_mimic3 as write;"
            f"write({str(tmp_path / name)!r}, 60, {seed}, compress=True)"
        )
        subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONHASHSEED": hashing, "PATH": ""})
    one, same, other = (files_of(tmp_path / name) for name in "abc")
    assert one == same
    assert one.keys() == other.keys()
    assert one["NOTEEVENTS.csv.gz"] != other["NOTEEVENTS.csv.gz"]


def test_compressed_tables_hold_the_same_text(tmp_path):
    write_synthetic_mimic3(tmp_path / "plain", 60)
    write_synthetic_mimic3(tmp_path / "gzip", 60, compress=True)
    for name in COLUMNS:
        assert (
            gzip.decompress((tmp_path / f"gzip/{name}.csv.gz").read_bytes())
            == (tmp_path / f"plain/{name}.csv").read_bytes()
        )


def test_codes_are_raw_text_with_their_zeros(tables):
    diagnoses = {row["ICD9_CODE"] for row in tables["DIAGNOSES_ICD"]}
    procedures = {row["ICD9_CODE"] for row in tables["PROCEDURES_ICD"]}
    assert not any("." in code for code in diagnoses | procedures)
    assert {"0389", "4019", "V4581"} <= diagnoses
    assert {"0066", "0331", "9604"} <= procedures
    assert any(code.startswith("E") for code in diagnoses)
    assert any(len(code) == 3 for code in diagnoses)
    assert any(len(code) == 3 for code in procedures), "64.0 has three characters"


def test_rows_are_out_of_order_and_numbers_have_gaps(tables):
    for name in ("DIAGNOSES_ICD", "PROCEDURES_ICD"):
        numbers = {
            stay: [int(r["SEQ_NUM"]) for r in found if r["SEQ_NUM"]] for stay, found in by_stay(tables[name]).items()
        }
        assert all(len(set(found)) == len(found) for found in numbers.values())
        assert any(found != sorted(found) for found in numbers.values())
        assert all(min(found) == 1 for found in numbers.values() if found), "each table counts for itself"
        assert any(found and len(found) < max(found) for found in numbers.values())


def test_nulls_and_repeats(tables):
    table = tables["DIAGNOSES_ICD"] + tables["PROCEDURES_ICD"]
    assert any(row["SEQ_NUM"] and not row["ICD9_CODE"] for row in table)
    assert any(row["ICD9_CODE"] and not row["SEQ_NUM"] for row in table)
    assert any(not row["ICD9_CODE"] and not row["SEQ_NUM"] for row in table), "a stay without a bill"
    for name in ("DIAGNOSES_ICD", "PROCEDURES_ICD"):
        repeats = [
            Counter(row["ICD9_CODE"] for row in found if row["ICD9_CODE"]) for found in by_stay(tables[name]).values()
        ]
        assert any(count.most_common(1)[0][1] > 1 for count in repeats if count)


def retired_codes() -> set[str]:
    """Codes that stays have and no D_ICD table lists."""
    return {code for code, term in terms().items() if term.retired}


def test_retired_codes_have_no_title_and_some_others_neither(tables):
    listed = {}
    for name in ("DIAGNOSES", "PROCEDURES"):
        titles = {row["ICD9_CODE"]: row["LONG_TITLE"] for row in tables[f"D_ICD_{name}"]}
        assert len(titles) == len(tables[f"D_ICD_{name}"])
        used = {row["ICD9_CODE"] for row in tables[f"{name}_ICD"]} - {""}
        listed[name] = used & titles.keys()
        assert any(titles[code] == "" for code in listed[name])
        unlisted = used - titles.keys()
        retired = {code.replace(".", "") for code in retired_codes()}
        assert unlisted & retired
        assert unlisted - retired, "a billable code whose row is missing"
    assert {"585", "5185", "2765", "3601", "3605"} == {code.replace(".", "") for code in retired_codes()}


def test_every_code_that_has_words_exists():
    ontology = load_ontology()
    newborn = words()["newborn"]
    named = {*terms(), *newborn["principal"], *newborn["diagnoses"], *newborn["procedures"]} - retired_codes()
    assert all(ontology.billable(code) for code in named)
    assert retired_codes().isdisjoint(ontology.codes())


def test_the_fifty_are_frequent(tables):
    """Each of the 50 in at least one stay of a hundred, so that every one can be learned."""
    bills = in_bill_order(tables["DIAGNOSES_ICD"]), in_bill_order(tables["PROCEDURES_ICD"])
    seen = Counter(code for bill in bills for codes in bill.values() for code in set(codes))
    assert all(seen[code.replace(".", "")] >= STAYS / 100 for code in MIMIC3_50)
    assert len(seen) > 1000, "and a long tail"


def test_ages(tables):
    """A birth lies before the first stay, three centuries before it past the age of 89; newborns are born then."""
    stays = by_subject(tables["ADMISSIONS"])
    ages = []
    for patient in tables["PATIENTS"]:
        assert patient["GENDER"] in ("F", "M")
        first = min(row["ADMITTIME"] for row in stays[patient["SUBJECT_ID"]])
        assert first[:2] in ("21", "22")
        age = (datetime.fromisoformat(first) - datetime.fromisoformat(patient["DOB"])).days / 365.25
        ages.append(age)
        newborn = [row["ADMISSION_TYPE"] == "NEWBORN" for row in stays[patient["SUBJECT_ID"]]]
        assert (age < 1) == any(newborn)
    assert any(299 < age < 302 for age in ages)
    assert not any(97 < age < 299 for age in ages)
    assert any(len(found) > 2 for found in stays.values())


def test_stays_of_a_patient_follow_each_other(tables):
    for found in by_subject(tables["ADMISSIONS"]).values():
        times = [
            time for row in sorted(found, key=lambda r: r["ADMITTIME"]) for time in (row["ADMITTIME"], row["DISCHTIME"])
        ]
        assert times == sorted(times)
    dead = [row for row in tables["ADMISSIONS"] if row["HOSPITAL_EXPIRE_FLAG"] == "1"]
    assert dead
    assert all(row["DEATHTIME"] == row["DISCHTIME"] for row in dead)


def test_ids_agree_between_tables(tables):
    subject = {row["HADM_ID"]: row["SUBJECT_ID"] for row in tables["ADMISSIONS"]}
    assert len(subject) == STAYS
    assert all(100_000 < int(stay) < 200_000 for stay in subject)
    for name in ("DIAGNOSES_ICD", "PROCEDURES_ICD", "NOTEEVENTS", "PRESCRIPTIONS"):
        assert all(subject[row["HADM_ID"]] == row["SUBJECT_ID"] for row in tables[name] if row["HADM_ID"])


def test_drugs_are_given_again(tables):
    given = by_stay(tables["PRESCRIPTIONS"])
    assert any(max(Counter(row["DRUG"] for row in found).values()) > 1 for found in given.values())
    assert len(given) < STAYS, "some stays have none"


@pytest.mark.parametrize(("stays", "says"), [(59, "at least 60"), (0, "at least 60"), (100_000, "at most 99991")])
def test_a_number_of_stays_that_cannot_be(tmp_path, stays, says):
    with pytest.raises(InputError, match=says):
        write_synthetic_mimic3(tmp_path / "m", stays)
    assert not list(tmp_path.iterdir())


def test_fewer_note_rows_than_summaries(tmp_path):
    with pytest.raises(InputError, match=r"--note-rows 10 is less than the \d+ rows of discharge summaries"):
        write_synthetic_mimic3(tmp_path / "m", 60, note_rows=10)
    assert not list(tmp_path.iterdir()), "nothing half-written"


def test_an_existing_folder_stays_as_it_is(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_synthetic_mimic3(tmp_path / "m", 60)
    assert (tmp_path / "m/mine.txt").read_text() == "mine"
    with pytest.raises(InputError, match="no folder that this command wrote"):
        write_synthetic_mimic3(tmp_path / "m", 60, overwrite=True)
    assert (tmp_path / "m/mine.txt").read_text() == "mine"


@pytest.mark.parametrize("compress", [False, True])
def test_what_was_invented_is_invented_anew(tmp_path, compress):
    write_synthetic_mimic3(tmp_path / "m", 60, compress=compress)
    write_synthetic_mimic3(tmp_path / "m", 61, compress=compress, overwrite=True)
    (tmp_path / "m/README.txt").write_text("Real tables.")
    with pytest.raises(InputError, match="no folder that this command wrote"):
        write_synthetic_mimic3(tmp_path / "m", 60, overwrite=True)
