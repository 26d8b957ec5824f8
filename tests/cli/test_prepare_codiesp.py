"""`concept-icd prepare codiesp`, run as a user runs it."""

import json
import subprocess
import sys

import pytest

from concept_icd.corpora import load_corpus


def command(*words):
    arguments = [sys.executable, "-m", "concept_icd.cli.main", "prepare", "codiesp", *map(str, words)]
    return subprocess.run(arguments, text=True, capture_output=True)


@pytest.mark.slow
def test_a_task_from_the_real_files_in_words_and_as_json(tmp_path, shared_data):
    folders = ("--codiesp-dir", shared_data / "codiesp", "--maps-dir", shared_data / "icd9_maps")
    done = command("--task", "codiesp9-50", *folders, "--out", tmp_path / "c")
    assert done.returncode == 0, done.stderr
    assert "885 notes of unnamed patients (dev 212, test 226, train 447)" in done.stdout
    assert "diagnoses carried, ambiguous: 1,693: 257 codes" in done.stdout
    assert "procedures: 3,246: 870 codes of CIE-10-PCS, left out" in done.stdout
    done = command("--task", "codiesp9-50", *folders, "--out", tmp_path / "c", "--overwrite", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["counts"] == load_corpus(tmp_path / "c").manifest["counts"]
    assert said["checks"] == load_corpus(tmp_path / "c").manifest["checks"]


def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path):
    done = command("--task", "codiesp9-50", "--codiesp-dir", tmp_path, "--maps-dir", tmp_path, "--out", tmp_path / "c")
    assert (done.returncode, done.stdout) == (2, "")
    assert "lacks icd10cmtoicd9gem.csv" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_track_needs_no_maps_and_a_benchmark_does(tmp_path, shared_data):
    folder = ("--codiesp-dir", shared_data / "codiesp")
    done = command("--task", "codiesp-d", *folder, "--out", tmp_path / "d", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["labels"] == 11_158
    done = command("--task", "codiesp9-50", *folder, "--out", tmp_path / "c")
    assert (done.returncode, done.stdout) == (2, "")
    assert "name the folder of the maps with --maps-dir" in done.stderr
    done = command("--task", "codiesp9-50", "--language", "es", *folder, "--out", tmp_path / "c")
    assert done.returncode == 2
    assert "is of the translation" in done.stderr
