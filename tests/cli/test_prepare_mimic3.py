"""`concept-icd prepare mimic3`, run as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from concept_icd.cli.main import main
from concept_icd.corpora import load_corpus
from tests.corpora.mimic3.hand_made import TABLES, write_lists, write_tables

pytest.importorskip("duckdb")
SECRET = "zebrafish"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Tables whose every note holds a word that no message may hold."""
    header, *notes = TABLES["NOTEEVENTS"]
    return write_tables(tmp_path / "raw", NOTEEVENTS=[header, *((*row[:-1], f"{row[-1]} {SECRET}") for row in notes)])


@pytest.fixture
def line(raw: Path, tmp_path: Path) -> list[str]:
    lists = write_lists(tmp_path / "lists")
    return f"prepare mimic3 --mimic-dir {raw} --splits-dir {lists} --task mimic3-50 --out {tmp_path}/out".split()


def refusal(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    assert main(words) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("concept-icd: ")
    return last


def test_it_says_what_it_found(line, tmp_path, capsys):
    assert main(line) == 0
    said = capsys.readouterr()
    assert "3 notes of 2 patients (dev 1, train 2)" in said.out
    assert "differs stays of train: 2 (published: 8,066): the list has 2\n" in said.out
    assert "discharge summaries marked as errors (ISERROR 1): 1: left out\n" in said.out
    assert "admissions without an age" not in said.out  # there are none
    assert SECRET not in said.out + said.err
    assert SECRET in load_corpus(tmp_path / "out").notes[0].note.text
    assert main(line) == 0
    assert "is complete: the same tables, lists and task made it" in capsys.readouterr().out


def test_json(line, tmp_path, capsys):
    assert main([*line, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    manifest = load_corpus(tmp_path / "out").manifest
    assert said == {
        "folder": str(tmp_path / "out"),
        "counts": manifest["counts"],
        "checks": manifest["checks"],
        "reused": False,
    }


def test_what_is_asked_wrongly(line, tmp_path, capsys):
    task = line.index("mimic3-50")
    unknown = refusal(capsys, [*line[:task], "mimic3-5O", *line[task + 1 :]])
    assert "no task 'mimic3-5O' (did you mean 'mimic3-50'?)" in unknown
    lists = line.index("--splits-dir")
    without = refusal(capsys, [*line[:lists], *line[lists + 2 :]])
    assert "mimic3-50 needs its admission lists; --splits-dir names the folder" in without
    assert "is no size of 2GB or more" in refusal(capsys, [*line, "--memory", "lots"])
    assert not (tmp_path / "out").exists()


def test_a_malformed_note_is_not_quoted(line, raw, tmp_path, capsys):
    with (raw / "NOTEEVENTS.csv").open("a") as file:
        file.write(f'20,1,101,"{SECRET}" and\n')
    assert "NOTEEVENTS.csv" in refusal(capsys, line)
    assert SECRET not in str(capsys.readouterr())
    assert not (tmp_path / "out").exists()
