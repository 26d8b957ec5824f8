"""From raw tables to the corpus of a task: what is written, what is said of it, and what leaves nothing behind."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from concept_icd.corpora import Corpus, load_corpus
from concept_icd.corpora.mimic3 import labels as labels_module
from concept_icd.corpora.mimic3.checks import in_words
from concept_icd.corpora.mimic3.prepare import bytes_of, prepare_mimic3
from concept_icd.corpora.mimic3.synthetic.tables import write_synthetic_mimic3
from concept_icd.corpora.mimic3.tasks import MIMIC3_50, TASKS
from concept_icd.errors import InputError
from concept_icd.records import CodedNote, Note
from tests.corpora.mimic3.hand_made import LISTS, TABLES, write_lists, write_tables

pytest.importorskip("duckdb")


def prepared(folder: Path, task: str = "mimic3-50", size: str = "50", **tables: Any) -> Corpus:
    """The corpus of hand-made tables and lists."""
    lists = write_lists(folder / "lists", size)
    prepare_mimic3(write_tables(folder / "raw", **tables), task, folder / "out", splits_dir=lists)
    assert sorted(path.name for path in folder.iterdir()) == ["lists", "out", "raw"]
    return load_corpus(folder / "out")


def check(corpus: Corpus, name: str) -> dict[str, Any]:
    return next(check for check in corpus.manifest["checks"] if check["name"] == name)


def labels(corpus: Corpus) -> dict[str, tuple[str, ...]]:
    return {coded.note.note_id: coded.codes for coded in corpus.notes}


def test_the_fixed_50(tmp_path):
    corpus = prepared(tmp_path)
    assert corpus.notes == (
        CodedNote(
            Note("101", "report of 101\n\naddendum of 101", "1", 49.0, "F", ("Heparin, flush", "Metoprolol")),
            ("038.9", "401.9", "250.00"),
            ("96.71",),  # 04.07 is no label
            split="train",
        ),
        CodedNote(
            Note("102", "first of 102\n\nsecond of 102", "1", 50.0, "F"), ("V15.82",), split="train", principal="E888.9"
        ),
        CodedNote(Note("103", corpus.notes[2].note.text, "2", 90.0, "M"), ("428.0",), split="dev"),
    )
    assert corpus.label_set == MIMIC3_50
    assert corpus.aliases == {}
    assert corpus.task == "mimic3-50"
    assert corpus.manifest["config"]["task"] == "mimic3-50"
    assert {"NOTEEVENTS.csv", "lists/train_50_hadm_ids.csv"} <= set(corpus.manifest["inputs"])


def test_its_checks_say_what_differs_and_why(tmp_path):
    corpus = prepared(tmp_path)
    assert check(corpus, "stays of train") == {
        "name": "stays of train",
        "found": 2,
        "published": 8066,
        "ok": False,
        "why": "the list has 2",
    }
    # 104 has codes, but none of the 50; 105 has no summary; 999 is no admission.
    assert check(corpus, "stays of test")["why"] == (
        "the list has 3, 1 missing from the tables, 1 without a code of the label set, 1 without a discharge summary"
    )
    assert check(corpus, "listed stays that the tables lack")["why"] == "not in ADMISSIONS, the first: 999"
    assert check(corpus, "stays with a summary and no code")["found"] == 1  # 106
    assert check(corpus, "stays with codes and no summary")["found"] == 1  # 105
    assert check(corpus, "labels per stay")["found"] == 2.0  # (4 + 1 + 1) / 3
    assert check(corpus, "codes outside the label set")["found"] == 5  # 04.07, E888.9, 585, 00.66, 36.01
    principal = check(corpus, "stays whose principal diagnosis is a label")
    assert (principal["found"], principal["why"][:13]) == (2, "of 3 stays wi")  # not E888.9 of 102
    assert check(corpus, "labels") == {
        "name": "labels",
        "found": 50,
        "published": 50,
        "ok": True,
        "why": TASKS["mimic3-50"].rule,
    }
    assert check(corpus, "labels that no stay has")["found"] == 44
    assert not check(corpus, "published lists")["ok"]
    assert check(corpus, "no patient in two splits")["ok"]
    line = in_words(check(corpus, "stays of train"))
    assert line == "differs stays of train: 2 (published: 8,066): the list has 2"


def test_a_patient_in_two_splits_is_told(tmp_path):
    lists = write_lists(tmp_path / "lists", train=(101,), dev=(102, 103), test=(104,))
    prepare_mimic3(write_tables(tmp_path / "raw"), "mimic3-50", tmp_path / "out", splits_dir=lists)
    assert not check(load_corpus(tmp_path / "out"), "no patient in two splits")["ok"]


def test_the_full_set_as_published_and_recounted(tmp_path):
    """A number passed through procedures: 0407 is 40.7 and 0066 is "66.", and both still mean their codes."""
    published = prepared(tmp_path / "published", "mimic3-full", "full")
    assert labels(published) == {
        "101": ("038.9", "401.9", "250.00", "96.71", "40.7"),
        "102": ("E888.9", "V15.82"),
        "103": ("428.0", "585", "66.", "36.01"),
        "104": ("V30.00", "99.55"),
    }
    assert published.aliases == {"40.7": "04.07", "66.": "00.66"}
    diagnoses = ("038.9", "250.00", "401.9", "428.0", "585", "E888.9", "V15.82", "V30.00")
    assert published.label_set == (*diagnoses, "36.01", "40.7", "66.", "96.71", "99.55")
    assert "40.7 means 04.07 (Other excision" in check(published, "labels spelled unlike their code")["why"]
    recounted = prepared(tmp_path / "recounted", "mimic3-full-recounted", "full")
    assert labels(recounted)["101"] == ("038.9", "401.9", "250.00", "96.71", "04.07")
    assert recounted.label_set == (*diagnoses, "00.66", "04.07", "36.01", "96.71", "99.55")
    assert recounted.aliases == {}


def test_the_second_reading_as_numbers(tmp_path, monkeypatch):
    """Ten diagnosis rows are of stays with a summary; in blocks of 12 rows, the third procedure begins a new block."""
    monkeypatch.setattr(labels_module, "BLOCK_ROWS", 12)
    corpus = prepared(tmp_path, "mimic3-full", "full")
    assert labels(corpus)["101"][-2:] == ("96.71", "40.7")
    assert labels(corpus)["103"] == ("428.0", "585", "66.0", "36.01")
    assert corpus.aliases == {"40.7": "04.07", "66.0": "00.66"}


def test_two_codes_with_one_published_label(tmp_path):
    """07.44 loses its zero and meets 74.4; the label means the code that more stays have."""
    rows = [*TABLES["PROCEDURES_ICD"], (7, 1, 101, 3, "0744"), (8, 1, 102, 1, "744"), (9, 2, 103, 4, "744")]
    corpus = prepared(tmp_path, "mimic3-full", "full", PROCEDURES_ICD=rows)
    assert [stay for stay, own in labels(corpus).items() if "74.4" in own] == ["101", "102", "103"]
    assert "74.4" not in corpus.aliases
    assert check(corpus, "labels that several codes share")["why"] == "74.4 of 07.44 and 74.4"


def test_the_recount_keeps_every_listed_stay(tmp_path):
    corpus = prepared(tmp_path, "mimic3-50-recounted")
    assert list(labels(corpus)) == ["101", "102", "103", "104"]
    assert corpus.label_set is not None
    assert len(corpus.label_set) == 13  # all codes of the four stays with a summary and a code
    assert "04.07" in corpus.label_set
    words = check(corpus, "codes unlike the fixed 50")
    assert words["found"] == 7  # all but 038.9, 250.00, 401.9, 428.0, V15.82 and 96.71
    assert "04.07 comes in with 1 stays: the published count spells it 40.7" in words["why"]


def test_the_spoilt_labels_of_rare50(tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    for split, stays in LISTS.items():
        (lists / f"{split}_ids.csv").write_text("subject_id,hadm_id\n" + "".join(f"1,{stay}\n" for stay in stays))
    prepare_mimic3(write_tables(tmp_path / "raw"), "mimic3-rare50", tmp_path / "out", splits_dir=lists)
    corpus = load_corpus(tmp_path / "out")
    assert labels(corpus) == {"101": ("40.7",)}
    assert corpus.aliases == TASKS["mimic3-rare50"].aliases
    assert "40.7 means 04.07" in check(corpus, "labels spelled unlike their code")["why"]


def test_tables_alone(tmp_path):
    raw = write_tables(tmp_path / "raw", NOTEEVENTS=None)
    prepare_mimic3(raw, "mimic3-tables", tmp_path / "out")
    corpus = load_corpus(tmp_path / "out")
    assert corpus.notes[0] == CodedNote(
        Note("101", "", "1", 49.0, "F", ("Heparin, flush", "Metoprolol")),
        ("038.9", "401.9", "250.00"),
        ("96.71", "04.07"),
    )
    assert list(labels(corpus)) == ["101", "102", "103", "104", "105"]
    assert corpus.label_set is None
    lists = write_lists(tmp_path / "lists", "full")
    prepare_mimic3(raw, "mimic3-tables", tmp_path / "split", splits_dir=lists)
    splits = {coded.note.note_id: coded.split for coded in load_corpus(tmp_path / "split").notes}
    assert splits == {"101": "train", "102": "train", "103": "dev", "104": "test", "105": "test"}


def test_the_open_demo(shared_data, tmp_path):
    prepare_mimic3(shared_data / "mimic3_demo", "mimic3-tables", tmp_path / "out")
    corpus = load_corpus(tmp_path / "out")
    found = {check["name"]: check["found"] for check in corpus.manifest["checks"]}
    assert found["patients"] == 100
    assert found["admissions"] == 129
    assert found["diagnosis rows"] == 1761
    assert found["procedure rows"] == 506
    assert found["codes"] == 740
    assert found["stays with a code of the fixed 50"] == 127
    assert found["edition, by its patients and admissions"] == "the MIMIC-III demo"
    assert all(check["ok"] for check in corpus.manifest["checks"])
    old = check(corpus, "diagnosis codes outside the billable ones of v32")
    assert old["found"] == 20
    assert old["why"].endswith(
        ": 041.4, 255.4, 276.5, 276.6, 284.1, 284.8, 287.4, 348.8, 453.8, 458.2, 518.5, 567.2, 585, 600.0, 729.9, "
        "780.6, 787.2, 789.5, 997.4, 998.0"
    )
    old = check(corpus, "procedure codes outside the billable ones of v32")
    assert old["found"] == 3
    assert old["why"].endswith(": 36.01, 36.05, 45.8")
    assert corpus.manifest["counts"]["labels"] == 1761 + 506 - 20  # 20 procedure rows repeat one of their stay
    assert {coded.note.text for coded in corpus.notes} == {""}


def test_published_lists_do_not_belong_to_the_demo(shared_data, tmp_path):
    with pytest.raises(InputError, match=r"11,343 of the 11,368 stays of the admission lists are not in ADMISSIONS"):
        prepare_mimic3(
            shared_data / "mimic3_demo", "mimic3-50", tmp_path / "out", splits_dir=shared_data / "mimic3_splits"
        )
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("invented") / "tables"
    write_synthetic_mimic3(folder, 150, 3, summary_length=2000)
    return folder


def naive_labels(folder: Path, spelling: str) -> dict[str, list[str]]:
    """HADM_ID -> labels in billing order, by the csv module alone."""
    labels: dict[str, list[str]] = {}
    for table, head in (("DIAGNOSES_ICD", 3), ("PROCEDURES_ICD", 2)):
        with (folder / f"{table}.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["ICD9_CODE"]]
        for row in sorted(rows, key=lambda row: int(row["SEQ_NUM"] or 999)):
            code = row["ICD9_CODE"]
            as_number = spelling == "published" and head == 2
            code = str(int(code)) if as_number else code
            cut = head + code.startswith("E")
            label = f"{code[:cut]}.{code[cut:]}" if code[cut:] or as_number else code
            own = labels.setdefault(row["HADM_ID"], [])
            if label not in own:
                own.append(label)
    return labels


@pytest.mark.parametrize("task", TASKS)
def test_every_task_prepares_from_invented_tables(invented, tmp_path, task):
    prepare_mimic3(invented, task, tmp_path / "out", splits_dir=invented / "splits")
    corpus = load_corpus(tmp_path / "out")
    assert len(corpus.notes) > 20
    # A fixed label means a code; a counted one is the code as the task spells it.
    fixed = TASKS[task].codes is not None
    naive = naive_labels(invented, "exact" if fixed else TASKS[task].spelling)
    meant = corpus.aliases if fixed else {}
    kept = None if corpus.label_set is None else {meant.get(label, label) for label in corpus.label_set}
    for coded in corpus.notes:
        expected = [code for code in naive[coded.note.note_id] if kept is None or code in kept]
        assert [meant.get(label, label) for label in coded.codes] == expected
        assert bool(coded.note.text) == (task != "mimic3-tables")
    if task != "mimic3-tables":
        assert set(corpus.manifest["counts"]["splits"]) == {"train", "dev", "test"}
        assert check(corpus, "no patient in two splits")["ok"]
    if task == "mimic3-clean":
        seen = Counter(code for coded in corpus.notes for code in naive[coded.note.note_id])
        assert set(corpus.label_set or ()) == {code for code, stays in seen.items() if stays >= 10}


def test_the_same_inputs_are_not_read_twice(tmp_path):
    raw, lists = write_tables(tmp_path / "raw"), write_lists(tmp_path / "lists")
    first = prepare_mimic3(raw, "mimic3-50", tmp_path / "out", splits_dir=lists)
    manifest = (tmp_path / "out" / "manifest.json").read_bytes()
    moved = shutil.copytree(raw, tmp_path / "elsewhere")
    again = prepare_mimic3(moved, "mimic3-50", tmp_path / "out", splits_dir=lists)
    assert (first.reused, again.reused) == (False, True)
    assert (again.counts, list(again.checks)) == (first.counts, list(first.checks))
    assert (tmp_path / "out" / "manifest.json").read_bytes() == manifest


def test_other_inputs_are_not_written_over(tmp_path):
    raw, lists = write_tables(tmp_path / "raw"), write_lists(tmp_path / "lists")
    out = tmp_path / "out"
    prepare_mimic3(raw, "mimic3-50", out, splits_dir=lists)
    with pytest.raises(InputError, match=r"out exists already and is not what these tables, lists and task make"):
        prepare_mimic3(raw, "mimic3-50-recounted", out, splits_dir=lists)
    write_tables(raw, PATIENTS=TABLES["PATIENTS"][:3])
    with pytest.raises(InputError, match="exists already"):
        prepare_mimic3(raw, "mimic3-50", out, splits_dir=lists)
    assert not prepare_mimic3(raw, "mimic3-50", out, splits_dir=lists, overwrite=True).reused
    (out / "notes.parquet").write_bytes(b"damaged")
    with pytest.raises(InputError, match="exists already"):
        prepare_mimic3(raw, "mimic3-50", out, splits_dir=lists)


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ({"PROCEDURES_ICD": [*TABLES["PROCEDURES_ICD"][:1], (1, 1, 101, 1, "66")]}, "turned into numbers"),
        ({"DIAGNOSES_ICD": TABLES["DIAGNOSES_ICD"][:1], "PROCEDURES_ICD": TABLES["PROCEDURES_ICD"][:1]}, "no stay is"),
        (
            {"NOTEEVENTS": [*TABLES["NOTEEVENTS"], (1, 2)]},
            r"NOTEEVENTS\.csv, row 14: 2 fields where the header has 9",
        ),
    ],
)
def test_bad_tables_leave_nothing(tmp_path, tables, reason):
    raw, lists = write_tables(tmp_path / "raw", **tables), write_lists(tmp_path / "lists")
    with pytest.raises(InputError, match=reason):
        prepare_mimic3(raw, "mimic3-50", tmp_path / "new" / "out", splits_dir=lists)
    assert not list((tmp_path / "new").iterdir())


def test_a_full_disk_leaves_nothing(invented, small_disk):
    with pytest.raises(InputError, match="disk"):
        prepare_mimic3(invented, "mimic3-full", small_disk / "out", splits_dir=invented / "splits")
    assert not list(small_disk.iterdir())


def test_sizes_of_memory():
    assert bytes_of("3GB") == bytes_of("3 gib") == bytes_of("3072MB") == 3 << 30
    for wrong in ("3", "GB", "300MB", "1GB", "-3GB", "3TB"):
        with pytest.raises(InputError, match="is no size of 2GB or more, such as 3GB"):
            bytes_of(wrong)
