"""Every task from raw tables to results.json with a tiny random model, and the guards against leaks on every task.

The guards are those of the design: no prediction moves with the gold of the test notes; no scorer takes a coded note;
heads refuse scores of notes that the adapter was tuned on; the oracle bound is a row of its own.
"""

from __future__ import annotations

import dataclasses
import html
import json
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from concept_icd.artifacts import read_json
from concept_icd.coder.coder import ConceptCoder
from concept_icd.coder.evaluation import DUMMY, ORACLE, evaluate_coder
from concept_icd.corpora import load_corpus, save_corpus
from concept_icd.corpora.mimic3.prepare import prepare_mimic3
from concept_icd.corpora.mimic3.synthetic.tables import write_synthetic_mimic3
from concept_icd.corpora.mimic3.tasks import TASKS
from concept_icd.errors import InputError
from concept_icd.pipeline import fit_coder, run_pipeline
from concept_icd.scoring.adapters import score_corpus
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.store import load_scores

WITH_NOTES = [name for name in TASKS if name != "mimic3-tables"]
#: Few steps and few questions: what is learnt does not matter here.
OPTIONS = ["--max_steps", "2", "--per_device_train_batch_size", "2", "--negative_share", "0.05"]
OPTIONS += ["--folds", "0", "--holdout", "0.4", "--levels", "chapter", "code", "--note_text", "sections"]


@dataclass(frozen=True)
class Whole:
    """One task, prepared and run."""

    task: str
    prepared: Path
    run: Path

    @property
    def results(self) -> dict:
        return read_json(self.run / "evaluation" / "results.json")


@pytest.fixture(scope="module", params=WITH_NOTES)
def whole(request, llama, tmp_path_factory) -> Whole:
    out = tmp_path_factory.mktemp(request.param)
    mimic = out / "tables"
    # Every stay adds labels to the full sets, and every label a question; the rare codes need stays.
    write_synthetic_mimic3(mimic, 70 if "full" in request.param else 200, seed=3, note_rows=300, summary_length=600)
    prepare_mimic3(mimic, request.param, out / "prepared", splits_dir=mimic / "splits")
    run_pipeline(out / "prepared", out / "run", ["--model_name_or_path", str(llama), *OPTIONS], title=request.param)
    return Whole(request.param, out / "prepared", out / "run")


def predictions(run: Path) -> list[dict]:
    """What was predicted, without what names the run."""
    lines = (run / "evaluation" / "predictions.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "versions"} for line in lines]


def with_permuted_test_gold(prepared: Path, folder: Path) -> Path:
    """The same corpus, but the test notes have each other's gold codes."""
    corpus = load_corpus(prepared)
    test = [number for number, note in enumerate(corpus.notes) if note.split == "test"]
    shuffled = random.Random(1).sample(test, len(test))
    notes = list(corpus.notes)
    for to, source in zip(test, shuffled, strict=True):
        gold = {"diagnoses": corpus.notes[source].diagnoses, "procedures": corpus.notes[source].procedures}
        notes[to] = dataclasses.replace(notes[to], **gold)
    assert sum(note.codes != other.codes for note, other in zip(notes, corpus.notes, strict=True)) > len(test) // 3
    save_corpus(folder, notes, label_set=corpus.label_set, aliases=corpus.aliases, task=corpus.task)
    return folder


@pytest.mark.slow
def test_results_are_over_the_labels_of_the_task(whole):
    corpus, results = load_corpus(whole.prepared), whole.results
    assert [row["code"] for row in results["codes"]] == list(corpus.label_set)
    assert corpus.task == whole.task
    if TASKS[whole.task].codes is not None:
        assert set(corpus.label_set) == set(TASKS[whole.task].codes)
    assert results["counts"]["notes"] == len(corpus.split("test"))
    assert results["resampled"] == "patients"
    assert {"macro_f1", "macro_f1_caml", "micro_f1", "precision_at_5", "precision_ceiling_at_5"} <= set(
        results["figures"]
    )
    assert "cross-validation" in results["threshold_source"]
    assert len(predictions(whole.run)) == results["counts"]["notes"]


@pytest.mark.slow
def test_a_small_benchmark_is_not_set_beside_published_rows(whole):
    published = whole.results["extra"]["published"]
    assert published["rows"] == []
    assert published["refusal"]


@pytest.mark.slow
def test_no_prediction_moves_with_the_gold_of_the_test_notes(whole, llama, tmp_path):
    permuted = with_permuted_test_gold(whole.prepared, tmp_path / "prepared")
    words = ["--model_name_or_path", str(llama), *OPTIONS]
    run_pipeline(permuted, tmp_path / "run", words, title=whole.task)
    assert predictions(tmp_path / "run") == predictions(whole.run)
    for file in ("heads.json", "heads.safetensors", "concepts.json"):
        assert (tmp_path / "run" / "coder" / file).read_bytes() == (whole.run / "coder" / file).read_bytes()
    again = read_json(tmp_path / "run" / "evaluation" / "results.json")
    assert again["figures"]["map"] != whole.results["figures"]["map"]  # the gold did move


@pytest.mark.slow
def test_no_scorer_takes_a_coded_note(whole, tmp_path):
    coder = ConceptCoder.from_pretrained(whole.run / "coder")
    coded = load_corpus(whole.prepared).split("test")[:2]
    for take in (
        lambda: coder.scorer.score(coded, coder.concepts),
        lambda: score_corpus(coded, whole.run / "tuned", tmp_path / "scores"),
        lambda: list(coder.code_batch(coded)),
    ):
        with pytest.raises(TypeError, match="gold codes must not reach it"):
            take()
    assert PackedScorer.score.__annotations__["notes"] == "Sequence[Note]"
    assert not (tmp_path / "scores").exists()


@pytest.mark.slow
def test_heads_refuse_in_sample_scores_and_a_flag_stamps_the_result(whole, tmp_path):
    corpus = load_corpus(whole.prepared)
    seen = set(read_json(whole.run / "tuned" / "manifest.json")["seen"])
    training = [note.note for note in corpus.split("train") if note.note.note_id in seen][:15]
    with pytest.raises(InputError, match="were seen by every adapter"):
        score_corpus(training, whole.run / "tuned", tmp_path / "refused")
    notes = training + [note.note for note in corpus.split("test")][:3]
    score_corpus(notes, whole.run / "tuned", tmp_path / "scores", in_sample=True)
    with pytest.raises(InputError, match="not out-of-fold"):
        fit_coder(tmp_path / "scores", corpus.notes, "train")
    coder = fit_coder(tmp_path / "scores", corpus.notes, "train", allow_in_sample=True)
    scores = load_scores(tmp_path / "scores")
    results = evaluate_coder(coder, scores, corpus, tmp_path / "evaluation", title="in-sample")
    assert results.stamps
    assert "IN-SAMPLE" in json.dumps(read_json(tmp_path / "evaluation" / "results.json")["stamps"])
    assert results.stamps[0] in html.unescape((tmp_path / "evaluation" / "report.html").read_text())
    assert whole.results["stamps"] == []


@pytest.mark.slow
def test_the_oracle_bound_is_a_row_of_its_own(whole):
    systems = whole.results["extra"]["systems"]
    assert {DUMMY, ORACLE} <= set(systems)
    assert systems[ORACLE]["micro_auc"] > whole.results["figures"]["micro_auc"]
