"""The benchmark of the desk, small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_the_benchmark_measures_what_it_says(coder_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "desk.json"
    sizes = ["--requests", "16", "--rounds", "1", "--paired-notes", "4", "--queries", "20", "--minutes", "0.05"]
    command = [sys.executable, str(ROOT / "benchmarks" / "desk.py"), "--coder", str(coder_folder), *sizes]
    done = subprocess.run([*command, "--out", str(out)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert [row["clients"] for row in found["batching"]] == [1, 8, 64]
    assert all(run["statuses"] == {"200": run["requests"]} for row in found["batching"] for run in row["none"])
    assert found["own_cost"]["notes"] == 4
    assert found["search"]["p99_ms"] > 0
    assert found["load"]["statuses"].keys() <= {"200", "429"}
    assert found["load"]["notes_scored"] > 0
    assert found["load"]["rss_mib"]
