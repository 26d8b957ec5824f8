r"""The study's looks inside: per code, what the output tells; by ward; and which figure to choose models by.

    entropy reduction of a code   = min(1, I(S; Y) / H(Y)): I by k nearest neighbours (Ross 2014) on test stays, of the
                                    output S and whether the stay has the code, Y; H of Y over all stays of the data
    its binned form (ours)        = 1 - H(Y | S) / H(Y) on test stays, S: the output in bins of equal count
    rank of a code                = its median rank on stays that have it, and on stays that have not
    agreement of a choice with RE@R = Spearman's correlation, over trained models, of a dev figure and RE@R on test

All but the binned form: Marcou et al. 2024. Of several draws of test stays, per code the mean over the draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from concept_icd.metrics.areas import mean_of_defined

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


def entropy(share: np.ndarray) -> np.ndarray:
    """Binary entropy in bits, elementwise; 0 at 0 and 1."""
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

    Rank 1 is read first; ties go to the earlier column, as in `metrics.ranks`.
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
    for row in (row for codes in draws for row in codes):
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
        codes: of each "train" and `OF_CODES` (`study_run`).
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
    """
    from scipy.stats import spearmanr

    if len(choices) < 3 or np.ptp(choices) == 0 or np.ptp(errors) == 0:
        return float("nan")
    return float(spearmanr(choices, errors).statistic)
