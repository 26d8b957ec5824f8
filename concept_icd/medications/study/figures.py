"""The figures of the study for one set of test stays, per set of nodes, and per stay what their means are made of.

Sets of nodes: every node ("all levels"), each level of the tree, the nodes that stand on bills ("billing"), the 50 most
frequent of these ("billing, top 50"), and all without the codes that the study leaves out ("..., subset").

Decisions are made twice: `micro_f1` and its kin by the threshold of each level from dev stays, `*_at_half` where the
probability is above .5.

The study also looks inside: what the output tells per code, by ward, and by which figure to choose models.

    entropy reduction of a code   = min(1, I(S; Y) / H(Y)): I by k nearest neighbours (Ross 2014) on test stays, of
                                    the output S and whether the stay has the code, Y; H of Y over all stays
    its binned form (ours)        = 1 - H(Y | S) / H(Y) on test stays, S: the output in bins of equal count
    rank of a code                = its median rank on stays that have it, and on stays that have not
    agreement of a choice with RE@R = Spearman's correlation, over trained models, of a dev figure and RE@R on test

All but the binned form: Marcou et al. 2024. Of several draws of test stays, per code the mean over the draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from concept_icd.heads.calibration import choose_threshold
from concept_icd.medications.strategy import Targets
from concept_icd.metrics.auc import area_metrics, mean_of_defined
from concept_icd.metrics.calibration import calibration_metrics
from concept_icd.metrics.decisions import decision_metrics
from concept_icd.metrics.ranking import GoldRanks, gold_ranks, note_rank_errors, note_ranking

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
#: Stays per bin at least: fewer say little about a share.
_FULL = 20
#: Training stays with a code, from which a band of frequency begins.
BANDS = (0, 1, 10, 100, 1000)
OF_CODES = (
    "entropy_reduction",
    "binned_entropy_reduction",
    "binned_entropy_reduction_by_chance",
    "rank_with",
    "rank_without",
)


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


def entropy(share: np.ndarray) -> np.ndarray:
    """Binary entropy in bits, elementwise; 0 at 0 and 1.

    >>> entropy(np.array([0.0, 0.5])).tolist()
    [0.0, 1.0]
    """
    inner = np.clip(share, 1e-300, 1 - 1e-16)
    bits = -inner * np.log2(inner) - (1 - inner) * np.log2(1 - inner)
    return np.where((share <= 0) | (share >= 1), 0.0, bits)


def entropy_reduction(
    gold: np.ndarray, outputs: np.ndarray, shares: np.ndarray, neighbours: int = 3, seed: int = 0
) -> np.ndarray:
    """(codes,) float64 in 0..1: mutual information of output and code over the code's entropy.

    NaN where the entropy is 0, and where no two test stays are alike in the code, so that none has a neighbour.

    Args:
        gold: bool (stays, codes), of the test. outputs: (stays, codes). shares: (codes,) of all stays of the data that
            have each code. neighbours: of the estimate. seed: of the least noise that it adds, which parts ties.
    """
    from sklearn.feature_selection import mutual_info_classif

    whole = entropy(shares) * np.log(2)  # scikit-learn counts in nats
    found = np.full(gold.shape[1], np.nan)
    alike = np.maximum(gold.sum(axis=0), (~gold).sum(axis=0)) > 1
    neighbours = min(neighbours, len(gold) - 1)
    for code in np.flatnonzero((whole > 0) & alike):
        told = mutual_info_classif(
            outputs[:, [code]].astype(np.float64), gold[:, code], n_neighbors=neighbours, random_state=seed
        )
        found[code] = min(1.0, float(told[0]) / whole[code])
    return found


def binned_entropy_reduction(gold: np.ndarray, outputs: np.ndarray, bins: int = 10) -> np.ndarray:
    """(codes,) float64 in 0..1: the share of a code's entropy that its binned output removes; NaN where there is none.

    Args:
        gold: bool (stays, codes). outputs: (stays, codes); only their order within a code matters.
        bins: of equal count, fewer where there are fewer than 20 stays a bin. Rare codes seem to lose much of their
            entropy whatever the output: beside it belongs `reduction_by_chance`.
    """
    order = np.argsort(outputs, axis=0, kind="stable")
    found = _reduction(np.take_along_axis(gold, order, axis=0), bins)
    told = np.ptp(outputs, axis=0) > 0  # one output for all stays tells nothing
    return np.where(told | np.isnan(found), found, 0.0)


def reduction_by_chance(gold: np.ndarray, bins: int = 10, draws: int = 10, seed: int = 0) -> np.ndarray:
    """(codes,) the entropy reduction of outputs that have nothing to do with the codes: the mean of some shuffles."""
    rng = np.random.default_rng(seed)
    found: np.ndarray = np.mean([_reduction(gold[rng.permutation(len(gold))], bins) for _ in range(draws)], axis=0)
    return found


def _reduction(ordered: np.ndarray, bins: int) -> np.ndarray:
    """The share of each code's entropy that goes when the stays are cut, in this order, into bins of equal count."""
    stays = len(ordered)
    parts = np.array_split(ordered, max(1, min(bins, stays // _FULL)))
    left = sum(len(part) / stays * entropy(part.mean(axis=0)) for part in parts)
    whole = entropy(ordered.mean(axis=0))
    return np.divide(whole - left, whole, out=np.full(ordered.shape[1], np.nan), where=whole > 0)


def median_ranks(gold: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per code its median rank on stays that have it, and on others; (codes,) each, NaN where there are none.

    Rank 1 is read first; ties go to the earlier column, as in `metrics.ranking`.

    >>> gold, outputs = np.array([[True, False], [False, False]]), np.array([[0.2, 0.9], [0.1, 0.8]])
    >>> [ranks.tolist() for ranks in median_ranks(gold, outputs)]
    [[2.0, nan], [2.0, 1.0]]
    """
    ranks = np.empty(outputs.shape, dtype=np.int32)
    for row, values in zip(ranks, outputs, strict=True):
        row[np.argsort(-values, kind="stable")] = np.arange(1, len(values) + 1)
    with_it, without = np.full(gold.shape[1], np.nan), np.full(gold.shape[1], np.nan)
    for code, (truth, own) in enumerate(zip(gold.T, ranks.T, strict=True)):
        for found, which in ((with_it, truth), (without, ~truth)):
            if which.any():
                found[code] = np.median(own[which])
    return with_it, without


def mean_over_draws(draws: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The codes of several draws, each once: of "train", "test" and `OF_CODES` the mean over the draws that know them.

    Args:
        draws: of each its codes, with "code", "level", "train", "test" and `OF_CODES`, None where not known.
    """
    of_code: dict[str, list[Mapping[str, Any]]] = {}
    for row in chain.from_iterable(draws):
        of_code.setdefault(row["code"], []).append(row)
    found = []
    for code, rows in of_code.items():
        means: dict[str, Any] = {"code": code, "level": rows[0]["level"]}
        for key in ("train", "test", *OF_CODES):
            known = [row[key] for row in rows if row[key] is not None and not np.isnan(row[key])]
            means[key] = float(np.mean(known)) if known else None
        found.append(means)
    return found


def frequency_bands(codes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By how many training stays have a code: how many codes, and the means of what is known of them.

    Args:
        codes: of each "train" and `OF_CODES` (`run`).
    """
    found = []
    for low, high in zip(BANDS, (*BANDS[1:], None), strict=True):
        own = [row for row in codes if row["train"] >= low and (high is None or row["train"] < high)]
        if own:
            values = {key: [np.nan if row[key] is None else row[key] for row in own] for key in OF_CODES}
            means = {key: mean_of_defined(values[key]) for key in OF_CODES}
            found.append({"from": low, "below": high, "codes": len(own), **means})
    return found


def ward_rows(wards: Sequence[str | None]) -> dict[str, np.ndarray]:
    """Ward -> its rows; stays without a known ward are under "unknown"."""
    names = [ward or "unknown" for ward in wards]
    return {name: np.flatnonzero(np.array(names) == name) for name in sorted(set(names))}


def agreement(choices: np.ndarray, errors: np.ndarray) -> float:
    """Spearman's rank correlation of dev figures and rank errors of as many models; NaN under three of them.

    Higher figures should go with fewer errors: -1 is a perfect choice.

    >>> round(agreement(np.array([0.1, 0.2, 0.3]), np.array([9.0, 5.0, 4.0])), 6)
    -1.0
    """
    from scipy.stats import spearmanr

    if len(choices) < 3 or np.ptp(choices) == 0 or np.ptp(errors) == 0:
        return float("nan")
    return float(spearmanr(choices, errors).statistic)
