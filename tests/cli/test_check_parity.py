from __future__ import annotations

import json
import warnings

import pytest
import torch

from concept_icd.cli.main import main
from concept_icd.coder.coder import ConceptCoder, ScorerMismatch
from concept_icd.corpora.store import save_corpus


@pytest.fixture(scope="module")
def folders(fitted, tmp_path_factory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("parity")
    save_corpus(folder / "corpus", fitted.test[:6])
    fitted.coder.save_pretrained(folder / "coder")
    return str(folder / "corpus"), str(folder / "coder")


def test_packed_and_plain_agree_and_no_code_changes(folders, capsys):
    corpus, coder = folders
    assert main(["check-parity", "--corpus", corpus, "--coder", coder, "--limit", "4"]) == 0
    out = capsys.readouterr().out
    assert "packed against plain: 4 notes" in out
    assert "accepted codes changed     0 of " in out


def test_half_precision_is_above_the_tolerance(folders, capsys):
    """Two dtypes of one scorer; exit code 1, and with a wider tolerance 0."""
    corpus, coder = folders
    command = ["check-parity", "--corpus", corpus, "--coder", coder, "--scorers", "packed", "packed", "--json"]
    command += ["--dtype", "float32", "bfloat16", "--limit", "3"]
    assert main(command) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["scorers"] == ["packed float32", "packed bfloat16"]
    assert 1e-3 < found["largest_gap"] < 10
    assert found["mean_gap"] < found["largest_gap"]
    assert 0.5 < found["rank_correlation"] < 1
    assert set(found["coder"]) >= {"accepted_changed", "first_code_changed"}
    assert main([*command, "--tolerance", "10"]) == 0


def test_what_is_wrong_is_one_sentence(folders, capsys, tmp_path):
    corpus, coder = folders
    base = ["check-parity", "--corpus", corpus, "--coder", coder]
    cases = {
        "a number from 1 up": [*base, "--limit", "0"],
        "computes in float32 alone": [*base, "--scorers", "light", "packed", "--dtype", "bfloat16"],
        "one value for both": [*base, "--dtype", "float32", "float32", "float32"],
        "no notes in the splits dev": [*base, "--splits", "dev"],
        "there is no coder": [*base[:3], "--coder", str(tmp_path)],
        "cannot be reached": [*base, "--scorers", "packed", "server", "--server-url", "http://127.0.0.1:9"],
    }
    for sentence, command in cases.items():
        assert main(command) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("concept-icd: ")
        assert sentence in error


def test_a_coder_says_when_it_is_used_with_another_scorer(fitted, folders, tmp_path):
    coder = ConceptCoder.fit(
        fitted.scores.select([c.note.note_id for c in fitted.train]),
        fitted.train,
        fitted.coder.concepts,
        **fitted.arguments,
        scorer_settings={"scorer": "vllm", "max_length": 400},
    )
    coder.save_pretrained(tmp_path / "coder")
    back = ConceptCoder.from_pretrained(tmp_path / "coder")
    assert back.scorer_settings["scorer"] == "vllm"
    assert back.scorer_mismatch is None
    packed = back.with_scorer("packed")
    with pytest.warns(ScorerMismatch, match="fitted on scores of the vllm scorer and it is used with packed"):
        result = packed.code(fitted.test[0].note)
    assert result.versions["scorer"] == "packed, not that of the fit"
    assert packed.scorer.tokens.max_length == 400
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "scorer" not in fitted.coder.with_scorer("packed").code(fitted.test[0].note).versions


def test_a_coder_codes_in_the_precision_of_its_fit_and_says_when_it_does_not(fitted, tmp_path, capsys):
    coder = ConceptCoder.fit(
        fitted.scores.select([c.note.note_id for c in fitted.train]),
        fitted.train,
        fitted.coder.concepts,
        **fitted.arguments,
        scorer_settings={"scorer": "packed", "dtype": "bfloat16"},
    )
    coder.save_pretrained(tmp_path / "coder")
    back = ConceptCoder.from_pretrained(tmp_path / "coder")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = back.code(fitted.test[0].note)
    assert back.scorer.model.dtype == torch.bfloat16
    assert "scorer" not in same.versions
    full = back.with_scorer("packed", dtype="float32")
    sentence = "scores of the packed scorer in bfloat16 and it is used with packed in float32"
    with pytest.warns(ScorerMismatch, match=sentence):
        assert full.code(fitted.test[0].note).versions["scorer"] == "packed in float32, not that of the fit"
    (tmp_path / "note.txt").write_text("Cough and fever.")
    command = ["code", str(tmp_path / "note.txt"), "--coder", str(tmp_path / "coder"), "--json", "--dtype", "float32"]
    assert main(command) == 0
    lines = capsys.readouterr().err.strip().splitlines()
    assert sum("check-parity --scorers packed packed --dtype bfloat16 float32" in line for line in lines) == 1
    assert main([*command, "--scorer", "server"]) == 2
    assert "--dtype is not of --scorer server" in capsys.readouterr().err


def test_a_coder_of_full_precision_is_not_scored_in_another_by_default(fitted):
    """Whatever the device would take by itself."""
    half = fitted.coder.with_scorer("packed", dtype="bfloat16")
    assert "used with packed in bfloat16" in half.scorer_mismatch
    assert fitted.coder.with_scorer("packed").scorer_mismatch is None
    assert fitted.coder.with_scorer("packed").scorer.model.dtype == torch.float32
    assert "--dtype" not in fitted.coder.with_scorer("server", url="http://127.0.0.1:9").scorer_mismatch


def test_code_names_the_mismatch_in_one_line(fitted, tmp_path, capsys):
    coder = ConceptCoder.fit(
        fitted.scores.select([c.note.note_id for c in fitted.train]),
        fitted.train,
        fitted.coder.concepts,
        **fitted.arguments,
        scorer_settings={"scorer": "vllm"},
    )
    coder.save_pretrained(tmp_path / "coder")
    (tmp_path / "note.txt").write_text("Cough and fever.")
    command = ["code", str(tmp_path / "note.txt"), "--coder", str(tmp_path / "coder"), "--json"]
    assert main([*command, "--scorer", "packed"]) == 0
    lines = capsys.readouterr().err.strip().splitlines()
    assert sum("check-parity --scorers vllm packed" in line for line in lines) == 1
    assert main([*command, "--scorer", "packed", "--server-url", "http://127.0.0.1:9"]) == 2
    assert "are of --scorer server" in capsys.readouterr().err
