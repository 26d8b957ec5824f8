"""Admission lists: the published ones where they are at hand, and small ones with every fault."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concept_icd.artifacts import sha256
from concept_icd.corpora.mimic3.splits import (
    PUBLISHED,
    Splits,
    ids_hash,
    patients_disjoint,
    published,
    published_in_words,
    read_splits,
    unknown_ids,
)
from concept_icd.corpora.mimic3.tasks import TASKS, Task
from concept_icd.errors import InputError

FIFTY, RARE, CLEAN, FULL = (TASKS[f"mimic3-{name}"] for name in ("50", "rare50", "clean", "full"))
CAML = {"train": "103\n101\n102\n", "dev": "201\n", "test": "301\n302\n"}
IDS = {"train": ("103", "101", "102"), "dev": ("201",), "test": ("301", "302")}

#: Without the time of day, which would name the test differently in each process.
CUT = gzip.compress(b"_id,split\n101,train\n", mtime=0)[:-9]


def write_caml(folder: Path, lists: Mapping[str, str], size: str = "50") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, text in lists.items():
        (folder / f"{split}_{size}_hadm_ids.csv").write_text(text, encoding="utf-8")
    return folder


def ids_of(splits: Splits) -> dict[str, tuple[str, ...]]:
    return {"train": splits.train, "dev": splits.dev, "test": splits.test}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """CAML's repository with the lists of the 50, as far below its root as they are there."""
    write_caml(tmp_path / "caml-mimic" / "mimicdata" / "mimic3", CAML)
    return tmp_path


# The published lists ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [task for task in TASKS.values() if task.lists], ids=lambda task: task.name)
def test_the_published_lists_are_known_as_such(shared_data: Path, task: Task) -> None:
    folder = shared_data / "mimic3_splits"
    if not folder.is_dir():
        pytest.skip(f"the published lists are not at {folder}")
    assert task.lists is not None
    splits = read_splits(folder, task)
    listed = dict(task.stays) | ({"train": 47723} if task.lists == "caml-full" else {})
    assert {split: len(ids) for split, ids in ids_of(splits).items()} == listed
    assert published_in_words(splits, task.lists) == "The admission lists are the published ones."
    assert all(sha256(folder / path) == digest for path, digest in splits.files.items())
    smaller = Splits(splits.train[1:], splits.dev, splits.test, {})
    assert published(smaller, task.lists) == {"train": False, "dev": True, "test": True}


def test_edins_copy_of_camls_lists_will_do(shared_data: Path, tmp_path: Path) -> None:
    copies = shared_data / "mimic3_splits" / "edin"
    if not copies.is_dir():
        pytest.skip(f"the published lists are not at {copies}")
    fifty, full = read_splits(copies, FIFTY), read_splits(copies, FULL)
    assert published(fifty, "caml-50") == {"train": True, "dev": True, "test": True}
    assert published(full, "caml-full") == {"train": True, "dev": True, "test": True}
    assert len(full.train) == FULL.stays["train"] == 47719


def test_rare50_lies_within_the_full_lists_and_clean_too(shared_data: Path) -> None:
    folder = shared_data / "mimic3_splits"
    if not folder.is_dir():
        pytest.skip(f"the published lists are not at {folder}")
    full = read_splits(folder, FULL)
    rare, clean = read_splits(folder, RARE), read_splits(folder, CLEAN)
    assert all(full.split_of[stay] == split for stay, split in rare.split_of.items())
    assert unknown_ids(clean, full.split_of) == (0, ())
    assert len(full.split_of) - len(clean.split_of) == 14


# Layouts ------------------------------------------------------------------------------------------------------------


def test_camls_lists_are_found_below_the_folder_and_keep_their_order(checkout: Path) -> None:
    splits = read_splits(checkout, FIFTY)
    assert ids_of(splits) == IDS
    assert splits.split_of == {
        "103": "train",
        "101": "train",
        "102": "train",
        "201": "dev",
        "301": "test",
        "302": "test",
    }
    assert splits.files == {
        f"caml-mimic/mimicdata/mimic3/{split}_50_hadm_ids.csv": sha256(
            checkout / f"caml-mimic/mimicdata/mimic3/{split}_50_hadm_ids.csv"
        )
        for split in IDS
    }


def test_gzip_blank_lines_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    write_caml(tmp_path, {"dev": "201\r\n\r\n", "test": "301\n302"})
    (tmp_path / "train_50_hadm_ids.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf103\n101\n102\n"))
    assert ids_of(read_splits(tmp_path, FIFTY)) == IDS


def test_kepts_lists_have_a_header_and_patients(tmp_path: Path) -> None:
    for split, ids in IDS.items():
        rows = "".join(f"{place},{stay}\n" for place, stay in enumerate(ids))
        (tmp_path / f"{split}_ids.csv").write_text(f"SUBJECT_ID,HADM_ID\n{rows}", encoding="utf-8")
    assert ids_of(read_splits(tmp_path, RARE)) == IDS


@pytest.mark.parametrize("ending", ["feather", "parquet", "csv", "csv.gz"])
def test_edins_lists_are_one_table(tmp_path: Path, ending: str) -> None:
    rows = [(int(stay), {"dev": "val"}.get(split, split)) for split, ids in IDS.items() for stay in ids]
    table = pyarrow.table({"_id": [stay for stay, _ in rows], "split": [split for _, split in rows]})
    path = tmp_path / "files" / "data" / f"mimiciii_clean_splits.{ending}"
    path.parent.mkdir(parents=True)
    if ending == "feather":
        pyarrow.feather.write_feather(table, path)
    elif ending == "parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        text = "_id,split\n" + "".join(f"{stay},{split}\n" for stay, split in rows)
        path.write_bytes(gzip.compress(text.encode()) if ending == "csv.gz" else text.encode())
    assert ids_of(read_splits(tmp_path, CLEAN)) == IDS


