"""The study: every strategy on every fold of the stays, beside the dummy; one folder a run, resumable.

    OUT/<strategy>/<fold>/   see `study_run`    OUT/dummy/<fold>/   the frequency dummy's
    OUT/<strategy>/search/   what the search of each fold measured, if there is one
    OUT/results.json         means, intervals and differences over all folds (`study_summary`), every fold's figures,
                             and the looks inside the strategy with the best dev NDCG, beside the dummy's

A run's own looks inside stand in its folder (`study_run`). Epochs, hyper-parameters and thresholds come from dev
stays; the test stays of a fold are looked at once.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from concept_icd.artifacts import MANIFEST, hash_of, read_json, read_manifest, require_own, write_json
from concept_icd.errors import InputError
from concept_icd.models.medications.analyses import frequency_bands, mean_over_draws
from concept_icd.models.medications.figures import node_sets
from concept_icd.models.medications.folds import Fold
from concept_icd.models.medications.records import Stays, Targets
from concept_icd.models.medications.search import Hyperband, search
from concept_icd.models.medications.strategy import Strategy
from concept_icd.models.medications.study_run import ANALYSES, FIGURES, MEASURED, run_once
from concept_icd.models.medications.study_summary import (
    Drawn,
    Values,
    agreement_of,
    by_ward,
    differences,
    read_values,
    summarise,
)
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
    hyperband: Hyperband | None = None,
    seed: int = 0,
    device: str = "cpu",
    draws: int = 1000,
    inputs: Mapping[str, str] | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Runs what is not done yet; returns what it writes to results.json.

    Args:
        kept: bool (nodes,), False for what the subset leaves out. hyperband: each fold's options are searched for.
        inputs: name -> hash of what the stays were made of.

    Raises:
        InputError: `out` belongs to a study of other stays, folds or options, or what training says.
    """
    out = Path(out)
    require_own(out, (DUMMY,))
    parts = {name: [part.tolist() for part in (fold.train, fold.dev, fold.test)] for name, fold in folds.items()}
    sets = node_sets(targets, kept)
    asked = {
        "inputs": dict(inputs or {}),
        "folds": hash_of(parts),
        "subset": None if kept is None else hash_of(kept.tolist()),
        "seed": seed,
    }
    drawn = Drawn.of(stays, folds, draws, seed)
    runs: dict[str, list[dict[str, Any]]] = {}
    values: dict[str, Values] = {}
    for name, strategy in {DUMMY: None, **strategies}.items():
        for fold_name, fold in folds.items():
            folder, chosen = out / name / fold_name, None
            if strategy is not None and hyperband is not None:
                log = out / name / "search" / fold_name
                chosen = search(
                    stays, targets, fold.train, fold.dev, strategy, log, hyperband=hyperband, seed=seed, device=device
                )
            options = {group: dataclasses.asdict(own) for group, own in (chosen or {}).items()}
            config = {**asked, "strategy": strategy and dataclasses.asdict(strategy), "searched": options}
            if not _complete(folder, config):
                print(f"{name}, {fold_name} -> {folder}", file=sys.stderr, flush=True)
                run_once(folder, stays, targets, fold, strategy, sets, config, chosen=chosen, device=device)
            trained = read_manifest(folder, "study")["trained"] | {"searched": options}
            runs.setdefault(name, []).append({"fold": fold_name, "sets": read_json(folder / FIGURES), **trained})
        values[name] = read_values([out / name / fold_name for fold_name in folds])
    references = dict.fromkeys([DUMMY, *list(strategies)[:1]])
    results = {
        "stays": len(stays.stay_ids),
        "patients": len(set(stays.patient_ids)),
        "inputs": len(stays.input_names),
        "nodes": {name: len(rows) for name, rows in sets.items()},
        "folds": {name: {"train": len(f.train), "dev": len(f.dev), "test": len(f.test)} for name, f in folds.items()},
        "strategies": {name: own and dataclasses.asdict(own) for name, own in {DUMMY: None, **strategies}.items()},
        "summary": {name: summarise(found, values[name], drawn) for name, found in runs.items()},
        "differences": {
            other: {name: differences(own, values[other], drawn) for name, own in values.items() if name != other}
            for other in references
        },
        "wards": {name: by_ward(own, drawn) for name, own in values.items()},
        "agreement": agreement_of([run for name, found in runs.items() if name != DUMMY for run in found]),
        "inside": _inside(runs, out),
        "runs": runs,
        "seed": seed,
        "draws": draws,
        "hyperband": hyperband and dataclasses.asdict(hyperband),
        "command": command,
    }
    write_json(out / RESULTS, plain(results))
    return results


def _inside(runs: Mapping[str, Sequence[Mapping[str, Any]]], out: Path) -> dict[str, Any] | None:
    """The looks inside the networks of the strategy with the highest mean dev NDCG, and the dummy's.

    Dev, so that the choice does not look at test stays. Figures of codes are means over the folds, the reliability is
    the first fold's.
    """
    means = {
        name: float(np.mean([run["dev_figures"]["ndcg"] for run in found]))
        for name, found in runs.items()
        if found[0]["dev_figures"]
    }
    if not means:
        return None
    best = max(means, key=means.__getitem__)
    looks = {}
    for name in (best, DUMMY):
        draws = [read_json(out / name / run["fold"] / ANALYSES) for run in runs[name]]
        codes = mean_over_draws([draw["codes"] for draw in draws])
        looks[name] = draws[0] | {"codes": codes, "bands": frequency_bands(codes)}
    return {"strategy": best, "fold": runs[best][0]["fold"], "analyses": looks[best], "dummy": looks[DUMMY]}


def _complete(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether the folder holds this very run.

    Raises:
        InputError: it holds another one.
    """
    if not (folder / MANIFEST).is_file() or not (folder / MEASURED).is_file():
        return False
    earlier = read_manifest(folder, "study")["config"]
    changed = [key for key in config if earlier.get(key) != config[key]]
    if changed:
        raise InputError(f"{folder} was made with other {', '.join(changed)}: name another folder")
    return True
