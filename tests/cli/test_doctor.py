"""`concept-icd doctor` as people run it: exit codes, what it prints, and that it stays off the network."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import NoReturn

import pytest

from concept_icd.cli.main import main


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("the doctor went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_the_machine_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "machine" in out
    assert "packages" in out
    assert "all is there" in out


def test_the_demo_suffices_for_the_tables(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo = str(shared_data / "mimic3_demo")
    assert main(["doctor", "--mimic-dir", demo, "--task", "mimic3-tables", "--checksums"]) == 0
    out = capsys.readouterr().out
    assert "ADMISSIONS.csv: 129 rows" in out
    assert "PRESCRIPTIONS.csv.gz is the file of SHA256SUMS.txt" in out
    assert "all is there for mimic3-tables" in out


def test_what_is_missing_gives_exit_code_1_and_the_command_that_mends_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--task", "mimic3-50", "--config", "synthetic-tiny"]) == 1
    out = capsys.readouterr().out
    assert "missing  mimic3-50 needs the raw tables of MIMIC-III 1.4" in out
    assert "-> get the GitHub repository jamesmullenbach/caml-mimic" in out
    assert "2 missing for mimic3-50" in out


def test_generated_tables_have_all_that_a_task_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic = pytest.importorskip("concept_icd.corpora.mimic3.synthetic.tables")
    folder = tmp_path / "mimic"
    synthetic.write_synthetic_mimic3(folder, stays=200, seed=0)
    argv = ["doctor", "--mimic-dir", str(folder), "--splits-dir", str(folder), "--task", "mimic3-50"]
    assert main([*argv, "--config", "synthetic-tiny", "--out", str(tmp_path / "runs"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert report["estimates"]["measured"] is False
    assert [stage["stage"] for stage in report["estimates"]["stages"]] == [
        "prepare",
        "tune",
        "score",
        "fit",
        "evaluate",
    ]
    assert {finding["state"] for finding in report["findings"]} <= {"ok", "warning", "note"}


def test_estimates_say_that_they_are_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--task", "mimic3-rare50", "--config", "synthetic-tiny"])
    out = capsys.readouterr().out
    assert "estimates, not measured" in out
    assert "a matrix product in float32 measured now" in out or "measured now" in out


def test_the_table_of_gpu_hours(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--card", "all"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n| MIMIC-III") == 4
    assert "H100 80 GB" in out
    assert "Estimates, not measured" in out


def test_one_card_and_one_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--card", "a100", "--config", "mimic3-rare50"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n| MIMIC-III") == 1
    assert "RTX" not in out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--task", "mimic3-5"], "did you mean 'mimic3-50'"),
        (["--card", "a10"], "did you mean 'a100'"),
        (["--task", "mimic3-50", "--config", "no-such-config"], "no-such-config"),
    ],
)
def test_wrong_names_are_bad_input(options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *options]) == 2
    assert sentence in capsys.readouterr().err
