"""The study: every strategy on every fold of the stays, beside the dummy; one folder a run, resumable.

    OUT/<strategy>/<fold>/   see `run`    OUT/dummy/<fold>/   the frequency dummy's
    OUT/<strategy>/search/   what the search of each fold measured, if there is one
    OUT/results.json         means, intervals and differences over all folds, every fold's figures, and the looks inside
                             the strategy with the best dev NDCG, beside the dummy's

A run's own looks inside stand in its folder (`run`). Epochs, hyper-parameters and thresholds come from dev stays; the
test stays of a fold are looked at once.

Intervals are over patients (`metrics.intervals`): a patient is left out with every test stay of theirs in every fold,
and all strategies are measured on the same samples, so that differences pair. Beside a difference stand the study's
two tests, which take stays for independent: Mann and Whitney's of the two sets of values, and the paired t-test.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from concept_icd.artifacts import hash_of, read_json, read_manifest, write_json
from concept_icd.errors import InputError
from concept_icd.medications.strategy import Stays, Strategy, Targets
from concept_icd.medications.study.figures import (
    PER_STAY,
    RECALLS,
    agreement,
    frequency_bands,
    mean_over_draws,
    node_sets,
    ward_rows,
)
from concept_icd.medications.study.run import ANALYSES, FIGURES, MEASURED, Fold, run_once
from concept_icd.medications.study.search import Hyperband, search
from concept_icd.metrics.auc import mean_of_defined
from concept_icd.metrics.intervals import draw_weights, interval, scale_of
from concept_icd.outputs import MANIFEST, require_own
from concept_icd.report.results import plain

DUMMY, RESULTS = "dummy", "results.json"
#: Set -> (test stays of all folds, figures of `PER_STAY`), NaN where a stay has no gold code of the set.
Values = Mapping[str, np.ndarray]
Run = Mapping[str, Any]


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


@dataclass(frozen=True, eq=False)
class Drawn:
    """The test stays of all folds, fold after fold.

    Attributes:
        wards: of each. weights: (1 + samples, test stays), which are in each sample; the first is all.
    """

    wards: tuple[str | None, ...]
    weights: np.ndarray

    @classmethod
    def of(cls, stays: Stays, folds: Mapping[str, Fold], draws: int, seed: int) -> Drawn:
        """At most `draws` samples, each without a patient or a group of them; groups are drawn with the seed."""
        rows = np.concatenate([fold.test for fold in folds.values()])
        patients = [stays.patient_ids[row] for row in rows]
        return cls(tuple(stays.wards[row] for row in rows), draw_weights(patients, len(rows), draws, seed))


def read_values(folders: Sequence[Path]) -> Values:
    """Of a strategy's run in each fold, in the order of the folds."""
    parts = [load_file(folder / MEASURED) for folder in folders]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def summarise(runs: Sequence[Run], values: Values, drawn: Drawn) -> dict[str, dict[str, dict[str, Any]]]:
    """Set -> figure -> mean, standard deviation over folds, and how many folds define it.

    Figures of stays are means over all test stays, with "low" and "high" of their interval; the others are means over
    folds. "recall_curve" is a list of means over folds, K = 1 and up.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, figures in runs[0]["sets"].items():
        found[name] = {}
        for key in figures:
            if key == "recall_curve":
                curves = [run["sets"][name][key] for run in runs if run["sets"][name][key]]
                found[name][key] = np.mean(curves, axis=0).tolist() if curves else []  # type: ignore[assignment]
                continue
            folds = [run["sets"][name][key] for run in runs if run["sets"][name][key] is not None]
            if folds:
                spread = float(np.std(folds, ddof=1)) if len(folds) > 1 else None
                found[name][key] = {"mean": float(np.mean(folds)), "sd": spread, "folds": len(folds)}
        for key, own in _with_intervals(values[name], drawn.weights).items():
            found[name].setdefault(key, {}).update(own)
    return found


def differences(values: Values, others: Values, drawn: Drawn) -> dict[str, dict[str, dict[str, float]]]:
    """Set -> figure of stays -> "difference", "low", "high" of the first less the second, on the same draws.

    With "mann_whitney_p" and "paired_t_p", two-sided. Sets that one of both has not measured are left out.
    """
    found = {}
    for name, own in values.items():
        if name not in others:
            continue
        gap = own.astype(np.float64) - others[name]
        found[name] = {
            key: {"difference": figure.pop("mean"), **figure, **_tests(own[:, place], others[name][:, place])}
            for place, (key, figure) in enumerate(_with_intervals(gap, drawn.weights, differences=True).items())
        }
    return found


def _tests(own: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """The p of both tests; NaN where they are not defined."""
    from scipy.stats import mannwhitneyu, ttest_rel

    counts = ~np.isnan(own)
    own, others = own[counts].astype(np.float64), others[counts].astype(np.float64)
    if not own.size:
        return {"mann_whitney_p": float("nan"), "paired_t_p": float("nan")}
    gap = own - others  # in float32: what is the same at every stay has no spread to be held against
    paired = float(ttest_rel(own, others).pvalue) if np.ptp(gap) > 1e-6 * np.abs(gap).max() else float("nan")
    return {"mann_whitney_p": float(mannwhitneyu(own, others).pvalue), "paired_t_p": paired}


def by_ward(values: Values, drawn: Drawn) -> dict[str, dict[str, Any]]:
    """Ward -> test stays with a billed code, and of these the figures of stays among the billed codes."""
    billing, found = values["billing"], {}
    for ward, rows in ward_rows(drawn.wards).items():
        coded = int((~np.isnan(billing[rows, 0])).sum())
        if coded:
            found[ward] = {"stays": coded, **_with_intervals(billing[rows], drawn.weights[:, rows])}
    return found


def agreement_of(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Dev figure -> recall -> its rank correlation, over all trained networks, with RE@R on test, all levels."""
    runs = [run for run in runs if run["dev_figures"]]
    if not runs:
        return {}
    errors = {
        recall: np.array([run["sets"]["all levels"][f"rank_errors_at_{recall}"] for run in runs]) for recall in RECALLS
    }
    return {
        name: {
            str(recall): agreement(np.array([run["dev_figures"][name] for run in runs]), values)
            for recall, values in errors.items()
        }
        for name in runs[0]["dev_figures"]
    }


def _with_intervals(values: np.ndarray, weights: np.ndarray, differences: bool = False) -> dict[str, dict[str, float]]:
    """Figure -> "mean" over the stays that count, "low" and "high"; (stays, figures) and (samples, stays)."""
    counts = ~np.isnan(values[:, 0])
    total = (weights @ counts.astype(np.float64))[:, None]
    sums = weights @ np.where(counts[:, None], values, 0.0).astype(np.float64)
    drawn = np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0)
    found = {}
    for place, key in enumerate(PER_STAY):
        band = interval(drawn[:, place], "plain" if differences else scale_of(key))
        found[key] = {"mean": mean_of_defined(values[:, place]), "low": band["low"], "high": band["high"]}
    return found
