"""`fit` reads what `prepare`, `finetune` and `score` wrote; here their folders are written by the same functions."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from concept_icd.artifacts import read_manifest, write_json, write_manifest
from concept_icd.cli.main import main
from concept_icd.coder.coder import ConceptCoder
from concept_icd.corpora import save_corpus
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.ontology.nchs import lists_and_indexes
from concept_icd.scoring.adapters import score_corpus
from concept_icd.scoring.specs import ADAPTER, CONCEPTS, FOLDS, PROMPT


@pytest.fixture(scope="module")
def runs(fitted, llama, llama_adapter, tmp_path_factory) -> Path:
    """corpus/, tuned/ and scores/ of the fitted coder's notes; two test notes are in the corpus and in the scores."""
    root = tmp_path_factory.mktemp("runs")
    notes = [*fitted.train, *fitted.test[:2]]
    save_corpus(root / "corpus", notes)
    (root / "tuned").mkdir()
    fitted.coder.concepts.save(root / "tuned" / CONCEPTS)
    PromptTemplate.load().save(root / "tuned" / PROMPT)
    shutil.copytree(llama_adapter, root / "tuned" / ADAPTER)
    write_json(root / "tuned" / FOLDS, {})  # the adapter is random: it has seen no note
    config = {"model_name_or_path": str(llama), "load_in_4bit": False}
    write_manifest(root / "tuned", "finetune", inputs={}, config=config, seed=0, seconds=0.0, seen=[])
    score_corpus([coded.note for coded in notes], root / "tuned", root / "scores")
    return root


def fit(runs: Path, out: Path, *more: str) -> int:
    folders = [part for name in ("corpus", "scores") for part in (f"--{name}", str(runs / name))]
    return main(["fit", *folders, "--out", str(out), *more])


def test_the_folders_of_the_stages_become_a_coder(fitted, runs, tmp_path, capsys):
    assert fit(runs, tmp_path / "coder") == 0
    out = capsys.readouterr().out
    assert "micro-F1" in out
    assert "ranked by" in out
    coder = ConceptCoder.from_pretrained(tmp_path / "coder")
    assert coder.heads.ranker.frequency.sum() == sum(len(coded.codes) for coded in fitted.train)  # train alone
    assert coder.heads.threshold.source == "5-fold cross-validation on 80 notes, micro-F1"
    manifest = read_manifest(tmp_path / "coder", "fit")
    assert manifest["inputs"]["concepts"] == fitted.coder.concepts.hash
    assert manifest["config"]["features"] == "auto"
    text = "Cough and fever."
    ours, theirs = coder.code(text), fitted.coder.code(text)
    assert [c.code for c in ours.codes] == [c.code for c in theirs.codes]
    assert [c.probability for c in ours.codes] == pytest.approx([c.probability for c in theirs.codes], abs=1e-3)


def test_an_order_is_learnt_unless_it_is_not_wanted(runs, tmp_path, capsys):
    assert fit(runs, tmp_path / "none", "--order", "none") == 0
    assert "ranked by probability: no billing order was learnt from" in capsys.readouterr().out
    assert fit(runs, tmp_path / "billing", "--order", "billing") == 0
    assert "graded NDCG of diagnoses" in capsys.readouterr().out
    plain, learned = (ConceptCoder.from_pretrained(tmp_path / name) for name in ("none", "billing"))
    assert plain.heads.ranker.learned is plain.lexicon is None
    choice = learned.heads.cross_validation["order"]
    assert {row["loss"] for row in choice["tried"]} == {"plackett-luce", "lambdarank"}
    assert (learned.heads.ranker.learned is None) == (choice["chosen"] == "probability")


def test_gold_of_the_test_split_moves_nothing(fitted, runs, tmp_path):
    other = [dataclasses.replace(coded, diagnoses=("599.0", "780.6")) for coded in fitted.test[:2]]
    save_corpus(tmp_path / "corpus", [*fitted.train, *other])
    for name, corpus in (("one", runs / "corpus"), ("two", tmp_path / "corpus")):
        assert fit(runs, tmp_path / name, "--corpus", str(corpus)) == 0
    one, two = (ConceptCoder.from_pretrained(tmp_path / name) for name in ("one", "two"))
    assert one.hash == two.hash
    assert (tmp_path / "one/heads.safetensors").read_bytes() == (tmp_path / "two/heads.safetensors").read_bytes()


def test_options_reach_the_heads(runs, tmp_path):
    options = ["--features", "path", "--calibration", "none", "--at-least-one", "--folds", "3", "--seed", "4"]
    assert fit(runs, tmp_path / "coder", *options) == 0
    heads = ConceptCoder.from_pretrained(tmp_path / "coder").heads
    assert heads.strength.other == float("inf")
    assert heads.calibration.slope == 1.0
    assert heads.threshold.at_least_one
    assert heads.threshold.source.startswith("3-fold")


