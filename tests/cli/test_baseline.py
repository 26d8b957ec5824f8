"""The verb that runs every baseline: which there are, what each is given, and its errors."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from concept_icd.cli.baseline import BASELINES
from concept_icd.cli.main import main


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_has_its_main_and_names_what_it_lacks(name: str, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    module, *_ = BASELINES[name]
    assert callable(importlib.import_module(module).main)
    phrases = ["--phrases", "p.json"] if name == "cec" else []
    plain = [] if name == "tfidf-svm" else ["--config", "tiny"]
    out = tmp_path / "out"
    assert main(["baseline", name, "--corpus", str(tmp_path / "no"), "--out", str(out), *plain, *phrases]) == 2
    told = capsys.readouterr().err
    assert "no has no manifest.json" in told
    assert told.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("name", ["cec", "lora-classifier", "ltr-icd"])
def test_a_config_that_is_not_there_names_those_there_are(name: str, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(["baseline", name, "--corpus", "c", "--out", "o", "--config", "nosuch"]) == 2
    assert "there is no config 'nosuch'; name one of" in capsys.readouterr().err


def test_plm_icd_takes_its_own_config_unless_another_is_named(capsys) -> None:  # type: ignore[no-untyped-def]
    """The flag is checked after the config is read: the script's padding in the softmax does not go with ranking."""
    assert main(["baseline", "plm-icd", "--corpus", "c", "--out", "o", "--ranking", "true"]) == 2
    assert "padding_attends is of the classifier alone" in capsys.readouterr().err


def test_an_unknown_baseline_is_refused() -> None:
    with pytest.raises(SystemExit):
        main(["baseline", "caml", "--corpus", "c", "--out", "o"])
