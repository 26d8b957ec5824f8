"""`concept-icd synth`, run as a user runs it."""

import csv
import gzip
import json
import subprocess
import sys

import pytest

from concept_icd.cli import synth


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "concept_icd.cli.main", "synth", *map(str, words)], text=True, capture_output=True
    )


def test_the_example_of_the_help_runs(tmp_path):
    words = synth.EXAMPLE.split()
    assert words[:3] == ["concept-icd", "synth", "mimic3"]
    words[words.index("--out") + 1] = str(tmp_path / "m")
    done = command(*words[2:])
    assert done.returncode == 0, done.stderr
    assert "200 stays" in done.stdout
    assert "writing stays: 200/200 stays" in done.stderr
    with open(tmp_path / "m/ADMISSIONS.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 200


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
