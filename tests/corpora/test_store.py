"""Prepared folders: what goes in comes back, and damage is noticed."""

import json

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concept_icd.artifacts import read_json, write_json
from concept_icd.corpora import (
    load_corpus,
    read_corpus,
    read_corpus_leniently,
    save_corpus,
    synthetic_notes,
)
from concept_icd.corpora.store import ROWS
from concept_icd.errors import InputError
from concept_icd.records import CodedNote, Mention, Note

#: Codes that a detour through numbers would ruin.
DELICATE = CodedNote(
    Note("1", "Text.", "007", 71.5, "F", ("furosemide", "vitamin B12")),
    diagnoses=("001.0", "V10.00", "E888", "038.9", "250.00"),
    procedures=("04.07", "00.66"),
    annotations={"A": ("001.0",), "B": ()},
    split="dev",
    principal="428.0",
    evidence=(Mention("001.0", ((0, 2), (3, 5))), Mention("04.07", ((1, 4),))),
)
BARE = CodedNote(Note("2", "Text only."))


def test_codes_stay_strings(tmp_path):
    save_corpus(tmp_path / "c", [DELICATE, BARE], seed=3, config={"source": "test"}, inputs={"a": "b"})
    corpus = load_corpus(tmp_path / "c")
    assert corpus.notes == (DELICATE, BARE)
    assert corpus.split("dev") == (DELICATE,)
    assert corpus.manifest["counts"] == {
        "notes": 2,
        "coded_notes": 1,
        "patients": 1,
        "diagnosis_codes": 5,
        "procedure_codes": 2,
        "labels": 7,
        "labels_per_coded_note": 7.0,
        "splits": {"dev": 1, "none": 1},
    }
    assert (corpus.manifest["stage"], corpus.manifest["seed"]) == ("prepare", 3)
    column = pq.ParquetFile(tmp_path / "c" / "notes.parquet").metadata.row_group(0).column(2)
    assert column.compression == "ZSTD"


def test_synthetic_notes_round_trip(tmp_path):
    notes = synthetic_notes(30, seed=5)
    assert save_corpus(tmp_path / "c", notes)["notes"] == 30
    assert load_corpus(tmp_path / "c").notes == tuple(notes)
    assert read_corpus(tmp_path / "c") == notes  # the format is found by the manifest
    assert read_corpus_leniently(tmp_path / "c", "prepared") == (notes, [])


def test_more_notes_than_a_row_group_are_streamed_and_round_trip(tmp_path):
    notes = [CodedNote(Note(str(number), "Text.", str(number % 7)), ("486",)) for number in range(2 * ROWS + 1)]
    counts = save_corpus(tmp_path / "c", iter(notes))
    assert (counts["notes"], counts["patients"], counts["labels"]) == (2 * ROWS + 1, 7, 2 * ROWS + 1)
    assert pq.ParquetFile(tmp_path / "c" / "notes.parquet").num_row_groups == 3
    assert load_corpus(tmp_path / "c").notes == tuple(notes)


def test_a_benchmark_carries_its_labels_and_what_they_mean(tmp_path):
    checks = [{"name": "test stays", "found": 1, "published": 142, "ok": False, "why": "small"}]
    save_corpus(
        tmp_path / "c",
        [DELICATE],
        label_set=["001.0", "40.7"],
        aliases={"40.7": "04.07"},
        task="mimic3-rare50",
        checks=checks,
    )
    corpus = load_corpus(tmp_path / "c")
    assert (corpus.label_set, corpus.aliases, corpus.task) == (("001.0", "40.7"), {"40.7": "04.07"}, "mimic3-rare50")
    assert corpus.manifest["checks"] == checks
    save_corpus(tmp_path / "plain", [DELICATE])
    plain = load_corpus(tmp_path / "plain")
    assert (plain.label_set, plain.aliases, plain.task) == (None, {}, None)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_round_trips(tmp_path_factory, text, name):
    coded = CodedNote(Note(name, text, drugs=(name,)), annotations={name: ("486",)})
    folder = tmp_path_factory.mktemp("store") / "c"
    save_corpus(folder, [coded])
    assert load_corpus(folder).notes == (coded,)


def test_an_existing_folder_is_kept_unless_overwritten(tmp_path):
    save_corpus(tmp_path / "c", [DELICATE])
    with pytest.raises(InputError, match="exists already"):
        save_corpus(tmp_path / "c", [BARE])
    assert load_corpus(tmp_path / "c").notes == (DELICATE,)
    save_corpus(tmp_path / "c", [BARE], overwrite=True)
    assert load_corpus(tmp_path / "c").notes == (BARE,)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]  # nothing half-written beside it


def test_no_notes_write_nothing(tmp_path):
    with pytest.raises(InputError, match="there are no notes"):
        save_corpus(tmp_path / "c", [])
    assert not any(tmp_path.iterdir())


def test_damage_is_noticed(tmp_path):
    folder = tmp_path / "c"
    save_corpus(folder, [DELICATE])
    with pytest.raises(InputError, match=r"has no manifest\.json"):
        load_corpus(tmp_path)
    notes = folder / "notes.parquet"
    data = notes.read_bytes()
    for damaged in (data[:-9], data[:100] + b"\0" + data[101:], b""):
        notes.write_bytes(damaged)
        with pytest.raises(InputError, match=r"notes\.parquet is missing or not the one of the manifest"):
            load_corpus(folder)
    notes.unlink()
    with pytest.raises(InputError, match="missing"):
        load_corpus(folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format_version": 99}, "has corpus format 99, this version of concept-icd reads 2"),
        ({"stage": "fit"}, "was written by `fit`, not by `prepare`"),
        ({"files": {}}, "not the one of the manifest"),
    ],
)
def test_another_version_or_stage_says_so(tmp_path, change, sentence):
    save_corpus(tmp_path / "c", [DELICATE])
    manifest = tmp_path / "c" / "manifest.json"
    write_json(manifest, read_json(manifest) | change)
    with pytest.raises(InputError, match=sentence):
        load_corpus(tmp_path / "c")
    manifest.write_text(json.dumps(change)[:-1])
    with pytest.raises(InputError, match="not valid JSON"):
        load_corpus(tmp_path / "c")


def test_formats_are_found_and_named(tmp_path):
    with pytest.raises(InputError, match="did you mean 'jsonl'"):
        read_corpus(tmp_path, "json")
    with pytest.raises(InputError, match="no such file or folder"):
        read_corpus(tmp_path / "x")
    (tmp_path / "n.jsonl").write_text('{"note_id": "a", "text": "x"}\n')
    assert read_corpus(tmp_path / "n.jsonl")[0].note.note_id == "a"
    (tmp_path / "n.txt").write_text("x")
    assert read_corpus(tmp_path)[0].note.note_id == "n.txt"
    assert read_corpus(tmp_path / "n.txt")[0].note.note_id == "n.txt"


def test_the_principal_diagnosis_may_lie_outside_the_label_set():
    assert DELICATE.principal_diagnosis == "428.0"
    assert CodedNote(BARE.note, ("486", "428.0")).principal_diagnosis == "486"
    assert BARE.principal_diagnosis is None
