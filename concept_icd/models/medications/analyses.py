r"""The study's looks inside: per code, what the output tells; by ward; and which figure to choose models by.

    entropy reduction of a code   = 1 - H(Y | S) / H(Y), H in bits, S: the output in bins of equal count
    rank of a code                = its mean rank on stays that have it, and on stays that have not
    agreement of a choice with RE@R = Spearman's correlation, over trained models, of a dev figure and RE@R on test

(Marcou et al. 2024, "Other analyses"; the number of bins is not printed there: it is an argument here.)
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
OF_CODES = ("entropy_reduction", "entropy_reduction_by_chance", "rank_with", "rank_without")


def entropy(share: np.ndarray) -> np.ndarray:
    """Binary entropy in bits, elementwise; 0 at 0 and 1."""
    inner = np.clip(share, 1e-300, 1 - 1e-16)
    bits = -inner * np.log2(inner) - (1 - inner) * np.log2(1 - inner)
    return np.where((share <= 0) | (share >= 1), 0.0, bits)


def entropy_reduction(gold: np.ndarray, outputs: np.ndarray, bins: int = 10) -> np.ndarray:
    """(codes,) float64 in 0..1: the share of a code's entropy that its output removes; NaN where there is none.

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


def mean_ranks(gold: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per code its mean rank on stays that have it and on stays that have not; (codes,) each, NaN where there are none.

    Rank 1 is read first; ties go to the earlier column, as in `metrics.ranks`.
    """
    with_it, without = np.zeros(gold.shape[1]), np.zeros(gold.shape[1])
    for truth, values in zip(gold, outputs, strict=True):
        ranks = np.empty(len(values))
        ranks[np.argsort(-values, kind="stable")] = np.arange(1, len(values) + 1)
        with_it += ranks * truth
        without += ranks * ~truth
    count = gold.sum(axis=0)
    others = len(gold) - count
    nothing = np.full(gold.shape[1], np.nan)
    return (
        np.divide(with_it, count, out=nothing.copy(), where=count > 0),
        np.divide(without, others, out=nothing.copy(), where=others > 0),
    )


def frequency_bands(codes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By how many training stays have a code: how many codes, and the means of what is known of them.

    Args:
        codes: of each "train" and `OF_CODES` (`study_run`).
    """
    found = []
    for low, high in zip(BANDS, (*BANDS[1:], None), strict=True):
        own = [row for row in codes if row["train"] >= low and (high is None or row["train"] < high)]
        if own:
            means = {key: mean_of_defined([row[key] for row in own]) for key in OF_CODES}
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
