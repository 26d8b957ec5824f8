"""Every verb that writes: what it reads, and what it did not write, is there afterwards, byte for byte."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from concept_icd.cli.main import main

NOTE = {"note_id": "a", "text": "Cough and fever.", "diagnoses": ["486"]}
EVALUATE = ["evaluate", "--predictions", "predictions.jsonl", "--gold", "notes.jsonl", "--draws", "0"]
PREDICTION = {"note_id": "a", "codes": [{"code": "486", "probability": 0.9}]}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, which holds what verbs read and a file that none of them knows."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "notes.jsonl").write_text(json.dumps(NOTE) + "\n")
    (folder / "predictions.jsonl").write_text(json.dumps(PREDICTION) + "\n")
    (folder / "results.json").write_text('{"figures": {}}')  # a name that `evaluate` writes too
    (folder / "codes.txt").write_text("486\n")
    (folder / "note.txt").write_text("Cough and fever.")
    (folder / "thesis.tex").write_text("not ours")
    (folder / ".git-blame-ignore").write_text("not ours")
    monkeypatch.chdir(folder)
    return folder


def kept(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()}


COMMANDS = [
    "prepare jsonl notes.jsonl --out {out} --overwrite",
    "prepare text note.txt --out {out} --overwrite",
    "prepare cmc2007 . --out {out} --overwrite",
    "synth notes --notes 5 --out {out} --overwrite",
    "prepare mimic3 --mimic-dir . --task mimic3-tables --out {out} --overwrite",
    "prepare codiesp --codiesp-dir . --maps-dir . --task codiesp9-50 --out {out} --overwrite",
    "medications prepare --mimic-dir . --out {out} --overwrite",
    "synth stays --stays 50 --out {out} --overwrite",
    "synth mimic3 --stays 20 --out {out} --overwrite",
    "fit --corpus . --scores . --out {out} --overwrite",
    "evaluate --predictions predictions.jsonl --gold notes.jsonl --out {out} --overwrite",
    "compare predictions.jsonl a=predictions.jsonl --gold notes.jsonl --out {out} --overwrite",
    "code --corpus notes.jsonl --out {out} --overwrite",
    "phrases --codes codes.txt --file results.json --out {out} --overwrite",
    "fit-selection --corpus . --scores . --out {out} --overwrite",
    "medications code --model . --stays . --out {out} --overwrite",
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("out", [".", "..", "../study", "thesis.tex"])
def test_overwrite_replaces_no_folder_of_a_users(study, capsys, command, out):
    before = kept(study)
    assert main(command.format(out=out).split()) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert kept(study) == before


@pytest.mark.parametrize(
    "command",
    [
        "phrases --codes codes.txt --file phrases.json notes.jsonl note.txt --out {out}",
        "code --corpus notes.jsonl --out {out}",
        "code --corpus . --format text --out {out} --overwrite",
    ],
)
@pytest.mark.parametrize("out", ["notes.jsonl", "codes.txt", "note.txt", "phrases.json"])
def test_an_output_file_is_no_input(study, capsys, command, out):
    (study / "phrases.json").write_text('{"486": ["pneumonia"]}')
    before = kept(study)
    assert main(command.format(out=out).split()) == 2
    assert kept(study) == before


def test_what_the_package_wrote_is_replaced_and_no_more(study, capsys):
    prepare = ["prepare", "jsonl", "notes.jsonl", "--out", "../corpus", "--overwrite"]
    assert main(prepare) == 0
    assert main(prepare) == 0
    evaluate = [
        "evaluate",
        "--predictions",
        "predictions.jsonl",
        "--gold",
        "notes.jsonl",
        "--draws",
        "0",
        "--out",
        "../figures",
        "--overwrite",
    ]
    assert main(evaluate) == 0
    assert main(evaluate) == 0
    for folder, command in (("corpus", prepare), ("figures", evaluate)):
        (study.parent / folder / "thesis.tex").write_text("mine")
        before = kept(study)
        assert main(command) == 2
        assert "thesis.tex" in capsys.readouterr().err
        assert kept(study) == before
    # One stage's folder is no other stage's.
    shutil.rmtree(study.parent / "corpus")
    assert main([*evaluate[:-2], "../corpus", "--overwrite"]) == 0
    before = kept(study)
    assert main(prepare) == 2
    assert kept(study) == before


def test_predictions_in_a_folder_that_is_replaced_are_its_input(study, capsys):
    evaluate = [
        "evaluate",
        "--predictions",
        "predictions.jsonl",
        "--gold",
        "notes.jsonl",
        "--draws",
        "0",
        "--out",
        "../figures",
        "--overwrite",
    ]
    assert main(evaluate) == 0
    shutil.copy("predictions.jsonl", "../figures/predictions.jsonl")
    before = kept(study)
    evaluate[2] = "../figures/predictions.jsonl"
    assert main(evaluate) == 2
    assert "holds the input predictions.jsonl" in capsys.readouterr().err
    assert kept(study) == before


@pytest.mark.parametrize(
    "command",
    [
        "finetune --config synthetic-tiny --corpus ../corpus --output_dir {out}",
        "medications study --stays ../stays --out {out} --folds 1 --epochs 1",
    ],
)
def test_a_stage_that_goes_on_does_not_begin_in_a_folder_of_something_else(study, capsys, command):
    assert main(["synth", "notes", "--notes", "40", "--out", "../corpus"]) == 0
    assert main(["prepare", "medications", "--synthetic", "60", "--out", "../stays"]) == 0
    capsys.readouterr()
    for out in (".", "../corpus", "../stays"):
        before = kept(study)
        assert main(command.format(out=out).split()) == 2
        assert kept(study) == before


def test_what_a_command_writes_is_its_users_alone(study):
    assert main(["prepare", "jsonl", "notes.jsonl", "--out", "../new/corpus"]) == 0
    assert main(["code", "--corpus", "notes.jsonl", "--out", "../new/p.jsonl"]) == 0
    found = {path.name: path.stat().st_mode & 0o777 for path in (study.parent / "new").rglob("*")}
    assert found == {"corpus": 0o700, "manifest.json": 0o600, "notes.parquet": 0o600, "p.jsonl": 0o600}
    assert (study.parent / "new").stat().st_mode & 0o777 == 0o700
