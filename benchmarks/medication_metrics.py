"""Seconds of NDCG, RE@R, AUPRC and AUROC over 5,000 stays x 9,336 nodes, beside scikit-learn's calls for the same.

    OMP_NUM_THREADS=1 python benchmarks/medication_metrics.py --out benchmarks/results/medication_metrics.json

Gold nodes have a long tail, about 40 a stay; scores are drawn and follow them. scikit-learn has no RE@R: its roc_curve,
called for each stay, gives the false positives at the first threshold that reaches a recall. Its calls for AUROC and
AUPRC of a code are made code by code, as its "macro" does inside. The two take turns on one thread; processor seconds
are compared.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, record
from sklearn.metrics import auc, average_precision_score, ndcg_score, precision_recall_curve, roc_auc_score, roc_curve

from concept_icd.artifacts import write_json
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


def our_order(gold: np.ndarray, scores: np.ndarray) -> Figures:
    found = ranking_metrics(gold, scores)
    return {name: found[name] for name in ("ndcg", "ndcg_at_15")}


def their_order(gold: np.ndarray, scores: np.ndarray) -> Figures:
    return {"ndcg": ndcg_score(gold, scores), "ndcg_at_15": ndcg_score(gold, scores, k=15)}


def our_errors(gold: np.ndarray, scores: np.ndarray) -> Figures:
    return rank_errors_at_recall(gold, scores, RECALLS)


def their_errors(gold: np.ndarray, scores: np.ndarray) -> Figures:
    found = np.empty((len(gold), len(RECALLS)))
    for row, (truth, values) in enumerate(zip(gold, scores, strict=True)):
        false_share, recall, _ = roc_curve(truth, values, drop_intermediate=False)
        first = np.searchsorted(recall, np.array(RECALLS) / 100 - 1e-12)
        found[row] = false_share[first] * (~truth).sum()
    return {f"rank_errors_at_{at}": float(mean) for at, mean in zip(RECALLS, found.mean(axis=0), strict=True)}


def our_areas(gold: np.ndarray, scores: np.ndarray) -> Figures:
    return area_metrics(gold, scores)


def their_macro_areas(gold: np.ndarray, scores: np.ndarray) -> Figures:
    trapezoids = []
    for code in range(gold.shape[1]):
        precision, recall, _ = precision_recall_curve(gold[:, code], scores[:, code])
        trapezoids.append(auc(recall, precision))
    return {
        "macro_auc": roc_auc_score(gold, scores, average="macro"),
        "macro_average_precision": average_precision_score(gold, scores, average="macro"),
        "macro_auprc": float(np.mean(trapezoids)),
    }


def their_micro_areas(gold: np.ndarray, scores: np.ndarray) -> Figures:
    precision, recall, _ = precision_recall_curve(gold.ravel(), scores.ravel())
    return {
        "micro_auc": roc_auc_score(gold.ravel(), scores.ravel()),
        "micro_average_precision": average_precision_score(gold.ravel(), scores.ravel()),
        "micro_auprc": float(auc(recall, precision)),
    }


def our_macro_areas(gold: np.ndarray, scores: np.ndarray) -> Figures:
    return {name: value for name, value in our_areas(gold, scores).items() if name.startswith("macro")}


def our_micro_areas(gold: np.ndarray, scores: np.ndarray) -> Figures:
    found = our_areas(gold.reshape(-1, 1), scores.reshape(-1, 1))
    return {name: value for name, value in found.items() if name.startswith("micro")}


#: Name -> ours, scikit-learn's, and whether the latter goes row by row or column by column.
FAMILIES: dict[str, tuple[Callable[..., Figures], Callable[..., Figures], str]] = {
    "NDCG, NDCG@15": (our_order, their_order, "a stay at a time"),
    "RE@R": (our_errors, their_errors, "a stay at a time"),
    "macro AUROC, AUPRC, average precision": (our_macro_areas, their_macro_areas, "a code at a time"),
    "micro AUROC, AUPRC, average precision": (our_micro_areas, their_micro_areas, "all at once"),
}


def timed(function: Callable[..., Figures], *matrices: np.ndarray) -> tuple[float, Figures]:
    """Processor seconds, and what was found."""
    start = time.process_time()
    found = function(*matrices)
    return time.process_time() - start, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stays", type=int, default=5_000)
    parser.add_argument("--nodes", type=int, default=9_336)
    parser.add_argument("--rounds", type=int, default=3, help="of ours; scikit-learn's calls are made once")
    parser.add_argument("--seed", type=int, default=0)
    args = arguments(parser)
    gold, scores = draw(args.stays, args.nodes, 40, np.random.default_rng(args.seed))
    families: dict[str, Any] = {}
    for name, (ours, theirs, how) in FAMILIES.items():
        their_seconds, expected = timed(theirs, gold, scores)
        rounds = [timed(ours, gold, scores) for _ in range(args.rounds)]
        seconds, found = float(np.median([taken for taken, _ in rounds])), rounds[0][1]
        families[name] = {
            "scikit_learn_goes": how,
            "seconds": round(seconds, 3),
            "scikit_learn_seconds": round(their_seconds, 2),
            "times_faster": round(their_seconds / seconds, 1),
            "largest_gap": max(abs(found[key] - expected[key]) / max(1.0, abs(expected[key])) for key in expected),
            "figures": found,
        }
        print(name, families[name], flush=True)
    result = record("medication_metrics.py", args.seed) | {
        "stays": args.stays,
        "nodes": args.nodes,
        "gold_pairs": int(gold.sum()),
        "rounds": args.rounds,
        "families": families,
    }
    write_json(args.out, result)


if __name__ == "__main__":
    main()
