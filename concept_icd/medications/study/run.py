"""One run of the study: one strategy, or the dummy, on one fold; and which stays a fold trains, chooses and tests on.

FOLDER/medications.json networks.safetensors   the trained networks (`model`); none for the dummy
FOLDER/history.json    loss and dev figure of each epoch
FOLDER/figures.json    see `figures`    FOLDER/stays.safetensors  of each set, the figures of each test stay
FOLDER/analyses.json   see `figures`

A set of nodes of which the strategy leaves some unanswered is not measured.

Folds by patient are the honest default: MIMIC-III's patients come back (58,976 stays of 46,520), and a returning
patient's drugs and codes are known. Draws by stay are what Marcou et al. did, for comparison with their figures.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from safetensors.numpy import save_file
from scipy.special import expit

from concept_icd.artifacts import write_json, write_manifest
from concept_icd.corpora.folds import group_folds
from concept_icd.errors import InputError, extras
from concept_icd.medications.strategy import BILLING, Stays, Strategy, Targets
from concept_icd.medications.study.figures import (
    TARGET_METRICS,
    binned_entropy_reduction,
    choose_thresholds,
    entropy_reduction,
    median_ranks,
    reduction_by_chance,
    study_figures,
)
from concept_icd.medications.targets import frequencies, groups_of
from concept_icd.metrics.auc import area_metrics
from concept_icd.metrics.calibration import equal_width_bins
from concept_icd.metrics.decisions import decision_metrics
from concept_icd.metrics.ranking import ranking_metrics
from concept_icd.outputs import new_folder
from concept_icd.report.results import plain

if TYPE_CHECKING:
    from concept_icd.medications.model import MedicationModel

FIGURES, MEASURED, ANALYSES, HISTORY = "figures.json", "stays.safetensors", "analyses.json", "history.json"
#: The set over which models are chosen and looked into.
EVERYTHING = "all levels"
#: Stays of the study, and of them those of dev and of test; the rest trains.
STUDY_STAYS, STUDY_HELD_OUT = 58_976, 5_000


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows of stays, int64, each sorted; no stay in two, and by patient no patient."""

    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray


def monte_carlo_folds(
    patient_ids: Sequence[str],
    seed: int,
    number: int = 3,
    by: Literal["patient", "stay"] = "patient",
    held_out: int | None = None,
) -> list[Fold]:
    """Independent random draws of dev and test, 5,000 stays each where there are the study's 58,976.

    Args:
        patient_ids: one a stay. held_out: stays of dev, and of test; None: the study's share, at least one.
        by: "patient" fills them with whole patients, as near to the number as they allow without more.

    Raises:
        InputError: dev, test or training would be empty.
    """
    stays = len(patient_ids)
    size = max(1, round(stays * STUDY_HELD_OUT / STUDY_STAYS)) if held_out is None else held_out
    groups = np.unique(np.asarray(patient_ids), return_inverse=True)[1] if by == "patient" else np.arange(stays)
    folds = []
    for draw in range(number):
        part = _drawn(groups, size, np.random.default_rng([seed, draw]))
        fold = Fold(*(np.flatnonzero(part == which) for which in range(3)))
        folds.append(_require_full(fold, stays, by))
    return folds


def patient_folds(patient_ids: Sequence[str], number: int, seed: int) -> list[Fold]:
    """Every stay is tested once: fold i tests, fold i + 1 is dev, the others train; a patient is in one fold alone.

    Raises:
        InputError: fewer than three folds, or fewer patients than folds.

    >>> folds = patient_folds(["a", "a", "b", "c"], 3, seed=0)
    >>> sorted(len(fold.test) for fold in folds)
    [1, 1, 2]
    """
    patients = len(set(patient_ids))
    if number < 3 or patients < number:
        raise InputError(f"{number} folds of {patients} patients: three or more folds are needed, a patient in each")
    of = group_folds(patient_ids, number, seed)
    folds = []
    for test in range(number):
        dev = (test + 1) % number
        rest = np.flatnonzero((of != test) & (of != dev))
        folds.append(Fold(rest, np.flatnonzero(of == dev), np.flatnonzero(of == test)))
    return folds


