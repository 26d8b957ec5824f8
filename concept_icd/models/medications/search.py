"""Hyper-parameters of a strategy by Hyperband (Optuna), on the dev stays of one split; a killed search goes on.

Ranges: 1 to 8 hidden layers, 256 to 6,144 units, dropout 0 to .8, batch norm or not (Marcou et al. 2024, "Model"), and
what the strategy itself has to set.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from concept_icd.errors import InputError, MissingExtraError
from concept_icd.models.medications.records import Stays, Targets
from concept_icd.models.medications.strategy import Strategy
from concept_icd.models.medications.training import train

if TYPE_CHECKING:
    import optuna

LOG = "search.log"


def search(
    stays: Stays,
    targets: Targets,
    rows: np.ndarray,
    dev: np.ndarray,
    strategy: Strategy,
    folder: Path,
    *,
    trials: int,
    seed: int = 0,
    device: str = "cpu",
) -> Strategy:
    """The strategy with the options of the best trial; the trials stand in `folder`/search.log.

    Args:
        strategy: its units, where they are not the default, are the most that a layer may have in a trial.
        trials: in all, those of an earlier run among them.

    Raises:
        InputError: see `training.train`. MissingExtraError: Optuna is not installed.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise MissingExtraError("optuna", "study") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        direction="maximize",
        study_name=strategy.select,
        storage=JournalStorage(JournalFileBackend(os.fspath(folder / LOG))),
        pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=strategy.epochs),
        load_if_exists=True,
    )
    # A search that goes on must not begin again with the draws of its first trials.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))

    def objective(trial: optuna.Trial) -> float:
        def after_epoch(number: int, figure: float) -> None:
            trial.report(figure, number)
            if trial.should_prune():
                raise optuna.TrialPruned

        options = dataclasses.replace(strategy, **_suggest(trial, strategy))
        label = f"trial {trial.number + 1}/{trials}"
        _, history = train(
            stays, targets, rows, dev, options, seed=seed, device=device, label=label, after_epoch=after_epoch
        )
        return max(epoch.figure for epoch in history)

    done = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED
    study.optimize(objective, n_trials=max(0, trials - len(study.get_trials(states=done))))
    if not study.get_trials(states=[optuna.trial.TrialState.COMPLETE]):
        raise InputError(f"no trial of the search in {folder} came to its end; allow more than {trials} trials")
    return dataclasses.replace(strategy, **study.best_params)


def _suggest(trial: optuna.Trial, strategy: Strategy) -> dict[str, Any]:
    largest = 6144 if strategy.units == Strategy.units else strategy.units
    options: dict[str, Any] = {
        "hidden": trial.suggest_int("hidden", 1, 8),
        "units": trial.suggest_int("units", min(256, largest), largest, log=True),
        "dropout": trial.suggest_float("dropout", 0.0, 0.8),
        "norm": trial.suggest_categorical("norm", [False, True]),
    }
    if strategy.loss == "focal":
        options["gamma"] = trial.suggest_float("gamma", 1.0, 4.0)
    if strategy.weights in ("imbalance", "imbalance_normalised"):
        options["cap"] = trial.suggest_float("cap", 1.0, 1e4, log=True)
    for name in ("tree_l2", "output_l2"):
        if getattr(strategy, name):
            options[name] = trial.suggest_float(name, 1e-7, 1e-3, log=True)
    return options
