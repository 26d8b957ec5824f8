"""The figures of the study for one set of test stays, per set of nodes, with intervals over patients.

Sets of nodes: every node ("all levels"), each level of the tree, the nodes that stand on bills ("billing"), and each of
them without the codes that the study leaves out ("..., subset").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from concept_icd.heads.threshold import choose_threshold
from concept_icd.metrics.areas import area_metrics
from concept_icd.metrics.calibration import calibration_metrics
from concept_icd.metrics.decisions import decision_metrics
from concept_icd.metrics.intervals import draw_weights, drawn_means, interval
from concept_icd.metrics.rank_errors import note_rank_errors
from concept_icd.metrics.ranking import note_ranking
from concept_icd.metrics.ranks import gold_ranks
from concept_icd.models.medications.records import Targets

#: How many codes a coder reads, for Recall@K (Marcou et al. 2024).
READ = (5, 10, 15, 20, 30, 50)
RECALLS = (0.25, 0.5, 0.75, 1.0)


def node_sets(targets: Targets, kept: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Name of each set -> the rows of its nodes; sets without nodes are left out.

    Args:
        kept: bool (nodes,), False for the nodes that the study's subset leaves out; None: no subsets.
    """
    levels = np.array(targets.levels)
    masks = {"all levels": np.ones(len(levels), dtype=bool)}
    masks |= {level: levels == level for level in dict.fromkeys(targets.levels)}
    masks["billing"] = targets.billed
    if kept is not None:
        masks |= {f"{name}, subset": mask & kept for name, mask in masks.items()}
    return {name: np.flatnonzero(mask) for name, mask in masks.items() if mask.any()}


def choose_thresholds(gold: np.ndarray, probabilities: np.ndarray, levels: Sequence[str]) -> dict[str, float]:
    """Level -> the threshold with the highest micro-F1 on dev stays; 1 where no stay has a node of the level.

    Args:
        gold: bool (stays, nodes). probabilities: the same shape.
    """
    rows = {level: np.flatnonzero(np.array(levels) == level) for level in dict.fromkeys(levels)}
    return {
        level: choose_threshold(gold[:, own], probabilities[:, own]).value if gold[:, own].any() else 1.0
        for level, own in rows.items()
    }


def study_figures(
    gold: np.ndarray,
    probabilities: np.ndarray,
    targets: Targets,
    sets: Mapping[str, np.ndarray],
    thresholds: Mapping[str, float],
    patients: Sequence[str],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Set of nodes -> name of the figure -> value, and "intervals" for the means over stays.

    Args:
        gold: bool (stays, nodes). probabilities: (stays, nodes) in 0..1. thresholds: level -> from dev stays.
        patients: (stays,), what the bootstrap draws.
    """
    limit = np.array([thresholds[level] for level in targets.levels])
    weights = draw_weights(list(patients), len(gold), draws, seed)
    found = {}
    for name, rows in sets.items():
        truth, p = gold[:, rows], probabilities[:, rows].astype(np.float64)
        ranks = gold_ranks(truth, p)
        values = note_ranking(ranks, READ)
        interpolated = note_rank_errors(ranks, RECALLS, "interp")
        values |= {f"{key}_interp": value for key, value in interpolated.items()}
        decisions = decision_metrics(truth, p >= limit[rows])
        means = {key: float(np.mean(value)) if len(value) else float("nan") for key, value in values.items()}
        drawn = drawn_means(values, weights[:, ranks.has_gold]) if ranks.has_gold.any() else {}
        found[name] = {
            "nodes": len(rows),
            "stays_with_gold": int(ranks.has_gold.sum()),
            **means,
            **{key: decisions[key] for key in ("micro_f1", "macro_f1", "macro_f1_caml")},
            **area_metrics(truth, p),
            **calibration_metrics(truth, p),
            "intervals": {key: interval(sample) for key, sample in drawn.items()},
        }
    return found
