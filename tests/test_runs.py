"""`runs/mimic3.sh` as a user types it: from raw tables to results, through accelerate or not, and again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from concept_icd.artifacts import read_json
from concept_icd.corpora.mimic3.synthetic.tables import write_synthetic_mimic3
from tests.conftest import ROOT

OPTIONS = ["--max_steps", "2", "--per_device_train_batch_size", "2", "--levels", "chapter", "code", "--folds", "2"]


def script(folder: Path, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    settings = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "CONFIG": "synthetic-tiny", **environment}
    command = ["bash", str(ROOT / "runs" / "mimic3.sh"), *map(str, words)]
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "mimic"
    write_synthetic_mimic3(folder, 200, seed=4, note_rows=300, summary_length=600)
    return folder


@pytest.mark.slow
def test_from_raw_tables_to_results_and_nothing_twice(tables: Path, llama: Path, tmp_path: Path) -> None:
    # "./out" and "out" are one folder, also to the stage that accelerate launched. Without a preset: the README's run.
    words = ("mimic3-rare50", tables, tables / "splits", "./out", "--model_name_or_path", llama, *OPTIONS)
    done = script(tmp_path, *words, PRESET="cpu")
    assert done.returncode == 0, done.stderr[-2000:]
    results = read_json(tmp_path / "out" / "run" / "evaluation" / "results.json")
    assert results["counts"]["codes"] == 50
    assert "report: out/run/evaluation/report.html" in done.stdout
    again = script(tmp_path, *words, PRESET="cpu")
    assert again.returncode == 0, again.stderr[-2000:]
    assert "adapter adapter" not in again.stderr
    assert again.stderr.count("complete: ") == 5


@pytest.mark.parametrize(
    ("words", "environment", "sentence"),
    [
        (["mimic3-5O", "a", "b", "out"], {}, "mimic3-50"),
        (["mimic3-50", "nowhere", "b", "out"], {}, "nowhere"),
        (["mimic3-50", "a", "b", "out"], {"PRESET": "many_gpus"}, "no preset many_gpus; presets: cpu deepspeed_zero2"),
    ],
)
def test_bad_input_is_one_sentence(words, environment, sentence, tmp_path: Path) -> None:
    done = script(tmp_path, *words, **environment)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
