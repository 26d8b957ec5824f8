"""Tuning runs as users start them: their flags, their processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from concept_icd.corpora import load_corpus
from concept_icd.records import CodedNote
from tests.conftest import ROOT


def flags(corpus: Path, model: Path, out: Path, **options: object) -> list[str]:
    """Command-line flags of a run that takes a second or two."""
    asked = {"folds": 2, "max_steps": 2, "levels": "chapter code", "per_device_train_batch_size": 2} | options
    words = [f"--corpus {corpus} --output_dir {out} --model_name_or_path {model}"]
    return " ".join([*words, *(f"--{key} {value}" for key, value in asked.items())]).split()


def learned(corpus: Path) -> list[CodedNote]:
    return [note for note in load_corpus(corpus).notes if note.split == "train"]


def process(arguments: list[str], *launch: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", *(launch or ("concept_icd.tuning",)), *arguments]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(child: subprocess.Popen[str], path: Path) -> None:
    """Until the file is written to its end: a moment before, the checkpoint is not whole, and goes away."""
    while child.poll() is None and not is_whole(path):
        time.sleep(0.005)
    assert child.poll() is None, child.stderr.read()


def is_whole(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text()))
    except (OSError, ValueError):
        return False
