"""One run of the study: one strategy, or the dummy, on one fold.

FOLDER/medications.json networks.safetensors   the trained network (`model`); none for the dummy
FOLDER/history.json    loss and dev figure of each epoch
FOLDER/figures.json    see `figures`    FOLDER/stays.safetensors  of each set, the figures of each test stay
FOLDER/analyses.json   see `analyses`
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from concept_icd.artifacts import new_folder, write_json, write_manifest
from concept_icd.metrics.areas import area_metrics
from concept_icd.metrics.calibration import equal_width_bins
from concept_icd.metrics.decisions import decision_metrics
from concept_icd.metrics.ranking import ranking_metrics
from concept_icd.models.medications.analyses import (
    entropy_reduction,
    frequency_bands,
    mean_ranks,
    reduction_by_chance,
)
from concept_icd.models.medications.dummy import frequencies
from concept_icd.models.medications.figures import choose_thresholds, study_figures
from concept_icd.models.medications.folds import Fold
from concept_icd.models.medications.records import Stays, Targets
from concept_icd.models.medications.strategy import SELECTIONS, Strategy
from concept_icd.models.medications.training import train
from concept_icd.report.results import plain

FIGURES, MEASURED, ANALYSES, HISTORY = "figures.json", "stays.safetensors", "analyses.json", "history.json"


def run_once(
    folder: Path,
    stays: Stays,
    targets: Targets,
    fold: Fold,
    strategy: Strategy | None,
    sets: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    *,
    device: str,
) -> None:
    """Trains (the dummy counts) on one fold, measures on its test stays, and writes the folder by rename.

    Args:
        strategy: None for the dummy. sets: see `figures.node_sets`. config: what decides the result, for the manifest;
            its "seed" is used.

    Raises:
        InputError: what `training.train` says.
    """
    start, processor, seed = time.monotonic(), time.process_time(), config["seed"]
    trained: dict[str, Any] = {"train_seconds": 0.0, "train_processor_seconds": 0.0, "epochs": 0, "dev_figures": {}}
    dev_gold, gold = targets.gold[fold.dev].toarray(), targets.gold[fold.test].toarray()
    with new_folder(folder, overwrite=True) as staging:
        if strategy is None:
            frequency = frequencies(targets.gold[fold.train])
            dev, test = (np.tile(frequency, (len(rows), 1)) for rows in (fold.dev, fold.test))
            thresholds = choose_thresholds(dev_gold, dev, targets.levels)
            write_json(staging / HISTORY, [])
        else:
            model, history = train(
                stays, targets, fold.train, fold.dev, strategy, seed=seed, device=device, label=folder.parent.name
            )
            trained |= {
                "train_seconds": round(time.monotonic() - start, 2),
                "train_processor_seconds": round(time.process_time() - processor, 2),
                "epochs": len(history),
            }
            dev, test = (sigmoid(model.logits(stays.inputs[rows])) for rows in (fold.dev, fold.test))
            thresholds = choose_thresholds(dev_gold, dev, targets.levels)
            dataclasses.replace(model, thresholds=thresholds).save(staging)
            write_json(staging / HISTORY, [dataclasses.asdict(epoch) for epoch in history])
            trained["dev_figures"] = _dev_figures(dev_gold, dev, targets, sets, thresholds)
        figures, per_stay = study_figures(gold, test, targets, sets, thresholds)
        write_json(staging / FIGURES, plain(figures))
        save_file(per_stay, staging / MEASURED)
        write_json(staging / ANALYSES, plain(_analyse(gold, test, targets, fold, sets)))
        write_manifest(
            staging,
            "study",
            inputs=config["inputs"],
            config=config,
            seed=seed,
            seconds=time.monotonic() - start,
            trained=trained,
        )


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities float64 of logits, without overflow."""
    from scipy.special import expit

    values: np.ndarray = expit(logits.astype(np.float64))
    return values


def _analyse(
    gold: np.ndarray, outputs: np.ndarray, targets: Targets, fold: Fold, sets: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Per code of the bills, per band of their frequency, and the reliability of all; see `analyses`."""
    rows = sets["billing"]
    with_it, without = mean_ranks(gold[:, rows], outputs[:, rows])
    seen = np.asarray(targets.gold[fold.train].sum(axis=0))[rows]
    here = gold[:, rows].sum(axis=0)
    reduction, chance = entropy_reduction(gold[:, rows], outputs[:, rows]), reduction_by_chance(gold[:, rows])
    codes = [
        {
            "code": targets.nodes[row],
            "train": int(seen[k]),
            "test": int(here[k]),
            "rank_with": float(with_it[k]),
            "rank_without": float(without[k]),
            "entropy_reduction": float(reduction[k]),
            "entropy_reduction_by_chance": float(chance[k]),
        }
        for k, row in enumerate(rows)
        if here[k]
    ]
    bins = equal_width_bins(gold[:, rows].ravel(), outputs[:, rows].astype(np.float64).ravel(), 10)
    reliability = {name: column.tolist() for name, column in bins._asdict().items()}
    return {"codes": codes, "bands": frequency_bands(codes), "reliability_10_equal_width": reliability}


def _dev_figures(
    gold: np.ndarray,
    p: np.ndarray,
    targets: Targets,
    sets: Mapping[str, np.ndarray],
    thresholds: Mapping[str, float],
) -> dict[str, float]:
    """What a model could be chosen by, on dev stays, over all nodes."""
    rows = sets["all levels"]
    limit = np.array([thresholds[level] for level in targets.levels])
    areas, decisions = area_metrics(gold, p), decision_metrics(gold, p >= limit[rows])
    found = {**areas, **decisions, "ndcg": ranking_metrics(gold, p, (15,))["ndcg"]}
    names = (*SELECTIONS, "macro_f1", "macro_auprc", "micro_auc", "macro_auc")
    return {name: float(found[name]) for name in names}
