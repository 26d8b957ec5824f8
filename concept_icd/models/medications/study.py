"""The study: every strategy on every fold of the stays, beside the dummy; one folder a run, resumable.

    OUT/<strategy>/<fold>/   see `study_run`    OUT/dummy/<fold>/   the frequency dummy's
    OUT/<strategy>/search/   the trials of the search, if any
    OUT/results.json         means and standard deviations over folds, and every fold's figures

Epochs, hyper-parameters and thresholds come from dev stays; the test stays of a fold are looked at once.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from concept_icd.artifacts import MANIFEST, hash_of, read_json, read_manifest, write_json
from concept_icd.errors import InputError
from concept_icd.models.medications.analyses import agreement
from concept_icd.models.medications.figures import node_sets
from concept_icd.models.medications.folds import Fold
from concept_icd.models.medications.records import Stays, Targets
from concept_icd.models.medications.search import search
from concept_icd.models.medications.strategy import Strategy
from concept_icd.models.medications.study_run import ANALYSES, FIGURES, run_once
from concept_icd.report.results import plain

DUMMY, RESULTS = "dummy", "results.json"


def run_study(
    stays: Stays,
    targets: Targets,
    folds: Mapping[str, Fold],
    strategies: Mapping[str, Strategy],
    out: str | Path,
    *,
    kept: np.ndarray | None = None,
    trials: int = 0,
    seed: int = 0,
    device: str = "cpu",
    draws: int = 1000,
    inputs: Mapping[str, str] | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Runs what is not done yet; returns what it writes to results.json.

    Args:
        kept: bool (nodes,), False for what the subset leaves out. trials: of the search on the first fold, 0 for none.
        inputs: name -> hash of what the stays were made of.

    Raises:
        InputError: `out` belongs to a study of other stays, folds or options, or what training says.
    """
    out = Path(out)
    parts = {name: [part.tolist() for part in (fold.train, fold.dev, fold.test)] for name, fold in folds.items()}
    asked = {"inputs": dict(inputs or {}), "folds": hash_of(parts), "trials": trials, "seed": seed, "draws": draws}
    sets = node_sets(targets, kept)
    runs: dict[str, list[dict[str, Any]]] = {}
    used: dict[str, Strategy | None] = {}
    for name, strategy in {DUMMY: None, **strategies}.items():
        chosen = strategy
        if strategy is not None and trials:
            first, folder = next(iter(folds.values())), out / name / "search"
            chosen = search(
                stays, targets, first.train, first.dev, strategy, folder, trials=trials, seed=seed, device=device
            )
        used[name] = chosen
        for fold_name, fold in folds.items():
            folder = out / name / fold_name
            config = {**asked, "strategy": chosen and dataclasses.asdict(chosen)}
            if not _complete(folder, config):
                print(f"{name}, {fold_name} -> {folder}", file=sys.stderr, flush=True)
                run_once(folder, stays, targets, fold, chosen, sets, config, device=device)
            figures = {part: read_json(folder / file) for part, file in (("sets", FIGURES), ("analyses", ANALYSES))}
            manifest = read_manifest(folder, "study")
            runs.setdefault(name, []).append({"fold": fold_name, **figures, **manifest["trained"]})
    results = {
        "stays": len(stays.stay_ids),
        "patients": len(set(stays.patient_ids)),
        "inputs": len(stays.input_names),
        "nodes": {name: len(rows) for name, rows in sets.items()},
        "folds": {name: {"train": len(f.train), "dev": len(f.dev), "test": len(f.test)} for name, f in folds.items()},
        "strategies": {name: chosen and dataclasses.asdict(chosen) for name, chosen in used.items()},
        "summary": {name: _summary(found) for name, found in runs.items()},
        "agreement": _agreement([run for name, found in runs.items() if name != DUMMY for run in found]),
        "runs": runs,
        "seed": seed,
        "draws": draws,
        "trials": trials,
        "command": command,
    }
    write_json(out / RESULTS, plain(results))
    return results


def _summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Set -> figure -> mean and standard deviation over the folds where it is defined."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, first in runs[0]["sets"].items():
        found[name] = {}
        for key in first:
            values = [run["sets"][name][key] for run in runs if name in run["sets"] and key != "intervals"]
            values = [value for value in values if value is not None]
            if values:
                spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
                found[name][key] = {"mean": float(np.mean(values)), "sd": spread, "folds": len(values)}
    return found


def _agreement(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Dev figure -> recall -> its rank correlation, over all trained networks, with RE@R on test, all levels."""
    if not runs:
        return {}
    errors = {
        recall: np.array([run["sets"]["all levels"][f"rank_errors_at_{recall}"] for run in runs])
        for recall in (25, 50, 75, 100)
    }
    return {
        name: {
            str(recall): agreement(np.array([run["dev_figures"][name] for run in runs]), values)
            for recall, values in errors.items()
        }
        for name in runs[0]["dev_figures"]
    }


def _complete(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether the folder holds this very run.

    Raises:
        InputError: it holds another one.
    """
    if not (folder / MANIFEST).is_file():
        return False
    earlier = read_manifest(folder, "study")["config"]
    changed = [key for key in config if earlier.get(key) != config[key]]
    if changed:
        raise InputError(f"{folder} was made with other {', '.join(changed)}: name another folder")
    return True
