"""Seconds of NDCG, RE@R, AUPRC and AUROC over 5,000 stays x 9,336 nodes, beside scikit-learn's calls for the same.

    OMP_NUM_THREADS=1 python benchmarks/medication_metrics.py --out benchmarks/results/medication_metrics.json

Gold nodes have a long tail, about 40 a stay; scores are drawn and follow them. scikit-learn has no RE@R: its roc_curve,
called for each stay, gives the false positives at the first threshold that reaches a recall. Its calls for AUROC and
AUPRC of a code are made code by code, as its "macro" does inside. The two take turns on one thread; processor seconds
are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from common import arguments, costed, finish, parser_of, tell
from evaluation import trapezoid
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score, roc_curve

from concept_icd.metrics import area_metrics, rank_errors_at_recall, ranking_metrics

RECALLS = (25, 50, 75, 100)
Figures = dict[str, float]


def draw(stays: int, nodes: int, gold_per_stay: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Gold, bool, and scores in 0..1, float64, no two alike; every stay and every node has a positive."""
    share = 1 / (1 + rng.permutation(nodes))
    share = np.minimum(share * gold_per_stay / share.sum(), 0.9)
    gold = rng.random((stays, nodes)) < share
    gold[np.arange(stays), rng.integers(nodes, size=stays)] = True
    gold[rng.integers(stays, size=nodes), np.arange(nodes)] = True
    scores = 1 / (1 + np.exp(-(rng.normal(size=gold.shape) + np.log(share) + 2 * gold)))
    return gold, scores


def their_order(gold: np.ndarray, scores: np.ndarray) -> Figures:
    return {"ndcg": ndcg_score(gold, scores), "ndcg_at_15": ndcg_score(gold, scores, k=15)}


def their_errors(gold: np.ndarray, scores: np.ndarray) -> Figures:
    found = np.empty((len(gold), len(RECALLS)))
    for row, (truth, values) in enumerate(zip(gold, scores, strict=True)):
        false_share, recall, _ = roc_curve(truth, values, drop_intermediate=False)
        first = np.searchsorted(recall, np.array(RECALLS) / 100 - 1e-12)
        found[row] = false_share[first] * (~truth).sum()
    return {f"rank_errors_at_{at}": float(mean) for at, mean in zip(RECALLS, found.mean(axis=0), strict=True)}


def their_macro_areas(gold: np.ndarray, scores: np.ndarray) -> Figures:
    return {
        "macro_auc": roc_auc_score(gold, scores, average="macro"),
        "macro_average_precision": average_precision_score(gold, scores, average="macro"),
        "macro_auprc": float(np.mean([trapezoid(*column) for column in zip(gold.T, scores.T, strict=True)])),
    }


def their_micro_areas(gold: np.ndarray, scores: np.ndarray) -> Figures:
    flat = gold.ravel(), scores.ravel()
    return {
        "micro_auc": roc_auc_score(*flat),
        "micro_average_precision": average_precision_score(*flat),
        "micro_auprc": trapezoid(*flat),
    }


#: Name -> ours, scikit-learn's, and whether the latter goes row by row or column by column.
FAMILIES: dict[str, tuple[Callable[..., Figures], Callable[..., Figures], str]] = {
    "NDCG, NDCG@15": (ranking_metrics, their_order, "a stay at a time"),
    "RE@R": (lambda gold, scores: rank_errors_at_recall(gold, scores, RECALLS), their_errors, "a stay at a time"),
    "macro AUROC, AUPRC, average precision": (area_metrics, their_macro_areas, "a code at a time"),
    "micro AUROC, AUPRC, average precision": (
        lambda gold, scores: area_metrics(gold.reshape(-1, 1), scores.reshape(-1, 1)),
        their_micro_areas,
        "all at once",
    ),
}


def main() -> None:
    args = arguments(parser_of(__doc__, stays=5000, nodes=9336, rounds=3))
    gold, scores = draw(args.stays, args.nodes, 40, np.random.default_rng(args.seed))
    families: dict[str, Any] = {}
    for name, (ours, theirs, how) in FAMILIES.items():
        cost, expected = costed(theirs, gold, scores)
        rounds = [costed(ours, gold, scores) for _ in range(args.rounds)]
        seconds, found = float(np.median([own["processor"] for own, _ in rounds])), rounds[0][1]
        families[name] = {
            "scikit_learn_goes": how,
            "seconds": round(seconds, 3),
            "scikit_learn_seconds": round(cost["processor"], 2),
            "times_faster": round(cost["processor"] / seconds, 1),
            "largest_gap": max(abs(found[key] - expected[key]) / max(1.0, abs(expected[key])) for key in expected),
            "figures": {key: found[key] for key in expected},
        }
        tell(name, families[name])
    result = {
        "stays": args.stays,
        "nodes": args.nodes,
        "gold_pairs": int(gold.sum()),
        "rounds": args.rounds,
        "families": families,
    }
    finish(args, result)


if __name__ == "__main__":
    main()
