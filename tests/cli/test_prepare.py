"""`concept-icd prepare`, run as a user runs it."""

import json
import os
import subprocess
import sys

import pytest

from concept_icd.cli import prepare
from concept_icd.corpora import load_corpus, read_jsonl, read_text_folder, synthetic_codes
from concept_icd.ontology.tree import load_ontology
from concept_icd.resources import resource


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "concept_icd.cli.main", "prepare", *map(str, words)], text=True, capture_output=True
    )


def test_the_example_of_the_help_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = prepare.EXAMPLE.split()
    assert words[:4] == ["concept-icd", "prepare", "jsonl", "notes.jsonl"]
    (tmp_path / "notes.jsonl").write_text('{"note_id": "a", "text": "Cough.", "diagnoses": ["7862"]}')
    done = command(*words[2:])
    assert done.returncode == 0, done.stderr
    assert "1 note of unnamed patients" in done.stdout
    assert "1 label, 1.00 a coded note: 1 diagnosis code, 0 procedure codes" in done.stdout
    assert load_corpus(words[words.index("--out") + 1]).notes == tuple(read_jsonl("notes.jsonl"))


def test_json_counts(tmp_path):
    done = command("text", resource("examples"), "--out", tmp_path / "c", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said == {"folder": str(tmp_path / "c"), "counts": load_corpus(tmp_path / "c").manifest["counts"]}
    assert said["counts"]["notes"] == 25


def test_real_reports(tmp_path, shared_data):
    done = command("cmc2007", shared_data / "cmc2007", "--out", tmp_path / "c")
    assert done.returncode == 0, done.stderr
    assert "1,954 notes" in done.stdout
    assert "test 976, train 978" in done.stdout
    assert "1,218 labels" in done.stdout
    assert "45 diagnosis codes" in done.stdout


def test_sample_notes_as_text_and_json_lines(tmp_path):
    assert command("text", resource("examples"), "--out", tmp_path / "t").returncode == 0
    assert len(load_corpus(tmp_path / "t").notes) == 25
    line = {"note_id": "a", "text": "Cough.", "diagnoses": ["7862"]}
    (tmp_path / "n.jsonl").write_text(json.dumps(line))
    assert command("jsonl", tmp_path / "n.jsonl", "--out", tmp_path / "j").returncode == 0
    corpus = load_corpus(tmp_path / "j")
    assert corpus.notes == tuple(read_jsonl(tmp_path / "n.jsonl"))
    assert set(corpus.manifest["inputs"]) == {"n.jsonl"}


@pytest.mark.parametrize("words", [("jsonl", "nowhere.jsonl"), ("text", "nowhere"), ("cmc2007", "nowhere.xml")])
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, words):
    done = command(*words, "--out", tmp_path / "c")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("concept-icd: cannot read nowhere")
    assert done.stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_gold_of_the_sample_notes():
    folder = resource("examples")
    gold = [json.loads(line) for line in (folder / "gold.jsonl").read_text().splitlines()]
    assert [line["note_id"] for line in gold] == [coded.note.note_id for coded in read_text_folder(folder)]
    ontology = load_ontology()
    for line in gold:
        codes = line["diagnoses"] + line["procedures"]
        assert all(ontology.parse(code) == code for code in codes)  # the challenge's codes are of 2007
        if line["note_id"].startswith("discharge/"):
            assert all(ontology.billable(code) for code in codes)
            assert set(codes) <= set(synthetic_codes())


def test_a_table_and_its_columns(tmp_path):
    (tmp_path / "n.csv").write_text("HADM_ID;TEXT;LABELS\n7;Cough.;486\n")
    done = command("csv", tmp_path / "n.csv", "--out", tmp_path / "c")
    assert done.returncode == 0, done.stderr
    assert "note_id from 'HADM_ID', codes from 'LABELS', by its name" in done.stderr
    assert load_corpus(tmp_path / "c").notes[0].diagnoses == ("486",)
    named = ("--id-column", "HADM_ID", "--text-column", "TEXT", "--codes-column", "LABELS")
    done = command("csv", tmp_path / "n.csv", *named, "--out", tmp_path / "d")
    assert (done.returncode, done.stderr) == (0, "")
    assert load_corpus(tmp_path / "d").manifest["config"]["columns"]["codes"] == "LABELS"


def test_names_that_are_not_utf8_are_no_traceback(tmp_path):
    name = os.fsdecode(b"m\xfcller")
    (tmp_path / f"{name}.jsonl").write_text('{"note_id": "a", "text": "Cough."}')
    done = command("jsonl", tmp_path / f"{name}.jsonl", "--out", tmp_path / name)
    assert done.returncode == 0, done.stderr
    assert load_corpus(tmp_path / name).manifest["config"]["path"].endswith("m\\xfcller.jsonl")


def test_a_pipe_among_the_notes_stops_nothing(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "A.TXT").write_text("Cough.")
    os.mkfifo(tmp_path / "notes" / "pipe.txt")
    done = command("text", tmp_path / "notes", "--out", tmp_path / "c")
    assert done.returncode == 0, done.stderr
    assert "1 .txt files are notes; left alone: 1 pipes, devices or broken links" in done.stderr
