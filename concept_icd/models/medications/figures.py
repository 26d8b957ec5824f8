"""The figures of the study for one set of test stays, per set of nodes, and per stay what their means are made of.

Sets of nodes: every node ("all levels"), each level of the tree, the nodes that stand on bills ("billing"), the 50 most
frequent of these ("billing, top 50"), and all without the codes that the study leaves out ("..., subset").

Decisions are made twice: `micro_f1` and its kin by the threshold of each level from dev stays, `*_at_half` where the
probability is above .5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from concept_icd.heads.threshold import choose_threshold
from concept_icd.metrics.areas import area_metrics
from concept_icd.metrics.calibration import calibration_metrics
from concept_icd.metrics.decisions import decision_metrics
from concept_icd.metrics.rank_errors import note_rank_errors
from concept_icd.metrics.ranking import note_ranking
from concept_icd.metrics.ranks import GoldRanks, gold_ranks
from concept_icd.models.medications.records import Targets

#: How many codes a coder reads, for Recall@K (Marcou et al. 2024).
READ = (5, 10, 15, 20, 30, 50)
#: The last K of the curves of Recall@K.
CURVE = 100
RECALLS = (10, 25, 33, 50, 66, 75, 90, 100)
#: Codes of the set "billing, top 50".
TOP = 50
#: The study's seven target metrics.
TARGET_METRICS = (
    "micro_f1_at_half",
    "macro_f1_at_half",
    "ndcg",
    "micro_auprc",
    "macro_auprc",
    "micro_auc",
    "macro_auc",
)
#: Means over stays, in the page's order; the intervals are theirs.
STEP = tuple(f"rank_errors_at_{recall}" for recall in RECALLS)
INTERPOLATED = tuple(f"{name}_interp" for name in STEP)
DECISIONS = ("micro_f1", "micro_precision", "micro_recall", "macro_f1", "macro_f1_caml")
PER_STAY = ("ndcg", "ndcg_at_15", *STEP, *INTERPOLATED, *(f"recall_at_{k}" for k in READ))


def node_sets(targets: Targets, kept: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Name of each set -> the rows of its nodes; sets without nodes are left out.

    Args:
        kept: bool (nodes,), False for the nodes that the study's subset leaves out; None: no subsets.
    """
    levels = np.array(targets.levels)
    masks = {"all levels": np.ones(len(levels), dtype=bool)}
    masks |= {level: levels == level for level in dict.fromkeys(targets.levels)}
    masks["billing"] = targets.billed
    counts = np.where(targets.billed, np.asarray(targets.gold.sum(axis=0)).ravel(), 0)
    most = np.argsort(-counts, kind="stable")[:TOP]
    masks[f"billing, top {TOP}"] = np.isin(np.arange(len(levels)), most[counts[most] > 0])
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
    probabilities: Mapping[str, np.ndarray],
    targets: Targets,
    sets: Mapping[str, np.ndarray],
    thresholds: Mapping[str, float],
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Set of nodes -> name of the figure -> value; and set -> (stays, figures of `PER_STAY`), float32.

    Args:
        gold: bool (stays, nodes). probabilities: set of nodes -> (stays, nodes) in 0..1, for each set to be measured.
        sets: set -> its nodes. thresholds: level -> from dev stays.

    Returns:
        The rows of stays without a gold code of the set are NaN in the second, and count in no mean.
    """
    limit = np.array([thresholds[level] for level in targets.levels])
    found, per_stay = {}, {}
    for name, answers in probabilities.items():
        rows = sets[name]
        truth, p = gold[:, rows], answers[:, rows].astype(np.float64)
        ranks = gold_ranks(truth, p)
        values = note_ranking(ranks, READ)
        values |= note_rank_errors(ranks, RECALLS, "step")
        values |= {f"{key}_interp": value for key, value in note_rank_errors(ranks, RECALLS, "interp").items()}
        per_stay[name] = np.full((len(gold), len(PER_STAY)), np.nan, dtype=np.float32)
        per_stay[name][ranks.has_gold] = np.stack([values[key] for key in PER_STAY], axis=1)
        decisions, at_half = decision_metrics(truth, p >= limit[rows]), decision_metrics(truth, p > 0.5)
        found[name] = {
            "nodes": len(rows),
            "stays_with_gold": int(ranks.has_gold.sum()),
            **{key: float(np.mean(value)) if len(value) else float("nan") for key, value in values.items()},
            "recall_curve": _recall_curve(ranks),
            **{key: decisions[key] for key in DECISIONS},
            **{f"{key}_at_half": at_half[key] for key in DECISIONS},
            **area_metrics(truth, p),
            **calibration_metrics(truth, p),
        }
    return found, per_stay


def _recall_curve(ranks: GoldRanks) -> list[float]:
    """Mean Recall@K over the stays with a gold code, for K = 1 .. `CURVE`; empty without such a stay."""
    stays = int(ranks.has_gold.sum())
    if not stays:
        return []
    share = 1 / ranks.count[ranks.note]
    found = np.bincount(np.minimum(ranks.rank, CURVE + 1), weights=share, minlength=CURVE + 2)[1 : CURVE + 1]
    return [float(value) for value in np.cumsum(found) / stays]
