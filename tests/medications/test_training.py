"""One network or several of a strategy: what trains, what stops it, what it answers, and how it is kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from concept_icd.errors import InputError
from concept_icd.medications.model import NEVER, MedicationModel, MedicationNetwork
from concept_icd.medications.strategy import SELECTIONS, Strategy, read_strategy
from concept_icd.medications.study.figures import node_sets
from concept_icd.medications.study.run import answered, monte_carlo_folds
from concept_icd.medications.synthetic import synthetic_stays
from concept_icd.medications.targets import frequencies, part_of, subset
from concept_icd.medications.training import dev_figure, train
from concept_icd.metrics import ranking_metrics


@pytest.mark.parametrize(
    ("select", "figure"),
    [
        ("ndcg", (1 + 1 / np.log2(3)) / 2),
        ("micro_auprc", (3 / 4 + 5 / 8 + 5 / 8) / 3),
        ("macro_auprc", (3 / 4 + 1) / 2),
        ("micro_auc", 1 / 6),
        ("macro_auc", 1 / 2),
        ("micro_f1", 2 / 5),
        ("macro_f1", (2 / 3) / 2),
        ("micro_f1_best_threshold", 6 / 7),
    ],
)
def test_what_epochs_are_chosen_by(select: str, figure: float) -> None:
    """Two stays of two nodes, probabilities .9 and .4 for both; F1s at .5, where the first node is said of both."""
    logits = np.log(np.array([[9.0, 2 / 3], [9.0, 2 / 3]]))
    gold = np.array([[True, True], [False, True]])
    assert dev_figure(gold, logits, select) == pytest.approx(figure)
    assert set(SELECTIONS) >= {select}


def test_the_epoch_is_the_one_that_the_figure_chooses(generated) -> None:
    stays, targets = generated.stays, generated.targets
    fold = monte_carlo_folds(stays.patient_ids, 0, 1, held_out=60)[0]
    for select in ("ndcg", "micro_auprc", "macro_f1"):
        strategy = Strategy(units=16, epochs=3, learning_rate=5e-3, select=select)
        model, history = train(stays, targets, fold.train, fold.dev, strategy)
        kept = dev_figure(targets.gold[fold.dev].toarray(), model.logits(stays.inputs[fold.dev]), select)
        assert kept == pytest.approx(max(epoch.figure for epoch in history), abs=1e-6)


def test_training_ends_by_the_stays_that_are_held_out_for_that(generated) -> None:
    """The study's: a twentieth of the training stays, whatever the dev stays are. Ours: the dev stays themselves."""
    stays, targets = generated.stays, generated.targets
    fold = monte_carlo_folds(stays.patient_ids, 0, 1, held_out=60)[0]
    strategy = Strategy(units=16, epochs=25, patience=2, learning_rate=2e-2, dropout=0.0)
    devs = (fold.dev, fold.test, fold.train[:9])
    found = [train(stays, targets, fold.train, dev, strategy)[1] for dev in devs]
    assert len({tuple(epoch.loss for epoch in history) for history in found}) == 1
    assert len(found[0]) < 25
    ours = dataclasses.replace(strategy, stop_share=0.0)
    for dev in devs:
        figures = [epoch.figure for epoch in train(stays, targets, fold.train, dev, ours)[1]]
        assert len(figures) < 25
        assert len(figures) - 1 - int(np.argmax(figures)) == 2


def test_the_studys_defaults() -> None:
    """Of its released code; a strategy of ours says so in its file."""
    asked = Strategy()
    assert (asked.cap, asked.learning_rate, asked.batch, asked.epochs) == (2.0, 2e-4, 128, 80)
    assert (asked.stop_share, asked.patience) == (0.05, 3)
    network = MedicationNetwork(Strategy(hidden=1, units=4, norm=True), 3, 2)
    assert network.output.bias.tolist() == [0.0, 0.0]
    linear, norm = network.body[0], network.body[1]
    assert (norm.momentum, norm.eps, linear.bias) == (0.01, 1e-3, None)
    assert linear.weight.abs().max() <= (6 / (3 + 4)) ** 0.5  # Glorot's draw
    assert read_strategy("tree-l2").tree_l2 == read_strategy("output-l2").output_l2 == 1e-8
    assert read_strategy("subset").outside == "zero"
    ours = read_strategy("multitask-log-odds")
    assert (ours.bias, ours.stop_share) == ("log_odds", 0.0)


def test_pulls_of_the_output_count_whole() -> None:
    """Lambda times the sum of squares, no half of it: the loss of an epoch without learning tells."""
    made = synthetic_stays(30, seed=1)
    rows, dev = np.arange(20), np.arange(20, 30)
    shared = {"hidden": 0, "epochs": 1, "learning_rate": 0.0, "stop_share": 0.0}

    def loss(**options: float) -> float:
        return train(made.stays, made.targets, rows, dev, Strategy(**shared, **options))[1][0].loss

    model, _ = train(made.stays, made.targets, rows, dev, Strategy(**shared))
    weight = model.parts[0].network.output.weight.detach().numpy().astype(np.float64)
    assert loss(output_l2=0.5) - loss() == pytest.approx(0.5 * (weight**2).sum(), rel=1e-4)
    children = np.flatnonzero(made.targets.parents >= 0)
    gaps = weight[children] - weight[made.targets.parents[children]]
    assert loss(tree_l2=0.5) - loss() == pytest.approx(0.5 * (gaps**2).sum(), rel=1e-4)  # the biases are all 0


