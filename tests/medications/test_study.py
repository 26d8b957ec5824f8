"""The study from tables to results and a page: every strategy, resumed, on generated stays and on the open demo."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from concept_icd.cli.main import main
from concept_icd.medications.folder import save_stays
from concept_icd.medications.strategy import shipped_strategies
from concept_icd.medications.study.figures import TARGET_METRICS
from concept_icd.medications.study.page import render_study
from tests.corpora.mimic3.hand_made import write_tables
from tests.medications.omop import omop_tables, write_omop
from tests.report.html_page import Page

SMALL = ["--units", "32", "--epochs", "2", "--draws", "20"]


def study(stays: Path, out: Path, *words: str) -> dict:
    assert main(["medications", "study", "--stays", str(stays), "--out", str(out), *SMALL, *words]) == 0
    return json.loads((out / "results.json").read_text())


@pytest.mark.slow
def test_every_strategy_from_tables_to_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stays = tmp_path / "stays"
    assert main(["prepare", "medications", "--synthetic", "100", "--out", str(stays)]) == 0
    results = study(stays, tmp_path / "study", "--folds", "1", "--subset-from", "5")
    assert list(results["summary"]) == ["dummy", *shipped_strategies()]
    assert {"all levels", "chapter", "billing", "billing, subset"} <= set(results["nodes"])
    multitask = results["summary"]["multitask"]["billing"]
    assert {"ndcg", "rank_errors_at_50", "rank_errors_at_50_interp", "macro_f1", "macro_f1_caml"} <= set(multitask)
    for key in ("rank_errors_at_25", "rank_errors_at_100_interp", "recall_at_20"):
        assert multitask[key]["low"] <= multitask[key]["mean"] <= multitask[key]["high"]
    assert set(results["differences"]) == {"dummy", "multitask"}
    assert set(results["agreement"]) == {*TARGET_METRICS, "micro_f1", "macro_f1"}
    assert {"set", "codes", "bands", "reliability_10_equal_width"} == set(results["inside"]["analyses"])
    assert {row["level"] for row in results["inside"]["analyses"]["codes"]} >= {"chapter", "code"}  # all levels
    assert "all levels" not in results["summary"]["per-level"]  # it has no network for some of them
    assert len(results["summary"]["multitask"]["billing, top 50"]["recall_curve"]) == 100
    page = (tmp_path / "study" / "report.html").read_text()
    assert all(name in page for name in shipped_strategies())
    assert page.count("<figure>") == 13  # rank errors and recall of five sets; calibration, entropy, ranks
    headings = (
        "Rank errors, chapter", "RE@75, interp.", "Recall at K, all levels, subset", "NDCG by level", "Less dummy",
        "Less multitask", "ECE, p &gt; 1 %", "newborn: ", "means over codes", "By which dev figure", "paired t p",
        "The seven target metrics", "ECE, predicted side (study)", "Median rank", "RE@33", "micro-F1, .5",
    )  # fmt: skip
    assert [heading for heading in headings if heading not in page] == []
    assert "<script" not in page
    renamed = (tmp_path / "study" / "results.json").read_text().replace("multitask", "<script>multi'task")
    told = Page(render_study(json.loads(renamed), "<script>'title"))
    assert "script" not in {tag for tag, _ in told.tags}
    assert {"<script>multi'task", "Less <script>multi'task", "<script>'title"} <= set(told.words)
    assert "report.html" in capsys.readouterr().out


@pytest.mark.slow
def test_what_is_done_is_not_done_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stays, out = tmp_path / "stays", tmp_path / "study"
    assert main(["prepare", "medications", "--synthetic", "120", "--out", str(stays)]) == 0
    first = study(stays, out, "--strategies", "multitask", "--folds", "2")
    capsys.readouterr()
    shutil.rmtree(out / "multitask" / "fold-1")  # what a kill leaves: a fold's folder appears whole
    again = study(stays, out, "--strategies", "multitask", "--folds", "2")
    told = capsys.readouterr().err
    assert "multitask, fold-1" in told
    assert "multitask, fold-0" not in told
    assert again["summary"]["multitask"]["billing"] == first["summary"]["multitask"]["billing"]
    assert main(["medications", "study", "--stays", str(stays), "--out", str(out), *SMALL, "--seed", "1",
                 "--strategies", "multitask", "--folds", "2"]) == 2  # fmt: skip
    assert "was made with other" in capsys.readouterr().err


def reported(out: Path, results: dict) -> str:
    """The page of a study, which must hold its figures."""
    page = (out / "report.html").read_text()
    ndcg = results["summary"]["multitask"]["billing"]["ndcg"]
    assert f"{ndcg['mean']:.3f} [{ndcg['low']:.3f} – {ndcg['high']:.3f}]" in page
    return page


@pytest.mark.slow
@pytest.mark.parametrize("tables", ["mimic", "omop"])
def test_the_demo_from_files_to_a_report(shared_data, tmp_path: Path, tables: str) -> None:
    pytest.importorskip("duckdb")
    demo, stays = shared_data / "mimic3_demo", tmp_path / "stays"
    folder = demo if tables == "mimic" else write_omop(tmp_path / "omop", omop_tables(demo))
    assert main(["prepare", "medications", f"--{tables}-dir", str(folder), "--out", str(stays)]) == 0
    results = study(
        stays, tmp_path / "study", "--split-by", "folds", "--strategies", "multitask", "--subset-from", "10"
    )
    assert (results["stays"], results["patients"]) == (129, 100)
    assert sum(fold["test"] for fold in results["folds"].values()) == 129
    known = {"medical", "surgical"} if tables == "mimic" else {"unknown"}  # OMOP's visits have no ward
    assert known <= set(results["wards"]["multitask"])
    coded = sum(ward["stays"] for ward in results["wards"]["dummy"].values())
    assert coded == sum(run["sets"]["billing"]["stays_with_gold"] for run in results["runs"]["dummy"])
    assert "129 of 100 patients" in reported(tmp_path / "study", results)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_six_stays_of_omop_tables_from_files_to_a_report(tmp_path: Path, form: str) -> None:
    """Whatever data is there: the tables are written here."""
    pytest.importorskip("duckdb")
    omop = write_omop(tmp_path / "omop", omop_tables(write_tables(tmp_path / "mimic")), form)
    assert main(["prepare", "medications", "--omop-dir", str(omop), "--out", str(tmp_path / "stays")]) == 0
    results = study(tmp_path / "stays", tmp_path / "study", "--split-by", "folds", "--strategies", "multitask")
    assert (results["stays"], results["patients"], results["inputs"]) == (6, 3, 4)
    assert results["wards"]["multitask"]["unknown"]["stays"] == 5  # one has no code
    assert "6 of 3 patients" in reported(tmp_path / "study", results)


@pytest.mark.slow
def test_every_fold_is_searched_on_its_own_stays(tmp_path: Path) -> None:
    stays, out = tmp_path / "stays", tmp_path / "study"
    assert main(["prepare", "medications", "--synthetic", "120", "--out", str(stays)]) == 0
    words = ["--search", "--search-epochs", "3", "--search-iterations", "1", "--search-executions", "1"]
    results = study(stays, out, "--strategies", "per-level", "--folds", "2", *words)
    logs = [out / "per-level" / "search" / f"fold-{fold}" / "billing.jsonl" for fold in range(2)]
    first, second = (json.loads(log.read_text().splitlines()[0]) for log in logs)
    assert first["stays"] != second["stays"]
    groups = [set(run["searched"]) for run in results["runs"]["per-level"]]
    assert groups == [{"chapter", "section", "category", "billing"}] * 2
    assert "Hyperband" in (out / "report.html").read_text()


@pytest.mark.slow
def test_a_strategy_is_run_for_each_target_metric(tmp_path: Path) -> None:
    stays, out = tmp_path / "stays", tmp_path / "study"
    assert main(["prepare", "medications", "--synthetic", "120", "--out", str(stays)]) == 0
    asked = ("ndcg", "macro_auc")
    results = study(stays, out, "--strategies", "multitask", "--folds", "1", "--select", *asked)
    assert list(results["summary"]) == ["dummy", "multitask-by-ndcg", "multitask-by-macro_auc"]
    assert [results["strategies"][f"multitask-by-{name}"]["select"] for name in asked] == list(asked)
    assert set(TARGET_METRICS) <= set(results["summary"]["multitask-by-ndcg"]["all levels"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--strategies", "multitsk"], "no strategy 'multitsk' (did you mean 'multitask'?)"),
        (["--search", "--search-epochs", "0"], "epochs of the search must be 1 or more, it is 0"),
        (["--select", "ndgc"], "select must be one of ndcg, micro_auprc"),
        (["--device", "gpu"], "no device 'gpu' here"),
        (["--split-by", "folds", "--folds", "2"], "three or more folds are needed"),
    ],
)
def test_a_wrong_study_leaves_nothing(generated, tmp_path: Path, capsys, words: list[str], told: str) -> None:
    stays, out = tmp_path / "stays", tmp_path / "study"
    save_stays(stays, generated.stays, generated.targets, inputs={}, config={})
    assert main(["medications", "study", "--stays", str(stays), "--out", str(out), *SMALL, *words]) == 2
    assert told in capsys.readouterr().err
    assert not out.exists()
