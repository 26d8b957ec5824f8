"""What the runs of a study come to: means over folds and test stays, their intervals, differences, wards, agreement.

Intervals: over patients (`metrics.intervals`): a patient is left out with every test stay of theirs in every fold, and
all strategies are measured on the same samples, so that differences pair. Beside a difference stand the study's two
tests, which take stays for independent: Mann and Whitney's of the two sets of values, and the paired t-test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from concept_icd.metrics.areas import mean_of_defined
from concept_icd.metrics.intervals import draw_weights, interval, scale_of
from concept_icd.models.medications.analyses import agreement, ward_rows
from concept_icd.models.medications.figures import PER_STAY, RECALLS
from concept_icd.models.medications.folds import Fold
from concept_icd.models.medications.records import Stays
from concept_icd.models.medications.study_run import MEASURED

#: Set -> (test stays of all folds, figures of `PER_STAY`), NaN where a stay has no gold code of the set.
Values = Mapping[str, np.ndarray]
Run = Mapping[str, Any]


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