def test_the_four_networks_of_the_levels(generated) -> None:
    """Chapters, sections, categories and all billing codes, each trained alone; a billed category is in two of them."""
    stays, targets = generated.stays, generated.targets
    fold = monte_carlo_folds(stays.patient_ids, 0, 1, held_out=60)[0]
    strategy = Strategy(per_level=True, units=8, epochs=2, learning_rate=1e-2)
    model, history = train(stays, targets, fold.train, fold.dev, strategy)
    assert [part.group for part in model.parts] == ["chapter", "section", "category", "billing"]
    assert {epoch.group for epoch in history} == {"chapter", "section", "category", "billing"}
    levels = np.array(targets.levels)
    for part in model.parts:
        mask = targets.billed if part.group == "billing" else levels == part.group
        assert part.rows.tolist() == np.flatnonzero(mask).tolist()
    both = (levels == "category") & targets.billed
    neither = (levels == "subcategory") & ~targets.billed
    assert both.any()
    assert neither.any()
    logits, of_categories = model.logits(stays.inputs), model.logits(stays.inputs, "category")
    assert (logits[:, neither] == NEVER).all()
    assert np.abs(logits[:, both] - of_categories[:, both]).max() > 1e-3
    assert np.array_equal(logits[:, levels == "chapter"], of_categories[:, levels == "chapter"])
    sets = node_sets(targets)
    assert answered(strategy, targets, sets) == [
        name for name in sets if name in ("chapter", "section", "category", "code", "billing", "billing, top 50")
    ]
    # The network of a group is the one that the group's nodes alone would have.
    alone = part_of(targets, np.flatnonzero(levels == "section"))
    single, _ = train(stays, alone, fold.train, fold.dev, dataclasses.replace(strategy, per_level=False))
    np.testing.assert_allclose(logits[:, levels == "section"], single.logits(stays.inputs), atol=1e-4)
    ours, _ = train(stays, targets, fold.train, fold.dev, dataclasses.replace(strategy, tree_levels=True, epochs=1))
    assert {part.group for part in ours.parts} == {"chapter", "section", "category", "subcategory", "code"}
    assert (ours.logits(stays.inputs) != NEVER).all()


def test_the_network_learns_the_rule_that_the_dummy_cannot(generated) -> None:
    stays, targets = generated.stays, generated.targets
    fold = monte_carlo_folds(stays.patient_ids, 0, 1, held_out=60)[0]
    strategy = read_strategy("multitask-log-odds", units=64, epochs=12, learning_rate=3e-3, dropout=0.2)
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
    np.testing.assert_allclose(np.concatenate(parts), model.logits(stays.inputs), atol=1e-4)
    weights = tmp_path / "networks.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\1\0")
    with pytest.raises(InputError, match="damaged"):
        MedicationModel.load(tmp_path)


def test_an_earlier_network_is_refused_in_a_sentence(generated, tmp_path: Path) -> None:
    model, _ = train(generated.stays, generated.targets, np.arange(60), np.arange(60, 90), Strategy(units=4, epochs=1))
    model.save(tmp_path)
    settings = json.loads((tmp_path / "medications.json").read_text())
    del settings["format_version"]
    (tmp_path / "medications.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="is of another version of concept-icd: train it again"):
        MedicationModel.load(tmp_path)


@pytest.mark.parametrize("per_level", [False, True])
def test_a_subset_alone_is_learnt(generated, per_level: bool) -> None:
    """The study's: other nodes have the probability 0. Ours: their frequency, whatever the drugs."""
    stays, targets = generated.stays, generated.targets
    fold = monte_carlo_folds(stays.patient_ids, 0, 1, held_out=60)[0]
    strategy = Strategy(
        units=8, epochs=2, learning_rate=1e-2, subset_from=30, per_level=per_level, tree_levels=per_level
    )
    model, _ = train(stays, targets, fold.train, fold.dev, strategy)
    logits, kept = model.logits(stays.inputs), subset(targets, 30)
    assert 20 < kept.sum() < len(kept) / 2
    assert np.ptp(logits, axis=0)[kept].min() > 0
    assert (expit(logits[:, ~kept].astype(np.float64)) == 0).all()
    model, _ = train(stays, targets, fold.train, fold.dev, dataclasses.replace(strategy, outside="frequency"))
    again = model.logits(stays.inputs)
    assert np.array_equal(again[:, kept], logits[:, kept])
    often = np.clip(frequencies(targets.gold[fold.train])[~kept], 1e-5, 1)
    np.testing.assert_allclose(again[:, ~kept], np.tile(np.log(often / (1 - often)), (len(again), 1)), rtol=1e-4)
    with pytest.raises(InputError, match="no code of the subset has 9999 stays or more"):
        train(stays, targets, fold.train, fold.dev, Strategy(units=8, epochs=1, subset_from=9999))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tree_levels": True}, "set per_level too"),
        ({"outside": "nought"}, "outside must be one of zero, frequency"),
        ({"stop_share": 1.0}, "stop_share must lie below 1"),
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


def test_a_study_of_one_fold_needs_dev_and_gold(generated) -> None:
    stays, targets = generated.stays, generated.targets
    nothing = np.array([], dtype=np.int64)
    with pytest.raises(InputError, match="both need at least one"):
        train(stays, targets, nothing, np.array([1]), Strategy(epochs=1))
    short = dataclasses.replace(targets, gold=targets.gold[:10])
    with pytest.raises(ValueError, match="rows of targets"):
        train(stays, short, np.array([0]), np.array([1]), Strategy(epochs=1))
