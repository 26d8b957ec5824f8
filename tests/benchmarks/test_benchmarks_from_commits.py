"""A committed result comes from committed code: what differs is refused before the work, or marked."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import common


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one script and one result, both committed."""
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    for name in ("benchmarks/speed.py", "benchmarks/results/speed.json", "README.md"):
        (tmp_path / name).write_text("1\n")
    git = ("git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "first")):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(common, "ROOT", tmp_path)
    monkeypatch.setattr(common, "RESULTS", tmp_path / "benchmarks" / "results")
    return tmp_path


def parse(monkeypatch: pytest.MonkeyPatch, *words: object) -> argparse.Namespace:
    monkeypatch.setattr(sys, "argv", ["speed.py", *map(str, words)])
    return common.arguments(common.parser_of("A script."))


def test_uncommitted_code_makes_no_committed_result(checkout, monkeypatch, capsys):
    result = checkout / "benchmarks" / "results" / "speed.json"
    assert parse(monkeypatch, "--out", result).out == result
    (checkout / "benchmarks" / "speed.py").write_text("2\n")
    with pytest.raises(SystemExit) as refusal:
        parse(monkeypatch, "--out", result)
    assert refusal.value.code == 2
    assert "the tree has uncommitted changes: commit them, or write elsewhere" in capsys.readouterr().err
    assert parse(monkeypatch, "--out", result, "--allow-dirty").allow_dirty
    assert parse(monkeypatch, "--out", checkout / "elsewhere.json").out
    assert parse(monkeypatch).out is None


def test_the_record_marks_it(checkout, monkeypatch):
    args = parse(monkeypatch)
    monkeypatch.setattr(common, "git_commit", lambda: "abc")
    assert common.record(args)["commit"] == "abc"
    (checkout / "benchmarks" / "results" / "speed.json").write_text("2\n")  # results and pages are what is made
    (checkout / "README.md").write_text("2\n")
    assert common.record(args)["commit"] == "abc"
    (checkout / "benchmarks" / "new.py").write_text("1\n")
    assert common.record(args)["commit"] == "abc+"


def test_the_page_says_which_results_came_from_such_trees():
    import json

    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    results = [
        json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "benchmarks" / "results").glob("*.json")
    ]
    marked = {result["command"] for result in results if str(result.get("commit")).endswith("+")}
    assert page.count("**uncommitted changes**)") == len(marked)
    assert all(f"`{command}`" in page for command in marked)
