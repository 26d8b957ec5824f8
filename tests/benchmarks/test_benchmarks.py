"""The benchmark scripts run, small, and say what their figures need."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from concept_icd.resources import resource
from tests.conftest import ROOT


def run(script, *arguments, out):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "benchmarks" / script), *map(str, arguments), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=out.parent, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(out.read_text())
    assert {"command", "date", "machine", "versions"} <= set(result)
    return result


@pytest.mark.slow
def test_each_says_what_it_measures_and_how_to_run_it():
    """In one process, which loads the libraries once."""
    scripts = [path for path in sorted((ROOT / "benchmarks").glob("*.py")) if "__main__" in path.read_text()]
    scripts = [path for path in scripts if path.name != "summary.py"]
    done = subprocess.run([sys.executable, "-c", HELPS, *map(str, scripts)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    helps = json.loads(done.stdout)
    assert len(helps) == len(scripts) >= 30
    for path in scripts:
        assert f"python benchmarks/{path.name}" in helps[path.name], path.name
        assert "--out" in helps[path.name], path.name


HELPS = """
import contextlib, io, json, pathlib, runpy, sys
helps, scripts = {}, sys.argv[1:]
sys.path.insert(0, str(pathlib.Path(scripts[0]).parent))
for script in scripts:
    sys.argv = [script, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")
    helps[pathlib.Path(script).name] = printed.getvalue()
print(json.dumps(helps))
"""


@pytest.mark.slow
def test_packed_scoring(tmp_path):
    sizes = ("--layers", 1, "--note-tokens", 100, "--questions", 12, "--rounds", 2)
    result = run("packed_scoring.py", *sizes, out=tmp_path / "scoring.json")
    for case in result["cases"].values():
        assert case["largest_score_gap"] < 1e-4 < case["score_spread"]
    assert result["peak_bytes_above_weights"]["packed"] > 0


@pytest.mark.slow
def test_the_cost_of_questions(tmp_path):
    sizes = ("--tasks", "--layers", 0, "--note-tokens", 100, "--questions", 6, "--rounds", 1)
    result = run("questions.py", "--data-dir", tmp_path, "--work", tmp_path, *sizes, out=tmp_path / "questions.json")
    styles = result["cost"]["models"]["tiny"]["styles"]
    tokens = {style: row["tokens_a_question"] for style, row in styles.items()}
    assert tokens["sentence"] > tokens["template"] == tokens["title"] + 1 > tokens["learned-4"] == 4
    assert styles["learned-2"]["tokens_over_note"] == 1.12
    assert all(row["seconds_over_note_alone"] > 0 for row in styles.values())


@pytest.mark.slow
def test_the_cost_of_ways_of_asking(tmp_path):
    sizes = (
        "--models",
        "tiny",
        "--folds",
        "--note-tokens",
        100,
        "--concepts",
        5,
        40,
        "--most-tokens",
        100,
        "--rounds",
        1,
    )
    result = run("asking.py", "--data-dir", tmp_path, "--work", tmp_path, *sizes, out=tmp_path / "asking.json")
    ways = result["cost"]["models"]["tiny"]["ways"]
    assert [row["tokens_over_note"] for row in ways["head"].values()] == [1, 1]
    assert [row["tokens_over_note"] for row in ways["learned-2"].values()] == [1.1, 1.8]
    assert ways["template"]["40"]["tokens_over_note"] > 2
    assert ways["template"]["40"]["seconds_over_note_alone"] is None  # more tokens than are timed
    assert all(ways[way]["5"]["seconds_over_note_alone"] > 0 for way in ways)


@pytest.mark.slow
def test_packed_training(tmp_path):
    sizes = ("--layers", 1, "--note-tokens", 60, "--questions", 6, "--rounds", 1)
    result = run("packed_training.py", *sizes, out=tmp_path / "training.json")
    assert result["largest_loss_gap"] < 1e-4
    assert result["pairs_per_second"]["packed"] > 0


@pytest.mark.slow
def test_label_attention(tmp_path):
    sizes = ("--labels", 900, "--tokens", 600, "--width", 32, "--channels", 16, "--rounds", 1)
    result = run("label_attention.py", *sizes, out=tmp_path / "attention.json")
    assert result["largest_relative_gap"] < 1e-4
    assert result["tokens_times_labels_bytes"] == 4 * 900 * 600
    assert set(result["seconds"]) == set(result["peak_bytes_above_weights_and_gradients"]) == {"plain", "blocks"}


@pytest.mark.slow
def test_rivals(shared_data, tmp_path):
    """Rows made one at a time stand side by side; what is made is not made again."""
    where = ("--data-dir", shared_data, "--work", tmp_path / "work", "--limit", 120, "--parts", "cmc2007-0")
    out = tmp_path / "rivals.json"
    run("rivals.py", *where, "--rows", "frequency", "tfidf-svm", out=out)
    result = run("rivals.py", *where, "--rows", "tfidf-svm", "plm-icd", "--options", "--max_steps 2", out=out)
    table = result["tables"]["cmc2007-0"]
    assert table["notes"]["train"] + table["notes"]["test"] == 123
    rows = table["rows"]
    assert list(rows) == ["frequency", "tfidf-svm", "plm-icd"]
    f1 = {name: row["figures"]["micro_f1"] for name, row in rows.items()}
    assert f1["plm-icd"] < f1["tfidf-svm"] > f1["frequency"]  # two steps teach little
    assert rows["frequency"]["minus_svm"]["micro_f1"]["difference"] == pytest.approx(f1["frequency"] - f1["tfidf-svm"])
    assert all(row["cost"]["processor"] > 0 and row["cost"]["peak_gib"] > 0 for row in rows.values())
    assert str(tmp_path) not in out.read_text()


@pytest.mark.slow
def test_heads(tmp_path):
    result = run("heads.py", "--notes", 100, "--test-notes", 20, "--codes", 50, out=tmp_path / "heads.json")
    assert result["concepts"] > result["codes"] == 50
    assert set(result["seconds"]) >= {"fit", "predict", "rank", "save", "load"}
    assert result["peak_bytes_above_scores_and_gold"]["fit"] > 0


@pytest.mark.slow
def test_cmc2007(shared_data, tmp_path):
    """One seed, two folds, three steps an adapter: the whole cross-validation, on a third of the real reports."""
    result = run(
        "cmc2007.py", "--data-dir", shared_data, "--work", tmp_path / "work", "--seeds", 0, "--folds", 2,
        "--rounds", 4, "--limit", 326, "--options", "--max_steps 3 --folds 2", out=tmp_path / "cmc.json",
    )  # fmt: skip
    assert (result["notes"], result["gold_labels"]) == (326, 407)
    figures = {name: row["micro_f1"]["mean"] for name, row in result["systems"].items()}
    assert 0.6 < figures["tfidf_svm"] < 0.9
    assert 0.5 < figures["words_aggregated"] < 0.9
    assert figures["concepts"] < figures["concepts_words"]  # three steps teach an adapter little, a few trees much
    assert 0.4 < figures["terms"] < 0.9
    assert len(figures) == 11
    assert len(set(figures.values())) >= 9
    assert len(result["micro_f1_differences"]) == 55
    assert str(shared_data) not in (tmp_path / "cmc.json").read_text()

    work = ("--work", tmp_path / "work")
    result = run("calibration.py", *work, "--draws", 4, out=tmp_path / "calibration.json")
    ways, systems = result["ways"]["seed-0"], result["systems"]["seed-0"]
    assert (ways["reports"], ways["gold_labels"]) == (326, 407)
    assert len(systems["ways"]) == 11
    # The heads of the pipeline, fitted again here, are those of the folds.
    for figure, found in systems["ways"]["concepts"]["figures"].items():
        assert ways["ways"]["platt"]["figures"][figure]["value"] == pytest.approx(found["value"], rel=1e-9), figure
    assert result["reading_stacked"]["seed-0"]["notes"] == result["reading"]["seed-0"]["notes"] == 326
    assert result["reading_stacked"]["seed-0"]["rows"] != result["reading"]["seed-0"]["rows"]
    assert "<svg" in (tmp_path / "calibration.svg").read_text()
    result = run(
        "familiarity.py", *work, "--data-dir", shared_data, "--most", 4, out=tmp_path / "familiarity.json"
    )  # fmt: skip
    assert sum(result["coded"]["held_out"][name]["notes"] for name in ("unfamiliar", "familiar")) == 326
    assert sum(result["coded_stacked"][name]["notes"] for name in ("unfamiliar", "familiar")) == 326
    assert set(result["folds"]) == {"seed-0-fold-0", "seed-0-fold-1"}


@pytest.mark.slow
def test_ablations(shared_data, tmp_path):
    """Two steps an adapter: each variant stands beside what is shipped."""
    variants = ("no-chapter", "no-pre-training", "self-distilled")
    result = run(
        "ablations.py", "--data-dir", shared_data, "--work", tmp_path / "work", "--limit", 90, "--splits", 2,
        "--variants", *variants, "--open-notes", 6, "--options", "--max_steps 2", out=tmp_path / "ablations.json",
    )  # fmt: skip
    rows = result["variants"]
    assert set(rows) == {"shipped", *variants}
    assert rows["no-chapter"]["concepts"] < rows["shipped"]["concepts"] == rows["self-distilled"]["concepts"]
    assert rows["shipped"]["minus_shipped"]["value"] == 0
    assert len({row["log_loss"] for row in rows.values()}) == 4
    assert str(shared_data) not in (tmp_path / "ablations.json").read_text()


@pytest.mark.slow
def test_levels(shared_data, tmp_path):
    """Two steps an adapter: three ways to decide the same reports; rows that are there stay."""
    words = ("--data-dir", shared_data, "--work", tmp_path / "work", "--options", "--max_steps 2")
    run("levels.py", *words, "--rows", "notes-50", "--seeds", 0, 1, "--limit", 180, out=tmp_path / "levels.json")
    result = run("levels.py", *words, "--rows", "unseen", "--groups", 0, out=tmp_path / "levels.json")
    assert list(result["rows"]) == ["notes-50", "unseen"]
    few, unseen = result["rows"]["notes-50"], result["rows"]["unseen"]
    assert few["notes"] == {"tune": 50, "fit": 50, "decided": [few["notes"]["decided"][0]] * 2}
    assert few["concepts"] > few["codes"]
    for row in (few, unseen):
        for name, found in row["differences"].items():
            a, b = name.split(" minus ")
            for figure, own in found.items():
                gap = row["ways"][a][figure]["value"] - row["ways"][b][figure]["value"]
                assert own["difference"] == pytest.approx(gap, abs=1e-12)
                assert own["low"] <= own["difference"] <= own["high"]
    assert few["ways"]["levels"] != few["ways"]["tuned_with"] != few["ways"]["codes"]
    assert few["ways"]["flat"] != few["ways"]["nested"]
    assert unseen["ways"]["levels"]["macro_auc"]["value"] > 0.6  # never seen, but what they are called is read
    assert str(shared_data) not in (tmp_path / "levels.json").read_text()


@pytest.mark.slow
def test_shipped_coder(tmp_path):
    notes = resource("examples/radiology")
    result = run("shipped_coder.py", "--notes", notes, "--times", 1, out=tmp_path / "shipped.json")
    assert result["batch"]["reports"] == 22
    assert result["batch"]["codes_accepted"] == result["batch_with_evidence"]["codes_accepted"] >= 15
    assert 100 < result["batch"]["peak_mib"] < 4000
    assert result["cold"]["median_seconds"] > 0


@pytest.mark.slow
def test_prediction_tables(tmp_path):
    notes = resource("examples/radiology")
    result = run("prediction_tables.py", "--notes", notes, "--predictions", 1000, out=tmp_path / "tables.json")
    assert result["notes"] == result["csv"]["notes"] == result["parquet"]["notes"] == 23
    assert result["predictions"] == 23 * 45
    assert result["parquet"]["size_mib"] < result["csv"]["size_mib"]
    assert result["code_to_parquet"]["minutes"] > 0


@pytest.mark.slow
def test_evaluation(tmp_path):
    """That every figure is scikit-learn's is checked by the script itself."""
    sizes = ("--notes", 120, "--codes", 80, "--labels-per-note", 6, "--draws", 20)
    result = run("evaluation.py", *sizes, out=tmp_path / "evaluation.json")
    assert all(group["largest_gap"] < 1e-9 for group in result["groups"].values())
    assert result["fewest_draws_of_an_interval"] == 20
    assert result["peak_bytes_above_matrices"] > 0


@pytest.mark.slow
def test_interval_coverage(tmp_path):
    result = run("interval_coverage.py", "--samples", 2, "--draws", 8, out=tmp_path / "coverage.json")
    for name, kind in result["kinds"].items():
        found = kind["ways"]["jackknife"]
        assert len(found) == 22, name
        assert all(row["holds_the_figure"] == 1 for row in found.values()), name
        assert not [figure for figure in found if figure.startswith("ece")]
    sparse = result["kinds"]["2,000 codes, most in one or two notes"]["first_sample"]
    assert sparse["codes_with_one_gold_note"] > sparse["codes_with_gold"] / 3


@pytest.mark.slow
def test_prepare_mimic3(tmp_path):
    pytest.importorskip("duckdb")
    result = run("prepare_mimic3.py", "--stays", 120, "--note-rows", 500, out=tmp_path / "prepare.json")
    for task in result["tasks"].values():
        assert task["note_rows"] == 500
        assert task["stays"] > 60
        assert 0 < task["peak_gib"] < 2


@pytest.mark.slow
def test_ordering_demo_tables(shared_data, tmp_path):
    """Two folds: real orders are learnt from, and frequency is far below."""
    pytest.importorskip("duckdb")
    from concept_icd.corpora.mimic3.prepare import prepare_mimic3

    prepare_mimic3(shared_data / "mimic3_demo", "mimic3-tables", tmp_path / "demo")
    options = ("--corpus", tmp_path / "demo", "--seeds", 0, "--folds", 2)
    result = run("ordering_demo_tables.py", *options, out=tmp_path / "order.json")
    assert (result["stays"], result["patients"], result["diagnoses_a_stay"]) == (129, 100, 13.65)
    systems = result["tasks"]["known codes"]["systems"]
    assert systems["random"]["primary_accuracy"]["mean"] < 0.2
    assert systems["head"]["graded_ndcg_diagnoses"]["mean"] > systems["probability"]["graded_ndcg_diagnoses"]["high"]
    assert all(row["primary_accuracy"]["draws"] == 100 for row in systems.values())


@pytest.mark.slow
def test_ordering_and_its_systems_compared(llama, tmp_path):
    """Both systems on the ordered corpus, small, and `concept-icd compare` on what they left."""
    work = tmp_path / "work"
    words = ("--work", work, "--notes", 40, "--seeds", 0)
    ours = f"--options=--model_name_or_path {llama} --max_steps 2 --folds 0 --holdout 0.5 --levels chapter code"
    result = run("ordering.py", *words, ours, "--ltr-options=--max_steps 2", out=tmp_path / "ordering.json")
    assert {"frequency order", "probability order", "ranking head", "LTR-ICD (tiny)"} < set(result["systems"])
    head, probability = (result["systems"][name] for name in ("ranking head", "probability order"))
    assert head["micro_f1"] == probability["micro_f1"]  # the head changes the order alone
    assert result["differences"]["ranking head minus LTR-ICD (tiny)"]["primary_accuracy"]["low"] <= 1
    seed = work / "seed-0"
    command = [sys.executable, "-m", "concept_icd.cli.main", "compare", f"ours={seed / 'concepts'}"]
    command += [f"ltr-icd={seed / 'ltr' / 'predictions.jsonl'}", "--gold", str(seed / "corpus"), "--draws", "50"]
    done = subprocess.run([*command, "--out", str(tmp_path / "compare")], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    compared = json.loads((tmp_path / "compare" / "compare.json").read_text())
    ours_there = next(system for system in compared["systems"] if system["name"] == "ours")
    assert ours_there["figures"]["primary_accuracy"] == pytest.approx(head["primary_accuracy"]["mean"])
    page = (tmp_path / "compare" / "compare.html").read_text()
    assert "Gain, diagnoses" in page
    assert "ltr-icd" in page


@pytest.mark.slow
def test_ranking_speed(tmp_path):
    sizes = ("--notes", 60, "--training-notes", 120, "--codes", 20, "--rounds", 1)
    result = run("ranking_speed.py", *sizes, out=tmp_path / "speed.json")
    assert (result["notes"], result["codes"]) == (60, 20)
    assert set(result["seconds"]) >= {"fit", "find text features", "rank", "rank without text"}
    assert result["features"] > 30


@pytest.mark.slow
def test_ranking_head(tmp_path):
    result = run("ranking_head.py", "--notes", 200, "--codes", 30, "--seeds", 0, out=tmp_path / "head.json")
    accuracy = {name: row["primary_accuracy"]["mean"] for name, row in result["systems"].items()}
    assert accuracy["head"] > accuracy["by_probability"] + 0.1
    assert ("lightgbm" in accuracy) == (importlib.util.find_spec("lightgbm") is not None)


@pytest.mark.slow
def test_codiesp(shared_data, tmp_path):
    """The rare labels, few training steps: each system decides once on the same test cases."""
    work, corpus = tmp_path / "work", tmp_path / "work" / "codiesp9-rare50"
    words = ("--data-dir", shared_data, "--work", work, "--tasks", "codiesp9-rare50", "--label-attention-epochs", 0.1)
    words = (*words, "--systems", "concepts", "label_attention", "frequency")
    result = run("codiesp.py", *words, "--tuning-options=--max_steps 2", out=tmp_path / "first.json")
    found = result["tasks"]["codiesp9-rare50"]
    assert (found["labels"], found["notes"]) == (50, {"train": 198, "dev": 124, "test": 140})
    assert {system["figures"]["micro_f1"] > 0 for system in found["systems"].values()} == {True}
    difference = found["differences"]["concept pipeline, tiny model minus frequency"]["micro_f1"]
    assert difference["low"] <= difference["difference"] <= difference["high"]
    assert str(shared_data) not in (tmp_path / "first.json").read_text()
    made = {path.name: path.stat().st_mtime_ns for path in corpus.glob("*.npz")}
    again = run("codiesp.py", *words, "--tuning-options=--max_steps 2", out=tmp_path / "second.json")
    assert made == {path.name: path.stat().st_mtime_ns for path in corpus.glob("*.npz")}
    assert {**again["tasks"]["codiesp9-rare50"], "command": found["command"]} == found
