"""The study's search: its brackets, its space, and that a killed one goes on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from concept_icd.errors import InputError
from concept_icd.medications.strategy import Strategy
from concept_icd.medications.study.run import monte_carlo_folds
from concept_icd.medications.study.search import Hyperband, drawn, search
from concept_icd.medications.training import train


def test_the_studys_search() -> None:
    """Hyperband as Keras Tuner rounds it: e = ceil(1 + log_3 150) / (s + 1) = 6/5, 6/4, 2, 3, 6."""
    study = Hyperband()
    assert (study.epochs, study.factor, study.iterations, study.executions, study.run_epochs) == (150, 3, 2, 3, 80)
    assert study.brackets() == [
        [(98, 2), (33, 6), (11, 17), (4, 50), (2, 150)],
        [(41, 6), (14, 17), (5, 50), (2, 150)],
        [(18, 17), (6, 50), (2, 150)],
        [(9, 50), (3, 150)],
        [(6, 150)],
    ]


def test_the_studys_search_space() -> None:
    rng = np.random.default_rng(0)
    asked = Strategy(weights="imbalance", tree_l2=1e-8, output_l2=1e-8)
    draws = [drawn(asked, rng) for _ in range(4000)]
    assert {draw["hidden"] for draw in draws} == set(range(8))  # n - 1 of n = 1 .. 8
    assert {draw["units"] for draw in draws} == set(range(256, 6145, 256))
    assert {draw["norm"] for draw in draws} == {False, True}
    for name, low, high in (("dropout", 0, 0.8), ("cap", 1, 200), ("tree_l2", 1e-15, 5e-6)):
        values = np.array([draw[name] for draw in draws])
        assert low <= values.min() < values.max() <= high
        if name != "dropout":  # on a log scale half of the draws lie below the geometric mean
            assert 0.45 < (values < (low * high) ** 0.5).mean() < 0.55
    gammas = [drawn(Strategy(loss="focal"), rng)["gamma"] for _ in range(200)]
    assert 1 <= min(gammas) < 1.2 < 3.8 < max(gammas) <= 4
    assert {drawn(Strategy(units=600), rng)["units"] for _ in range(50)} == {256, 512}


def test_a_search_goes_on_where_it_was(generated, tmp_path: Path) -> None:
    stays, targets = generated.stays, generated.targets
    fold = monte_carlo_folds(stays.patient_ids, 0, 1, held_out=60)[0]
    strategy = Strategy(units=16, loss="focal", learning_rate=1e-2)
    small = Hyperband(epochs=3, factor=3, iterations=1, executions=2)
    assert small.brackets() == [[(3, 1), (1, 3)], [(2, 3)]]

    def found(folder: Path) -> dict:
        return search(stays, targets, fold.train, fold.dev, strategy, folder, hyperband=small, seed=3)

    first = found(tmp_path / "whole")
    lines = (tmp_path / "whole" / "all.jsonl").read_text().splitlines(keepends=True)
    assert len(lines) == 1 + 3 + 1 + 2
    trials = [json.loads(line) for line in lines[1:]]
    best = max(trials, key=lambda trial: trial["figure"])
    assert first == {"all": Strategy(**best["options"])}
    # The figure is the mean over two seeds of the best dev figure; the second round trains the best of the first.
    once = dataclasses.replace(Strategy(**trials[0]["options"]), epochs=1)
    figures = [train(stays, targets, fold.train, fold.dev, once, seed=seed)[1][0].figure for seed in (3, 4)]
    assert trials[0]["figure"] == pytest.approx(np.mean(figures), abs=1e-6)
    assert trials[3]["options"] == max(trials[:3], key=lambda trial: trial["figure"])["options"]
    assert (trials[0]["epochs"], trials[3]["epochs"]) == (1, 3)
    # Killed in the middle of its fourth line: the lines before it stay, and it comes to the same end.
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "all.jsonl").write_text("".join(lines[:3]) + lines[3][:20])
    assert found(tmp_path / "killed") == first
    assert (tmp_path / "killed" / "all.jsonl").read_text().splitlines(keepends=True)[:3] == lines[:3]
    with pytest.raises(InputError, match="search of other stays or options"):
        search(stays, targets, fold.train, fold.test, strategy, tmp_path / "whole", hyperband=small, seed=3)
