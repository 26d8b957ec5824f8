r"""Metrics of the order of a note's codes. With P gold codes at ranks r_1 < ... < r_P:

    precision_at_k = |{j: r_j <= k}| / k              recall_at_k = |{j: r_j <= k}| / P
    precision_ceiling_at_k = min(P, k) / k            (the highest precision_at_k that the gold codes allow)
    r_precision    = |{j: r_j <= P}| / P              map         = 1/P  sum_j  j / r_j
    coverage       = r_P                              (how far down to read for every gold code)
    ndcg           = sum_j 1/log2(1 + r_j)  /  sum_{j=1..P} 1/log2(1 + j)
    ndcg_at_k      = the same with r_j <= k above and j <= min(P, k) below

Each is a mean over the notes that have a gold code (scikit-learn's ndcg_score and coverage_error count the others as
0; here they are left out, and NaN is returned where no note has a gold code). The denominator of precision_at_k is k
even where the set has fewer codes. Ties: see `ranks`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from concept_icd.metrics.areas import mean_of_defined
from concept_icd.metrics.inputs import Floats, check_pair, codes_with_gold
from concept_icd.metrics.rank_errors import RECALLS, note_rank_errors
from concept_icd.metrics.ranks import GoldRanks, gold_ranks


def ranking_metrics(
    gold: ArrayLike, scores: ArrayLike, ks: Iterable[int] = (5, 8, 15), codes_with_gold_only: bool = False
) -> dict[str, float]:
    """The module's metrics at every k of `ks` (NDCG also at 15), and step rank errors at 25, 50, 75, 100 % recall.

    Args:
        gold: 0/1 (notes, codes). scores: (notes, codes); a higher score is read first.
        codes_with_gold_only: rank only the codes with a gold example here, as Edin et al. 2023 do.

    Raises:
        ValueError: see `inputs.check_pair`; a k below 1; no code is left.
    """
    truth, values = check_pair(gold, scores)
    if codes_with_gold_only:
        kept = codes_with_gold(truth)
        truth, values = truth[:, kept], values[:, kept]
    ranks = gold_ranks(truth, values)
    return {name: mean_of_defined(values) for name, values in note_ranking(ranks, ks).items()}


def note_ranking(ranks: GoldRanks, ks: Iterable[int]) -> dict[str, Floats]:
    """The same per note: (notes with a gold code,) each."""
    ks = sorted(set(ks))
    if any(k < 1 for k in ks):
        raise ValueError(f"k starts at 1: {ks}")
    count = ranks.count[ranks.has_gold].astype(np.float64)
    values: dict[str, Floats] = {}
    for k in ks:
        hits = ranks.sums(ranks.rank <= k)
        values[f"precision_at_{k}"] = hits / k
        values[f"precision_ceiling_at_{k}"] = np.minimum(count, k) / k
        values[f"recall_at_{k}"] = hits / count
    values["r_precision"] = ranks.sums(ranks.rank <= ranks.count[ranks.note]) / count
    values["map"] = ranks.sums(ranks.position / ranks.rank) / count
    gain, ideal = 1 / np.log2(1 + ranks.rank), 1 / np.log2(1 + ranks.position)
    values["ndcg"] = ranks.sums(gain) / ranks.sums(ideal)
    for k in sorted({*ks, 15}):
        values[f"ndcg_at_{k}"] = ranks.sums(gain * (ranks.rank <= k)) / ranks.sums(ideal * (ranks.position <= k))
    values["coverage"] = ranks.sums(ranks.rank * (ranks.position == ranks.count[ranks.note]))
    return values | note_rank_errors(ranks, RECALLS)