def _drawn(groups: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """0 train, 1 dev, 2 test for each stay: groups in random order fill test, then dev, each where it still fits."""
    sizes = np.bincount(groups)
    part_of, room = np.zeros(len(sizes), dtype=np.int64), {2: size, 1: size}
    for group in rng.permutation(len(sizes)):
        for part in room:
            if sizes[group] <= room[part]:
                part_of[group] = part
                room[part] -= int(sizes[group])
                break
        if not any(room.values()):
            break
    return np.asarray(part_of[groups])


def _require_full(fold: Fold, stays: int, by: str) -> Fold:
    empty = [name for name in ("train", "dev", "test") if not len(getattr(fold, name))]
    if empty:
        raise InputError(
            f"{stays} stays drawn by {by} leave {' and '.join(empty)} without a stay; more stays are needed, or "
            "another number of held-out stays"
        )
    return fold


def run_once(
    folder: Path,
    stays: Stays,
    targets: Targets,
    fold: Fold,
    strategy: Strategy | None,
    sets: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    *,
    chosen: Mapping[str, Strategy] | None = None,
    device: str,
) -> None:
    """Trains (the dummy counts) on one fold, measures on its test stays, and writes the folder by rename.

    Args:
        strategy: None for the dummy. sets: see `figures.node_sets`. config: what decides the result, for the manifest;
            its "seed" is used. chosen: see `training.train`.

    Raises:
        InputError: what `training.train` says.
    """
    start, processor, seed = time.monotonic(), time.process_time(), config["seed"]
    trained: dict[str, Any] = {"train_seconds": 0.0, "train_processor_seconds": 0.0, "epochs": 0, "dev_figures": {}}
    dev_gold, gold = targets.gold[fold.dev].toarray(), targets.gold[fold.test].toarray()
    with new_folder(folder, "study", overwrite=True) as staging:
        if strategy is None:
            frequency = frequencies(targets.gold[fold.train])
            dev, test = (np.tile(frequency, (len(rows), 1)) for rows in (fold.dev, fold.test))
            thresholds = choose_thresholds(dev_gold, dev, targets.levels)
            answers = dict.fromkeys(sets, test)
            write_json(staging / HISTORY, [])
        else:
            with extras():
                from concept_icd.medications.training import train

            model, history = train(
                stays, targets, fold.train, fold.dev, strategy,
                chosen=chosen, seed=seed, device=device, label=folder.parent.name,
            )  # fmt: skip
            trained |= {
                "train_seconds": round(time.monotonic() - start, 2),
                "train_processor_seconds": round(time.process_time() - processor, 2),
                "epochs": len(history),
            }
            dev = expit(model.logits(stays.inputs[fold.dev]).astype(np.float64))
            thresholds = choose_thresholds(dev_gold, dev, targets.levels)
            answers = _answers(model, stays, fold.test, answered(strategy, targets, sets))
            dataclasses.replace(model, thresholds=thresholds).save(staging)
            write_json(staging / HISTORY, [dataclasses.asdict(epoch) for epoch in history])
            if EVERYTHING in answers:
                trained["dev_figures"] = _dev_figures(dev_gold, dev, targets, thresholds)
        figures, per_stay = study_figures(gold, answers, targets, sets, thresholds)
        write_json(staging / FIGURES, plain(figures))
        save_file(per_stay, staging / MEASURED)
        write_json(staging / ANALYSES, plain(_analyse(gold, answers, targets, fold, sets)))
        write_manifest(
            staging,
            "study",
            inputs=config["inputs"],
            config=config,
            seed=seed,
            seconds=time.monotonic() - start,
            trained=trained,
        )


def answered(strategy: Strategy, targets: Targets, sets: Mapping[str, np.ndarray]) -> list[str]:
    """The sets of which the strategy answers every node."""
    mask = np.any(list(groups_of(strategy, targets).values()), axis=0)
    return [name for name, rows in sets.items() if mask[rows].all()]


def _answers(model: MedicationModel, stays: Stays, rows: np.ndarray, sets: Sequence[str]) -> dict[str, np.ndarray]:
    """Set -> probabilities float64 (stays, nodes); a level with a network of its own is answered by that one."""
    usual = own = expit(model.logits(stays.inputs[rows]).astype(np.float64))
    if any(part.group == "category" for part in model.parts):  # the only nodes of two networks: categories on bills
        own = expit(model.logits(stays.inputs[rows], "category").astype(np.float64))
    return {name: own if name.split(",")[0] == "category" else usual for name in sets}


def _analyse(
    gold: np.ndarray,
    answers: Mapping[str, np.ndarray],
    targets: Targets,
    fold: Fold,
    sets: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Figures of every code that a test stay has (of billed codes alone, where not all levels are answered), and the
    reliability of billing codes; see `figures`."""
    name = EVERYTHING if EVERYTHING in answers else BILLING
    rows = sets[name]
    truth, outputs = gold[:, rows], answers[name][:, rows]
    with_it, without = median_ranks(truth, outputs)
    here = truth.sum(axis=0)
    some = np.flatnonzero(here)
    shares, seen = frequencies(targets.gold)[rows], np.asarray(targets.gold[fold.train].sum(axis=0))[rows]
    told = entropy_reduction(truth[:, some], outputs[:, some], shares[some])
    binned, chance = binned_entropy_reduction(truth[:, some], outputs[:, some]), reduction_by_chance(truth[:, some])
    codes = [
        {
            "code": targets.nodes[rows[k]],
            "level": targets.levels[rows[k]],
            "train": int(seen[k]),
            "test": int(here[k]),
            "rank_with": float(with_it[k]),
            "rank_without": float(without[k]),
            "entropy_reduction": float(told[place]),
            "binned_entropy_reduction": float(binned[place]),
            "binned_entropy_reduction_by_chance": float(chance[place]),
        }
        for place, k in enumerate(some)
    ]
    billed = sets[BILLING]
    bins = equal_width_bins(gold[:, billed].ravel(), answers[BILLING][:, billed].astype(np.float64).ravel(), 10)
    return {
        "set": name,
        "codes": codes,
        "reliability_10_equal_width": {name: column.tolist() for name, column in bins._asdict().items()},
    }


def _dev_figures(
    gold: np.ndarray, p: np.ndarray, targets: Targets, thresholds: Mapping[str, float]
) -> dict[str, float]:
    """What a model could be chosen by, on dev stays, over all nodes: the study's seven target metrics, and our F1s."""
    limit = np.array([thresholds[level] for level in targets.levels])
    half = {f"{name}_at_half": value for name, value in decision_metrics(gold, p > 0.5).items()}
    ours = decision_metrics(gold, p >= limit)
    found = {**area_metrics(gold, p), **half, **ours, "ndcg": ranking_metrics(gold, p, (15,))["ndcg"]}
    return {name: float(found[name]) for name in (*TARGET_METRICS, "micro_f1", "macro_f1")}
