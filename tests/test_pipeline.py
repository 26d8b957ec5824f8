"""The whole pipeline on a random model: each stage once, none twice, and no gold of a test note in a prediction."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from concept_icd.artifacts import read_json
from concept_icd.coder.coder import ConceptCoder
from concept_icd.corpora import load_corpus, read_jsonl, synthetic_notes
from concept_icd.errors import InputError
from concept_icd.pipeline import run_pipeline, with_test_split
from concept_icd.records import CodedNote, Note
from concept_icd.scoring.store import load_scores
from tests.conftest import ROOT

STAGES = ("corpus", "tuned", "scores", "coder", "evaluation")


def some_notes() -> list[CodedNote]:
    """120 synthetic notes, cut so that the random model reads them whole, with the codes that occur ten times."""
    notes = synthetic_notes(notes=120, seed=1)
    count = {code: sum(code in note.codes for note in notes) for note in notes for code in note.codes}
    common = sorted(code for code, times in count.items() if times >= 10)
    return [
        dataclasses.replace(
            coded,
            note=dataclasses.replace(coded.note, text=coded.note.text[-600:]),
            diagnoses=tuple(code for code in coded.diagnoses if code in common) or (common[0],),
            procedures=tuple(code for code in coded.procedures if code in common),
            split="train" if coded.split == "dev" else coded.split,
        )
        for coded in notes
    ]


def options(model: Path) -> list[str]:
    words = (
        f"--model_name_or_path {model} --max_steps 3 --folds 2 --levels chapter code --per_device_train_batch_size 4"
    )
    return words.split()


def write_jsonl(path: Path, notes: list[CodedNote]) -> Path:
    with path.open("w") as file:
        for coded in notes:
            record = {"note_id": coded.note.note_id, "text": coded.note.text, "patient_id": coded.note.patient_id}
            record |= {"diagnoses": coded.diagnoses, "procedures": coded.procedures, "split": coded.split}
            file.write(json.dumps(record) + "\n")
    return path


def moments(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def predictions(folder: Path) -> list[dict]:
    """What was predicted, without what names the run."""
    lines = (folder / "evaluation" / "predictions.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "versions"} for line in lines]


@pytest.fixture(scope="module")
def whole(llama, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("pipeline") / "run"
    run_pipeline(some_notes(), out, options(llama), title="A test")
    return out


@pytest.mark.slow
def test_every_stage_leaves_its_folder_and_the_last_one_the_report(whole):
    assert {path.name for path in whole.iterdir()} == set(STAGES)
    test = [coded for coded in load_corpus(whole / "corpus").notes if coded.split == "test"]
    results = read_json(whole / "evaluation" / "results.json")
    assert results["counts"]["notes"] == len(test) > 5
    assert 0 < results["figures"]["micro_f1"] < 1
    assert results["intervals"]["micro_f1"]["low"] <= results["figures"]["micro_f1"]
    assert "cross-validation" in results["threshold_source"]
    page = (whole / "evaluation" / "report.html").read_text()
    assert "A test" in page
    assert not any(coded.note.text[:200] in page for coded in test)
    coder = ConceptCoder.from_pretrained(whole / "coder")
    coded_again = {result.note_id: result for result in coder.code_batch([coded.note for coded in test[:3]])}
    for record in predictions(whole):
        assert len(record["codes"]) == len(coder.concepts.codes)
        if again := coded_again.get(record["note_id"]):
            probabilities = {code.code: code.probability for code in again.codes}
            assert {code["code"]: code["probability"] for code in record["codes"]} == pytest.approx(
                probabilities, abs=1e-4
            )


@pytest.mark.slow
def test_a_second_call_does_nothing_and_says_so(whole, llama, capsys):
    before = moments(whole)
    report = run_pipeline(some_notes(), whole, options(llama), title="Another title")
    assert report == whole / "evaluation" / "report.html"
    assert moments(whole) == before
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("] ")[1] for line in lines] == [f"complete: {whole / stage}" for stage in STAGES]


@pytest.mark.slow
def test_gold_of_the_test_notes_moves_no_prediction_but_the_figures(whole, llama, tmp_path):
    notes = some_notes()
    test = [number for number, coded in enumerate(notes) if coded.split == "test"]
    shuffled = random.Random(0).sample(test, len(test))
    permuted = list(notes)
    for to, source in zip(test, shuffled, strict=True):
        gold = {"diagnoses": notes[source].diagnoses, "procedures": notes[source].procedures}
        permuted[to] = dataclasses.replace(notes[to], **gold)
    assert sum(permuted[i].codes != notes[i].codes for i in test) > len(test) // 2
    run_pipeline(permuted, tmp_path / "run", options(llama), title="A test")
    assert predictions(tmp_path / "run") == predictions(whole)
    for file in ("heads.json", "heads.safetensors", "concepts.json"):
        assert (tmp_path / "run" / "coder" / file).read_bytes() == (whole / "coder" / file).read_bytes()
    figures = [read_json(run / "evaluation" / "results.json")["figures"] for run in (whole, tmp_path / "run")]
    assert figures[0]["micro_f1"] != figures[1]["micro_f1"]
    assert figures[0]["map"] != figures[1]["map"]


@pytest.mark.slow
def test_killed_in_any_stage_the_same_command_ends_as_an_unbroken_run(whole, llama, tmp_path):
    corpus, out = write_jsonl(tmp_path / "notes.jsonl", some_notes()), tmp_path / "run"
    assert [coded.note for coded in read_jsonl(corpus)] == [
        Note(c.note.note_id, c.note.text, c.note.patient_id) for c in some_notes()
    ]
    (tmp_path / "empty.yaml").write_text("seed: 0\n")
    command = [sys.executable, "-m", "concept_icd.cli.main", "run", "--corpus", str(corpus), "--out", str(out)]
    command += ["--config", str(tmp_path / "empty.yaml"), "--", *options(llama)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for sign in ("corpus/manifest.json", "tuned/fold-0", "scores/scoring.json", "coder/manifest.json"):
        with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as child:
            while child.poll() is None and not (out / sign).exists():
                time.sleep(0.002)
            assert child.poll() is None, child.stderr.read()
            child.send_signal(signal.SIGKILL)
        assert not (out / "evaluation").exists()
    kept = moments(out / "tuned")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert moments(out / "tuned") == kept
    assert f"report: {out / 'evaluation' / 'report.html'}" in done.stdout
    assert [path.name for path in out.iterdir() if path.name not in STAGES] == []
    assert predictions(out) == predictions(whole)


@pytest.mark.slow
def test_other_notes_or_options_are_not_taken_for_these(whole, llama):
    before = moments(whole)
    with pytest.raises(InputError, match="corpus holds other notes or splits"):
        run_pipeline(some_notes()[:-1], whole, options(llama), title="A test")
    with pytest.raises(InputError, match=r"tuned with other options \(lora_r\); name another folder"):
        run_pipeline(some_notes(), whole, [*options(llama), "--lora_r", "4"], title="A test")
    assert moments(whole) == before


def test_without_splits_a_fifth_of_the_patients_is_kept_for_the_test():
    notes = [dataclasses.replace(coded, split=None) for coded in some_notes()]
    split = with_test_split([*notes, CodedNote(Note("uncoded", "no codes"))], seed=0)
    assert [coded.note for coded in split] == [coded.note for coded in notes]
    test = {coded.note.patient_id for coded in split if coded.split == "test"}
    assert not test & {coded.note.patient_id for coded in split if coded.split == "train"}
    assert sum(coded.split == "test" for coded in split) == pytest.approx(24, abs=4)
    assert with_test_split(notes, seed=0) == split
    assert with_test_split(notes, seed=1) != split
    assert [c.split for c in with_test_split(some_notes(), seed=0)] == [c.split for c in some_notes()]


def test_notes_without_codes_teach_nothing(llama, tmp_path):
    with pytest.raises(InputError, match="none of the notes has codes"):
        run_pipeline([CodedNote(Note("a", "cough"))], tmp_path / "run", options(llama), title="t")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_one_adapter_that_saw_all_training_notes_has_its_heads_from_dev_notes(llama, tmp_path):
    notes = some_notes()
    with pytest.raises(InputError, match="set folds or holdout, or name dev notes"):
        run_pipeline(notes, tmp_path / "none", [*options(llama), "--folds", "0"], title="A test")
    held = {coded.note.patient_id for coded in notes if coded.split == "train"}
    dev = set(sorted(held, key=str)[::4])
    notes = [dataclasses.replace(n, split="dev") if n.note.patient_id in dev else n for n in notes]
    run_pipeline(notes, tmp_path / "run", [*options(llama), "--folds", "0"], title="A test")
    corpus, scores = load_corpus(tmp_path / "run" / "corpus"), load_scores(tmp_path / "run" / "scores")
    assert set(scores.note_ids) == {n.note.note_id for split in ("dev", "test") for n in corpus.split(split)}
    source = read_json(tmp_path / "run" / "evaluation" / "results.json")["threshold_source"]
    assert f"cross-validation on {len(corpus.split('dev'))} notes" in source
