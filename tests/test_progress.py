"""What a command tells, how loudly, and through which logger."""

from __future__ import annotations

import io
import json
import logging

import pytest

from concept_icd.cli.main import main
from concept_icd.progress import LOGGER, say, track


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "notes.jsonl"
    lines = [{"note_id": "a", "text": "Cough and fever."}, {"note_id": "b", "text": " "}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def told(corpus, tmp_path, capsys, *options):
    assert main(["code", "--corpus", corpus, "--out", str(tmp_path / "p.jsonl"), *options]) == 1
    return capsys.readouterr().err


def test_quiet_tells_warnings_and_verbose_also_how_long_it_took(corpus, tmp_path, capsys):
    usual = told(corpus, tmp_path, capsys)
    assert "1 note coded" in usual
    assert "coding: 1/1 notes" in usual
    assert "done after" not in usual
    quiet = told(corpus, tmp_path, capsys, "--overwrite", "-q")
    assert LOGGER.level == logging.INFO  # it is of one command
    assert quiet.count("\n") == 2
    assert "concept-icd: 1 note cannot be coded" in quiet
    assert "done after" in told(corpus, tmp_path, capsys, "--overwrite", "--verbose")
    assert told(corpus, tmp_path, capsys, "--overwrite") == usual


def test_errors_are_told_when_quiet_and_verbs_below_verbs_take_the_options(capsys):
    assert main(["ontology", "show", "999.9999", "-q"]) == 2
    assert "concept-icd: " in capsys.readouterr().err


def test_an_application_sees_all_under_one_name_and_once(caplog, capsys, monkeypatch):
    with caplog.at_level(logging.INFO, "concept_icd"):
        say("begun")
        list(track([1, 2], 2, "coding"))
    assert [(r.name, r.levelname) for r in caplog.records] == [("concept_icd", "INFO")] * 2
    assert caplog.records[1].getMessage().startswith("coding: 2/2 notes")
    assert capsys.readouterr().err.startswith("concept-icd: begun\ncoding: 2/2 notes")
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    handler = logging.StreamHandler(stream)
    logging.root.addHandler(handler)
    try:
        say("once")
    finally:
        logging.root.removeHandler(handler)
    assert stream.getvalue() == "once\n"