def test_the_same_list_twice_is_no_trouble_and_two_lists_are(checkout: Path) -> None:
    copy = write_caml(checkout / "copy", {"train": "101\n102\n103\n"})
    assert ids_of(read_splits(checkout, FIFTY)) == IDS
    (copy / "train_50_hadm_ids.csv").write_text("101\n102\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"train_50_hadm_ids.csv and .*train_50_hadm_ids.csv hold different ids"):
        read_splits(checkout, FIFTY)


# Faults -------------------------------------------------------------------------------------------------------------


def test_a_missing_list_is_named_with_its_origin(checkout: Path) -> None:
    (checkout / "caml-mimic/mimicdata/mimic3/dev_50_hadm_ids.csv").unlink()
    with pytest.raises(InputError, match=r"lacks dev_50_hadm_ids.csv; MIMIC-III-50 has its lists from .*caml-mimic"):
        read_splits(checkout, FIFTY)
    with pytest.raises(InputError, match=r"lacks mimiciii_clean_splits.feather; .*medical-coding-reproducibility"):
        read_splits(checkout, CLEAN)
    with pytest.raises(InputError, match=r"lacks train_ids.csv, dev_ids.csv, test_ids.csv; .*whaleloops/KEPT"):
        read_splits(checkout, RARE)
    with pytest.raises(InputError, match="no such folder"):
        read_splits(checkout / "nowhere", FIFTY)
    with pytest.raises(InputError, match="mimic3-tables has no admission lists"):
        read_splits(checkout, TASKS["mimic3-tables"])


@pytest.mark.parametrize(
    ("train", "told"),
    [
        ("101\nhadm_id\n", r"train_50_hadm_ids.csv, row 2: 'hadm_id' is no admission number"),
        ("101\n102.0\n", r"row 2: '102.0' is no admission number"),
        ("101\n102\n101\n", r"row 3: the stay 101 is in the list twice"),
        ("101\n301\n", r"the stay 301 is in the lists of train and test"),
        ("\n", r"train_50_hadm_ids.csv holds no ids"),
    ],
)
def test_a_faulty_list_is_refused(checkout: Path, train: str, told: str) -> None:
    write_caml(checkout / "caml-mimic" / "mimicdata" / "mimic3", {"train": train})
    with pytest.raises(InputError, match=told):
        read_splits(checkout, FIFTY)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (
            "mimiciii_clean_splits.csv",
            b"_id,split\n101,training\n",
            r"row 2: the split 'training' is none of train, val",
        ),
        ("mimiciii_clean_splits.csv", b"hadm_id,split\n101,train\n", r"no column _id; its columns are hadm_id, split"),
        ("mimiciii_clean_splits.csv", b"", r"no column _id; its columns are none"),
        ("mimiciii_clean_splits.csv", b"_id,split\n101\n", r"row 2: the split '' is none of"),
        ("mimiciii_clean_splits.csv", b"_id,split\n\xff\xfe\n", r"cannot read .*it is damaged or no text"),
        ("mimiciii_clean_splits.csv.gz", b"not gzip", r"cannot read .*it is damaged"),
        ("mimiciii_clean_splits.csv.gz", CUT, r"cannot read .*it is damaged"),
        ("mimiciii_clean_splits.feather", b"not feather", r"it is damaged or no feather file"),
        ("mimiciii_clean_splits.parquet", b"not parquet", r"it is damaged or no parquet file"),
    ],
)
def test_a_faulty_table_is_refused(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=told):
        read_splits(tmp_path, CLEAN)


# What is asked of lists -----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(100000, 199999).map(str), unique=True), st.randoms())
def test_the_hash_is_of_the_ids_and_not_of_their_order(ids: list[str], dice: Random) -> None:
    before = ids_hash(ids)
    dice.shuffle(ids)
    assert ids_hash(ids) == before
    assert ids_hash([*ids, "200000"]) != before


def test_other_lists_than_the_published_are_said_to_be_other_ones() -> None:
    splits = Splits(("103", "101"), ("201",), ("301",), {})
    assert published(splits, "caml-50") == {"train": False, "dev": False, "test": False}
    assert published_in_words(splits, "caml-50") == (
        "Other admission lists than the published ones: train (2 stays), dev (1 stay), test (1 stay); "
        "results are not comparable with published rows."
    )
    assert set(PUBLISHED) == {task.lists for task in TASKS.values() if task.lists}


def test_ids_that_the_tables_lack_are_counted_and_the_first_three_named() -> None:
    splits = Splits(("103", "101", "102"), ("201",), ("301", "302"), {})
    assert unknown_ids(splits, {"101", "999"}) == (5, ("103", "102", "201"))
    assert unknown_ids(splits, ["101", "102", "103", "201", "301", "302"]) == (0, ())


def test_a_patient_in_two_splits_is_noticed() -> None:
    splits = Splits(("101", "102"), ("201",), ("301",), {})
    assert patients_disjoint(splits, {"101": "a", "102": "a", "201": "b", "301": "c"})
    assert not patients_disjoint(splits, {"101": "a", "102": "a", "201": "b", "301": "a"})
    assert patients_disjoint(splits, {"101": "a", "201": "b"})
