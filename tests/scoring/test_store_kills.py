"""Fifty kills at random moments over one run: the matrix is that of an unbroken one, and nothing is scored twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from concept_icd.scoring.store import load_scores, read_failures
from tests.conftest import ROOT
from tests.scoring import killed_run
from tests.scoring.killed_run import NOTES, SHARD_NOTES


@pytest.mark.slow
def test_fifty_kills_change_no_bit(llama, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, killed_run.__file__, str(llama), str(tmp_path), "50", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert sum(told["moments"].values()) == 50
    assert min(told["moments"].values()) >= 1  # before, within and after the writing of shards
    assert told["rewritten"] == 0  # a shard that was there stayed: none of its notes was scored again
    assert len(set(told["progress"])) > 10  # and the kills were spread over the run
    whole = load_scores(tmp_path / "whole")
    assert list(whole.note_ids) == sorted(note.note_id for note in NOTES if note.text.strip())
    for run in range(told["runs"]):
        killed = load_scores(tmp_path / f"killed-{run}")
        assert (killed.note_ids, killed.truncated) == (whole.note_ids, whole.truncated)
        assert killed.logits.tobytes() == whole.logits.tobytes()
        assert read_failures(tmp_path / f"killed-{run}") == {"blank": "the note is empty"}
        files = [
            {path.name for path in folder.rglob("*")} for folder in (tmp_path / "whole", tmp_path / f"killed-{run}")
        ]
        assert files[0] == files[1]
    assert told["shards"] == len(NOTES) // SHARD_NOTES
