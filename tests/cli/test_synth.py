"""`concept-icd synth`, run as a user runs it."""

import csv
import gzip
import json
import subprocess
import sys

import pytest

from concept_icd.cli import synth
from concept_icd.corpora import load_corpus, synthetic_notes
from concept_icd.medications.folder import load_stays


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "concept_icd.cli.main", "synth", *map(str, words)], text=True, capture_output=True
    )


def test_the_examples_of_the_help_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notes, mimic3, stays = (line.split() for line in synth.EXAMPLE.splitlines())
    done = [command(*words[2:]) for words in (notes, mimic3, stays)]
    assert [run.returncode for run in done] == [0, 0, 0], [run.stderr for run in done]
    assert "200 notes" in done[0].stdout
    assert load_corpus(notes[-1]).notes == tuple(synthetic_notes(200, seed=0))
    assert "200 stays" in done[1].stdout
    assert "writing stays: 200/200 stays" in done[1].stderr
    with open(f"{mimic3[-1]}/ADMISSIONS.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 200
    assert "200 stays" in done[2].stdout
    assert len(load_stays(stays[-1]).stays.stay_ids) == 200


def test_json_counts_of_notes(tmp_path):
    done = command("notes", "--notes", 20, "--min-words", 400, "--out", tmp_path / "c", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said == {"folder": str(tmp_path / "c"), "counts": load_corpus(tmp_path / "c").manifest["counts"]}
    assert said["counts"]["notes"] == 20
    assert load_corpus(tmp_path / "c").manifest["config"]["min_words"] == 400


def test_stays_in_billing_order(tmp_path):
    done = command("notes", "--notes", 20, "--seed", 3, "--ordered", "--out", tmp_path / "c")
    assert done.returncode == 0, done.stderr
    corpus = load_corpus(tmp_path / "c")
    assert corpus.notes == tuple(synthetic_notes(20, seed=3, ordered=True))
    assert corpus.manifest["config"]["ordered"] is True


def test_an_existing_folder_is_kept(tmp_path):
    assert command("notes", "--notes", 3, "--out", tmp_path / "c").returncode == 0
    done = command("notes", "--notes", 4, "--out", tmp_path / "c")
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert command("notes", "--notes", 4, "--out", tmp_path / "c", "--overwrite").returncode == 0
    assert len(load_corpus(tmp_path / "c").notes) == 4


def test_compressed_lower_case_and_counted(tmp_path):
    options = ("--stays", 60, "--note-rows", 300, "--gzip", "--lower-case", "--json")
    done = command("mimic3", *options, "--out", tmp_path / "m")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["folder"] == str(tmp_path / "m")
    with gzip.open(tmp_path / "m/NOTEEVENTS.csv.gz", "rt", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 300 == said["counts"]["noteevents"]
    assert list(table[0])[:3] == ["row_id", "subject_id", "hadm_id"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--stays", 5), "--stays 5 is too few"),
        (("--stays", 60, "--note-rows", 3), "--note-rows 3 is less than"),
        (("--stays", 60, "--out", "."), "exists already"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, options, says):
    done = command("mimic3", "--out", tmp_path / "m", *options)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "m").exists()
