"""The study from tables to results and a page: every strategy, resumed, on generated stays and on the open demo."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from concept_icd.cli.main import main
from concept_icd.errors import InputError
from concept_icd.metrics import ranking_metrics
from concept_icd.models.medications.dummy import frequencies
from concept_icd.models.medications.folder import save_stays
from concept_icd.models.medications.folds import monte_carlo_folds
from concept_icd.models.medications.model import MedicationModel, new_networks
from concept_icd.models.medications.strategy import SELECTIONS, Strategy, read_strategy, shipped_strategies
from concept_icd.models.medications.synthetic_stays import synthetic_stays
from concept_icd.models.medications.targets import subset
from concept_icd.models.medications.training import dev_figure, train
from tests.mimic3.hand_made import write_tables
from tests.models.medications.omop import omop_tables, write_omop

SMALL = ["--units", "32", "--epochs", "2", "--draws", "20"]


@pytest.fixture(scope="module")
def generated():
    return synthetic_stays(400, seed=3)


def study(stays: Path, out: Path, *words: str) -> dict:
    assert main(["study", "medications", "--stays", str(stays), "--out", str(out), *SMALL, *words]) == 0
    return json.loads((out / "results.json").read_text())


@pytest.mark.slow
def test_every_strategy_from_tables_to_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stays = tmp_path / "stays"
    assert main(["prepare", "medications", "--synthetic", "200", "--out", str(stays)]) == 0
    results = study(stays, tmp_path / "study", "--folds", "1", "--subset-from", "5")
    assert list(results["summary"]) == ["dummy", *shipped_strategies()]
    assert {"all levels", "chapter", "billing", "billing, subset"} <= set(results["nodes"])
    multitask = results["summary"]["multitask"]["billing"]
    assert {"ndcg", "rank_errors_at_50", "rank_errors_at_50_interp", "macro_f1", "macro_f1_caml"} <= set(multitask)
    for key in ("rank_errors_at_25", "rank_errors_at_100_interp", "recall_at_20"):
        assert multitask[key]["low"] <= multitask[key]["mean"] <= multitask[key]["high"]
    assert set(results["differences"]) == {"dummy", "multitask"}
    assert set(results["agreement"]) >= {"ndcg", "micro_auprc", "micro_f1"}
    assert {"codes", "bands", "reliability_10_equal_width"} == set(results["inside"]["analyses"])
    page = (tmp_path / "study" / "report.html").read_text()
    assert all(name in page for name in shipped_strategies())
    assert page.count("<figure>") == 11  # rank errors and recall of four sets; calibration, entropy, ranks
    headings = (
        "Rank errors, chapter", "RE@75, interp.", "Recall at K, all levels, subset", "NDCG by level", "Less dummy",
        "Less multitask", "ECE, p &gt; 1 %", "newborn: ", "means over codes", "By which dev figure",
    )  # fmt: skip
    assert [heading for heading in headings if heading not in page] == []
    assert "<script" not in page
    assert "report.html" in capsys.readouterr().out


@pytest.mark.slow
def test_what_is_done_is_not_done_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stays, out = tmp_path / "stays", tmp_path / "study"
    assert main(["prepare", "medications", "--synthetic", "120", "--out", str(stays)]) == 0
    first = study(stays, out, "--strategies", "multitask", "--folds", "2")
    capsys.readouterr()
    (out / "multitask" / "fold-1" / "manifest.json").unlink()
    again = study(stays, out, "--strategies", "multitask", "--folds", "2")
    told = capsys.readouterr().err
    assert "multitask, fold-1" in told
    assert "multitask, fold-0" not in told
    assert again["summary"]["multitask"]["billing"] == first["summary"]["multitask"]["billing"]
    assert main(["study", "medications", "--stays", str(stays), "--out", str(out), *SMALL, "--seed", "1",
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


@pytest.mark.parametrize(
    ("select", "figure"),
    [("ndcg", (1 + 1 / np.log2(3)) / 2), ("micro_auprc", (3 / 4 + 5 / 8 + 5 / 8) / 3), ("micro_f1", 6 / 7)],
)
def test_what_epochs_are_chosen_by(select: str, figure: float) -> None:
    """Two stays of two nodes, probabilities that a network without inputs gives: .9 and .4 for both."""
    strategy = Strategy(hidden=0, select=select)
    networks = new_networks(strategy, 1, ("chapter", "chapter"))
    networks[0][1].output.weight.data.zero_()
    networks[0][1].output.bias.data.copy_(torch.tensor([9.0, 2 / 3]).log())
    model = MedicationModel(
        strategy, ("age",), ("a", "b"), ("chapter",) * 2, np.array([-1, -1]), np.array([True, True]), networks
    )
    gold = csr_array(np.array([[True, True], [False, True]]))
    found = dev_figure(model, csr_array(np.ones((2, 1), dtype=np.float32)), gold, select)
    assert found == pytest.approx(figure)


def test_the_epoch_is_the_one_that_the_figure_chooses(generated) -> None:
    stays, targets = generated.stays, generated.targets
    fold = monte_carlo_folds(stays.patient_ids, 0, 1, held_out=60)[0]
    for select in SELECTIONS:
        strategy = Strategy(units=16, epochs=3, learning_rate=5e-3, select=select)
        model, history = train(stays, targets, fold.train, fold.dev, strategy)
        kept = dev_figure(model, stays.inputs[fold.dev], targets.gold[fold.dev], select)
        assert kept == pytest.approx(max(epoch.figure for epoch in history), abs=1e-6)


def test_the_network_learns_the_rule_that_the_dummy_cannot(generated) -> None:
    stays, targets = generated.stays, generated.targets
    fold = monte_carlo_folds(stays.patient_ids, 0, 1, held_out=60)[0]
    strategy = read_strategy("multitask", units=64, epochs=12, learning_rate=3e-3, dropout=0.2)
    model, history = train(stays, targets, fold.train, fold.dev, strategy)
    assert history[-1].loss < history[0].loss
    gold = targets.gold[fold.test].toarray()
    dummy = np.tile(frequencies(targets.gold[fold.train]), (len(fold.test), 1))
    learnt = ranking_metrics(gold, model.logits(stays.inputs[fold.test]))["ndcg"]
    assert learnt > ranking_metrics(gold, dummy)["ndcg"] + 0.02


def test_a_trained_network_comes_back_as_it_was(generated, tmp_path: Path) -> None:
    stays, targets = generated.stays, generated.targets
    fold = monte_carlo_folds(stays.patient_ids, 0, 1, held_out=60)[0]
    model, _ = train(stays, targets, fold.train, fold.dev, Strategy(per_level=True, units=8, epochs=1, norm=True))
    model.save(tmp_path)
    again = MedicationModel.load(tmp_path)
    assert np.array_equal(again.logits(stays.inputs), model.logits(stays.inputs))
    parts = list(again.iter_logits(stays.inputs, batch=7))
    assert max(map(len, parts)) == 7
    np.testing.assert_allclose(np.concatenate(parts), model.logits(stays.inputs), atol=1e-5)
    weights = tmp_path / "networks.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\1\0")
    with pytest.raises(InputError, match="damaged"):
        MedicationModel.load(tmp_path)


def test_a_search_goes_on_where_it_was(generated, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from concept_icd.models.medications.search import search

    stays, targets = generated.stays, generated.targets
    fold = monte_carlo_folds(stays.patient_ids, 0, 1, held_out=60)[0]
    strategy = Strategy(units=16, epochs=2, loss="focal")
    found = search(stays, targets, fold.train, fold.dev, strategy, tmp_path, trials=2)
    log = (tmp_path / "search.log").stat().st_size
    assert search(stays, targets, fold.train, fold.dev, strategy, tmp_path, trials=2) == found
    assert (tmp_path / "search.log").stat().st_size <= log + 1000  # no trial was added
    assert found.units <= 16
    assert 1 <= found.gamma <= 4
    search(stays, targets, fold.train, fold.dev, strategy, tmp_path, trials=3)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "search.log")))
    trials = optuna.load_study(study_name=strategy.select, storage=storage).trials
    assert len({trial.params["dropout"] for trial in trials}) == 3  # one that goes on does not draw the same again


@pytest.mark.parametrize("per_level", [False, True])
def test_a_subset_alone_is_learnt(generated, per_level: bool) -> None:
    """Nodes outside of it are answered by their frequency, whatever the drugs."""
    stays, targets = generated.stays, generated.targets
    fold = monte_carlo_folds(stays.patient_ids, 0, 1, held_out=60)[0]
    strategy = Strategy(units=8, epochs=2, learning_rate=1e-2, subset_from=30, per_level=per_level)
    model, _ = train(stays, targets, fold.train, fold.dev, strategy)
    logits, kept = model.logits(stays.inputs), subset(targets, 30, rows=fold.train)
    assert 20 < kept.sum() < len(kept) / 2
    assert np.ptp(logits, axis=0)[kept].min() > 0
    assert np.ptp(logits, axis=0)[~kept].max() == 0
    often = np.clip(frequencies(targets.gold[fold.train])[~kept], 1e-5, 1)
    np.testing.assert_allclose(logits[0, ~kept], np.log(often / (1 - often)), rtol=1e-4)
    dummy, _ = train(stays, targets, fold.train, fold.dev, Strategy(units=8, epochs=1, subset_from=9999))
    assert np.ptp(dummy.logits(stays.inputs), axis=0).max() == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"subset_from": 9, "loss": "focal"}, "learnt with the loss bce"),
        ({"loss": "focul"}, "did you mean 'focal'"),
        ({"dropout": 1.0}, "dropout must lie below 1"),
        ({"loss": "mc", "per_level": True}, "sees no tree"),
        ({"loss": "focal", "weights": "level"}, "weights are those of the loss bce"),
        ({"unitz": 3}, "unknown option 'unitz'"),
    ],
)
def test_wrong_options_are_one_sentence(options: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_strategy("multitask", **options)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--strategies", "multitsk"], "no strategy 'multitsk' (did you mean 'multitask'?)"),
        (["--trials", "-1"], "--trials -1: a number from 0 up is needed"),
        (["--device", "gpu"], "no device 'gpu' here"),
        (["--split-by", "folds", "--folds", "2"], "three or more folds are needed"),
    ],
)
def test_a_wrong_study_leaves_nothing(generated, tmp_path: Path, capsys, words: list[str], told: str) -> None:
    stays, out = tmp_path / "stays", tmp_path / "study"
    save_stays(stays, generated.stays, generated.targets, inputs={}, config={})
    assert main(["study", "medications", "--stays", str(stays), "--out", str(out), *SMALL, *words]) == 2
    assert told in capsys.readouterr().err
    assert not out.exists()


def test_a_study_of_one_fold_needs_dev_and_gold(generated) -> None:
    stays, targets = generated.stays, generated.targets
    nothing = np.array([], dtype=np.int64)
    with pytest.raises(InputError, match="both need at least one"):
        train(stays, targets, nothing, np.array([1]), Strategy(epochs=1))
    short = dataclasses.replace(targets, gold=targets.gold[:10])
    with pytest.raises(ValueError, match="rows of targets"):
        train(stays, short, np.array([0]), np.array([1]), Strategy(epochs=1))