def test_scores_that_are_not_out_of_fold_are_refused(fitted, runs, tmp_path, capsys):
    tuned = shutil.copytree(runs / "tuned", tmp_path / "tuned")
    config = read_manifest(tuned)["config"]
    seen = [coded.note.note_id for coded in fitted.train]
    write_manifest(tuned, "finetune", inputs={}, config=config, seed=0, seconds=0.0, seen=seen)
    score_corpus([coded.note for coded in fitted.train], tuned, tmp_path / "scores", in_sample=True)
    inputs = ["--scores", str(tmp_path / "scores")]
    assert fit(runs, tmp_path / "coder", *inputs) == 2
    assert "not out-of-fold" in capsys.readouterr().err
    assert not (tmp_path / "coder").exists()
    assert fit(runs, tmp_path / "coder", *inputs, "--allow-in-sample") == 0
    stamp = ConceptCoder.from_pretrained(tmp_path / "coder").versions["heads_fitted_on"]
    assert stamp == "IN-SAMPLE scores"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--corpus", "{tmp}/none"], "none has no manifest.json"),
        (["--scores", "{tmp}/none"], "none has no manifest.json"),
        (["--scores", "{runs}/tuned"], "was written by `finetune`, not by `score`"),
        (["--adapter", "{runs}/corpus"], "is not a LoRA adapter"),
        (["--split", "dev"], "split dev"),
        (["--folds", "1"], "--folds 1: at least 2"),
        (["--out", "{tmp}"], "exists already"),
    ],
)
def test_wrong_arguments_exit_2_and_leave_nothing(runs, tmp_path, capsys, arguments, sentence):
    assert fit(runs, tmp_path / "coder", *(part.format(tmp=tmp_path, runs=runs) for part in arguments)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert sentence in err
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_that_changed_since_the_scores_is_refused(fitted, runs, tmp_path, capsys):
    tuned = shutil.copytree(runs / "tuned", tmp_path / "tuned")
    score_corpus([coded.note for coded in fitted.train], tuned, tmp_path / "scores")
    weights = tuned / ADAPTER / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-7] ^= 1
    weights.write_bytes(content)
    assert fit(runs, tmp_path / "coder", "--scores", str(tmp_path / "scores")) == 2
    assert "has changed since" in capsys.readouterr().err
    # Named on purpose, another adapter is the user's own decision.
    named = ["--adapter", str(tuned / ADAPTER)]
    assert fit(runs, tmp_path / "coder", "--scores", str(tmp_path / "scores"), *named) == 0


def test_views_are_fitted_with_the_scores_and_read_new_notes(fitted, runs, tmp_path, capsys):
    """From folders to predictions: words and drugs stand beside the concepts."""
    assert fit(runs, tmp_path / "coder", "--experts", "drugs") == 2
    assert "the expert of drugs needs notes with `drugs`" in capsys.readouterr().err
    assert not (tmp_path / "coder").exists()
    given = [("Furosemide 40mg Tab",) if "486" in coded.codes else ("Metformin",) for coded in fitted.train]
    with_drugs = [
        dataclasses.replace(coded, note=dataclasses.replace(coded.note, drugs=drugs))
        for coded, drugs in zip(fitted.train, given, strict=True)
    ]
    save_corpus(tmp_path / "corpus", with_drugs)
    (tmp_path / "small.yaml").write_text("hidden: 1\nunits: 16\nepochs: 5\nlearning_rate: 0.01\n")
    options = ["--corpus", str(tmp_path / "corpus"), "--drug-strategy", str(tmp_path / "small.yaml"), "--folds", "3"]
    assert fit(runs, tmp_path / "coder", "--experts", "words", "drugs", *options) == 0
    coder = ConceptCoder.from_pretrained(tmp_path / "coder")
    assert [expert.level for expert in coder.experts] == ["words", "drugs"]
    lines = [
        {"note_id": str(i), "text": "Cough and fever.", "drugs": drugs} for i, drugs in enumerate([[], ["Furosemide"]])
    ]
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "predictions.jsonl"
    asked = ["code", "--corpus", str(tmp_path / "new.jsonl"), "--coder", str(tmp_path / "coder"), "--out", str(out)]
    assert main([*asked, "--concepts", "30"]) == 0
    without, with_one = (
        {code["code"]: code for code in json.loads(line)["codes"]} for line in out.read_text().splitlines()
    )
    assert without["486"]["probability"] != with_one["486"]["probability"]
    said = {concept["key"]: concept["contribution"] for concept in without["486"]["concepts"]}
    assert abs(said["drugs:486"]) < 1e-4  # a note without drugs is as the mean stay
    assert "words:486" in said


def test_terms_are_fitted_from_titles_and_named_files(runs, tmp_path, capsys, shared_data):
    tabular, index = lists_and_indexes(shared_data)
    files = ["--tabular", str(tabular[0]), "--index", str(index[0])]
    assert fit(runs, tmp_path / "coder", "--experts", "words", *files) == 2
    assert "--tabular and --index are read for --experts terms" in capsys.readouterr().err
    assert fit(runs, tmp_path / "coder", "--experts", "terms", "--index", str(tabular[0])) == 2
    assert "does not read as an alphabetic index" in capsys.readouterr().err
    assert fit(runs, tmp_path / "missing", "--experts", "terms", "--tabular", str(tmp_path / "none.zip")) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert fit(runs, tmp_path / "titles", "--experts", "terms") == 0
    assert fit(runs, tmp_path / "coder", "--experts", "terms", *files) == 0
    titles, more = (ConceptCoder.from_pretrained(tmp_path / name).experts[0] for name in ("titles", "coder"))
    assert len(titles.terms) < len(more.terms)
