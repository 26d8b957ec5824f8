"""Measuring a coder: over the label set of a benchmark, with spoilt labels, beside a dummy and the oracle bound."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from concept_icd.artifacts import read_json
from concept_icd.coder.coder import ConceptCoder
from concept_icd.coder.evaluation import BY_PROBABILITY, DUMMY, ORACLE, evaluate_coder
from concept_icd.corpora import load_corpus, save_corpus
from concept_icd.errors import InputError
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.pipeline import run_pipeline
from concept_icd.records import CodedNote, Note
from concept_icd.scoring.store import load_scores
from tests.test_pipeline import options, some_notes

#: A label that no training note has: as published benchmarks have them.
UNSEEN = "V65.3"
SPOILT, MEANT = "40.7", "04.07"


def benchmark(folder: Path) -> Path:
    """A prepared corpus with its own label set, in which one procedure is spelled as a spoilt label."""
    notes = [
        dataclasses.replace(
            coded, diagnoses=coded.diagnoses, procedures=(SPOILT,) if "427.31" in coded.codes else coded.procedures
        )
        for coded in some_notes()
    ]
    labels = sorted({code for note in notes for code in note.codes} | {UNSEEN})
    save_corpus(folder, notes, label_set=labels, aliases={SPOILT: MEANT}, task="a-benchmark")
    return folder


@pytest.fixture(scope="module")
def run(llama, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("benchmark")
    words = [*options(llama), "--folds", "0", "--holdout", "0.3"]
    run_pipeline(benchmark(out / "prepared"), out / "run", words, title="A benchmark")
    return out


@pytest.mark.slow
def test_the_label_set_of_the_corpus_is_measured_on_also_where_the_coder_knows_no_such_code(run):
    corpus = load_corpus(run / "prepared")
    results = read_json(run / "run" / "evaluation" / "results.json")
    assert [row["code"] for row in results["codes"]] == list(corpus.label_set)
    coder = ConceptCoder.from_pretrained(run / "run" / "coder")
    assert UNSEEN not in coder.concepts.codes
    unseen = next(row for row in results["codes"] if row["code"] == UNSEEN)
    assert (unseen["train_count"], unseen["tp"], unseen["fp"]) == (0, 0, 0)
    assert "1 of them in no training note" in results["label_set"]
    assert not (run / "run" / "corpus").exists()  # a prepared corpus is read where it lies


@pytest.mark.slow
def test_a_spoilt_label_keeps_its_spelling_and_asks_what_it_means(run):
    concepts = ConceptSet.load(run / "run" / "coder" / "concepts.json")
    assert concepts.aliases == {SPOILT: MEANT}
    asked = concepts.concepts[concepts.index(f"code:{SPOILT}")]
    assert asked.text == "Other excision or avulsion of cranial and peripheral nerves"
    line = json.loads((run / "run" / "evaluation" / "predictions.jsonl").read_text().splitlines()[0])
    assert next(code["kind"] for code in line["codes"] if code["code"] == SPOILT) == "procedure"


@pytest.mark.slow
def test_with_a_holdout_only_notes_that_the_adapter_did_not_see_are_scored(run):
    seen = set(read_json(run / "run" / "tuned" / "manifest.json")["seen"])
    scores = load_scores(run / "run" / "scores")
    assert seen
    assert not seen & set(scores.note_ids)
    assert scores.out_of_fold
    split = {note.note.note_id: note.split for note in load_corpus(run / "prepared").notes}
    assert {split[note_id] for note_id in scores.note_ids} == {"train", "test"}


@pytest.mark.slow
def test_the_oracle_bound_and_the_dummy_have_rows_of_their_own(run):
    results = read_json(run / "run" / "evaluation" / "results.json")
    systems = results["extra"]["systems"]
    assert set(systems) == {DUMMY, ORACLE, BY_PROBABILITY}
    same = ("micro_f1", "micro_auc")  # an order changes neither decisions nor probabilities
    assert [systems[BY_PROBABILITY][name] for name in same] == [results["figures"][name] for name in same]
    # Gold answers to the ancestors' questions tell most codes; a random model's answers do not.
    assert systems[ORACLE]["micro_f1"] > results["figures"]["micro_f1"] + 0.2
    assert systems[ORACLE]["micro_auc"] > 0.9
    page = (run / "run" / "evaluation" / "report.html").read_text()
    assert "oracle concepts" in page
    assert "a bound, not a result" in page


@pytest.mark.slow
def test_the_billing_order_is_measured_beside_the_dummys(run):
    results = read_json(run / "run" / "evaluation" / "results.json")
    dummy = results["extra"]["systems"][DUMMY]
    for name in ("primary_accuracy", "graded_ndcg_diagnoses", "primary_mrr"):
        assert 0 <= results["figures"][name] <= 1
        assert 0 <= dummy[name] <= 1
        assert results["intervals"][name]["draws"] == results["counts"]["patients"]
    corpus = load_corpus(run / "prepared")
    assert results["figures"]["primary_notes"] == sum(bool(note.diagnoses) for note in corpus.split("test"))
    assert results["curves"]["gain"]["diagnoses"].keys() == {"these predictions", DUMMY, "the billing order itself"}


@pytest.mark.slow
def test_gold_by_vote_has_no_billing_order(run, tmp_path):
    coder, corpus = ConceptCoder.from_pretrained(run / "run" / "coder"), load_corpus(run / "prepared")
    voted = tuple(dataclasses.replace(note, annotations={"company": note.codes}) for note in corpus.notes)
    corpus = dataclasses.replace(corpus, notes=voted)
    found = evaluate_coder(coder, load_scores(run / "run" / "scores"), corpus, tmp_path / "e", title="t")
    assert "map" in found.figures
    assert "primary_accuracy" not in found.figures
    assert "primary_accuracy" not in found.extra["systems"][DUMMY]


@pytest.mark.slow
def test_a_run_can_be_compared(run, tmp_path):
    from concept_icd.cli.main import main

    own, other = run / "run", tmp_path / "turned.jsonl"
    lines = [json.loads(line) for line in (own / "evaluation" / "predictions.jsonl").read_text().splitlines()]
    for line in lines:
        for entry in line["codes"]:
            entry["rank"] = len(line["codes"]) + 1 - entry["rank"]
    other.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "out"
    words = ["compare", str(own), f"turned={other}", "--gold", str(run / "prepared"), "--out", str(out)]
    assert main([*words, "--draws", "50"]) == 0
    found, results = read_json(out / "compare.json"), read_json(own / "evaluation" / "results.json")
    assert [row["name"] for row in found["systems"]][1:] == ["turned", DUMMY]
    for name in ("micro_f1", "micro_auc", "primary_accuracy"):
        assert found["systems"][0]["figures"][name] == pytest.approx(results["figures"][name]), name
        assert found["systems"][2]["figures"][name] == pytest.approx(results["extra"]["systems"][DUMMY][name]), name
    difference = found["differences"]["turned"]
    assert difference["micro_f1"]["difference"] == difference["micro_auc"]["difference"] == 0
    assert difference["graded_ndcg_diagnoses"]["difference"] != 0


@pytest.mark.slow
def test_how_far_to_read_is_the_same_from_the_predictions(run, tmp_path):
    from concept_icd.cli.main import main

    predictions = run / "run" / "evaluation" / "predictions.jsonl"
    words = ["--predictions", str(predictions), "--gold", str(run / "prepared"), "--out", str(tmp_path / "out")]
    assert main(["evaluate", *words, "--draws", "1000"]) == 0
    own, again = (read_json(f / "results.json") for f in (run / "run" / "evaluation", tmp_path / "out"))
    assert own["curves"]["reading_from"] == again["curves"]["reading_from"]
    assert "came with the predictions" in again["curves"]["reading_from"]
    assert [row["asked"] for row in own["curves"]["reading"]] == [0.5, 0.75, 0.8, 0.9, 0.95]
    for one, other in zip(own["curves"]["reading"], again["curves"]["reading"], strict=True):
        for name in ("notes", "depth", "median_depth", "expected", "recall", "errors", "reached", "fixed_depth"):
            assert one[name] == pytest.approx(other[name]), name
        assert one["recall_interval"] == pytest.approx(other["recall_interval"])
    first = [json.loads(line)["read_first"] for line in predictions.read_text().splitlines()]
    with_gold = {note.note.note_id for note in load_corpus(run / "prepared").split("test") if note.codes}
    assert len(with_gold) == len(first)  # the mean is one over all of them
    assert own["figures"]["reading_depth_at_90"] == pytest.approx(sum(first) / len(first))


@pytest.mark.slow
def test_the_benchmark_of_reading_takes_the_folders_of_a_run(run, tmp_path):
    from tests.benchmarks.test_benchmarks import run as run_benchmark

    (tmp_path / "fold").mkdir()
    (tmp_path / "fold" / "prepared").symlink_to(run / "prepared")
    (tmp_path / "fold" / "scores").symlink_to(run / "run" / "scores")
    found = run_benchmark("reading.py", "--set", "here", tmp_path / "fold", tmp_path / "fold", out=tmp_path / "r.json")
    pooled = found["sets"]["here"]
    results = read_json(run / "run" / "evaluation" / "results.json")
    assert pooled["notes_with_gold"] == 2 * results["counts"]["notes_with_gold"]  # the same fold twice
    rows = {row["asked"]: row for row in pooled["ways"]["fitted"]}
    for asked, row in zip(rows, results["curves"]["reading"], strict=True):
        for name in ("depth", "expected", "recall", "reached", "errors"):
            assert rows[asked][name] == pytest.approx(row[name]), name
    assert set(pooled["fitted_less_other_ways"]) == set(pooled["ways"]) - {"fitted"}


@pytest.mark.slow
def test_a_split_without_scored_notes_is_refused(run, tmp_path):
    coder, corpus = ConceptCoder.from_pretrained(run / "run" / "coder"), load_corpus(run / "prepared")
    with pytest.raises(InputError, match="no scored note belongs to the split 'dev'"):
        evaluate_coder(coder, load_scores(run / "run" / "scores"), corpus, tmp_path / "e", title="t", split="dev")


def test_tables_without_text_are_refused_before_any_work(llama, tmp_path):
    save_corpus(tmp_path / "tables", [CodedNote(Note("1", ""), ("486",), split=s) for s in ("train", "test")])
    with pytest.raises(InputError, match="have no text"):
        run_pipeline(tmp_path / "tables", tmp_path / "run", options(llama), title="t")
    assert not (tmp_path / "run").exists()


def test_a_benchmark_without_test_notes_is_not_split_anew(llama, tmp_path):
    notes = [dataclasses.replace(note, split="train") for note in some_notes()[:9]]
    save_corpus(tmp_path / "train", notes, label_set=["486"], task="a-benchmark")
    with pytest.raises(InputError, match="fixes its label set but lacks coded notes to train on or to test on"):
        run_pipeline(tmp_path / "train", tmp_path / "run", options(llama), title="t")
