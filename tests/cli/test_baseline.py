"""The verb that runs every baseline: which there are, what each is given, and its errors."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from concept_icd.cli.baseline import BASELINES
from concept_icd.cli.main import main


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_has_its_main_and_names_what_it_lacks(name: str, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    assert callable(importlib.import_module(BASELINES[name].module).main)
    phrases = ["--phrases", "p.json"] if name == "cec" else []
    config = ["--config", "tiny"] if BASELINES[name].network and name != "plm-icd" else []
    out = tmp_path / "out"
    assert main(["baseline", name, "--corpus", str(tmp_path / "no"), "--out", str(out), *config, *phrases]) == 2
    told = capsys.readouterr().err
    assert "no has no manifest.json" in told
    assert told.count("\n") == 1
    assert not out.exists()


def test_without_a_name_it_lists_them_with_their_sources_and_what_they_share(capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(["baseline"]) == 0
    told = capsys.readouterr().out
    assert [line.split()[0] for line in told.splitlines()[: len(BASELINES)]] == list(BASELINES)
    assert all(found.about in told and found.source in told for found in BASELINES.values())
    assert "without their codes" in told
    assert max(map(len, told.splitlines())) < 160


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["plmicd", "--corpus", "c", "--out", "o"], "there is no baseline 'plmicd' (did you mean 'plm-icd'?); there"),
        (["--corpus", "c"], "name the baseline: frequency, tfidf-svm"),
        (["frequency", "--out", "o"], "name the prepared corpus with --corpus"),
        (["frequency", "--corpus", "c"], "name the folder of the predictions with --out"),
        (["tfidf-svm", "--corpus", "c", "--out", "o", "--config", "tiny"], "tfidf-svm trains no network: leave"),
    ],
)  # fmt: skip
def test_what_is_missing_is_one_sentence(arguments: list[str], sentence: str, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(["baseline", *arguments]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("name", ["cec", "lora-classifier", "ltr-icd"])
def test_a_config_that_is_not_there_names_those_there_are(name: str, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(["baseline", name, "--corpus", "c", "--out", "o", "--config", "nosuch"]) == 2
    assert "there is no config 'nosuch'; name one of" in capsys.readouterr().err


def test_plm_icd_takes_its_own_config_unless_another_is_named(capsys) -> None:  # type: ignore[no-untyped-def]
    """The flag is checked after the config is read: the script's padding in the softmax does not go with ranking."""
    assert main(["baseline", "plm-icd", "--corpus", "c", "--out", "o", "--ranking", "true"]) == 2
    assert "padding_attends is of the classifier alone" in capsys.readouterr().err
