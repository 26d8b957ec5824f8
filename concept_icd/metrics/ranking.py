r"""Metrics of the order of a note's codes. With P gold codes at ranks r_1 < ... < r_P:

    precision_at_k = |{j: r_j <= k}| / k              recall_at_k = |{j: r_j <= k}| / P
    precision_ceiling_at_k = min(P, k) / k            (the highest precision_at_k that the gold codes allow)
    r_precision    = |{j: r_j <= P}| / P              map         = 1/P  sum_j  j / r_j
    coverage       = r_P                              (how far down to read for every gold code)
    ndcg           = sum_j 1/log2(1 + r_j)  /  sum_{j=1..P} 1/log2(1 + j)
    ndcg_at_k      = the same with r_j <= k above and j <= min(P, k) below

Each is a mean over the notes that have a gold code (scikit-learn's ndcg_score and coverage_error count the others as
0; here they are left out, and NaN is returned where no note has a gold code). The denominator of precision_at_k is k
even where the set has fewer codes.

The rank of a code among the codes of its note:

    rank = 1 + |{codes with a higher score}| + |{codes with the same score in an earlier column}|

So ties are broken by column: of two codes with one score, the one with the lower column index comes first. This is
deterministic and does not look at gold; it does depend on the order of the columns, so name that order (the package
sorts codes as strings).

Rank errors at recall: how many wrong codes a coder reads, from the top, before a fraction R of the gold codes. The
number of wrong codes above the j-th gold code is e_j = r_j - j.

    step:    RE@R = e_j  with  j = ceil(R P), the first j that reaches recall R
    interp:  RE@R = e at position 1 + R (P - 1), linear between neighbours
             (= percentile_R(r_1..r_P) - percentile_R(1..P), as the code of Marcou et al. 2024 computes it)

Both meet RE@100 = coverage - P at R = 1; the formula printed in that paper would count every negative there. Gold at
ranks 1, 3, 4, 9: step 0, 1, 1, 5 and interp .75, 1, 2, 5 at 25, 50, 75, 100 %. Every note with a gold code counts,
also one with a single gold code (both forms: r_1 - 1); notes without are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from concept_icd.metrics.auc import mean_of_defined
from concept_icd.metrics.inputs import Bools, Floats, Ints, check_pair, codes_with_gold

Mode = Literal["step", "interp"]
RECALLS = (0.25, 0.5, 0.75, 1.0)


def ranking_metrics(
    gold: ArrayLike, scores: ArrayLike, ks: Iterable[int] = (5, 8, 15), codes_with_gold_only: bool = False
) -> dict[str, float]:
    """The module's metrics at every k of `ks` (NDCG also at 15), and step rank errors at 25, 50, 75, 100 % recall.

    Args:
        gold: 0/1 (notes, codes). scores: (notes, codes); a higher score is read first.
        codes_with_gold_only: rank only the codes with a gold example here, as Edin et al. 2023 do.

    Raises:
        ValueError: see `inputs.check_pair`; a k below 1; no code is left.

    >>> found = ranking_metrics([[1, 0, 1]], [[0.9, 0.5, 0.3]], ks=[2])  # gold at ranks 1 and 3
    >>> found["precision_at_2"], found["recall_at_2"], round(found["map"], 3), found["coverage"]
    (0.5, 0.5, 0.833, 3.0)
    """
    truth, values = check_pair(gold, scores)
    if codes_with_gold_only:
        kept = codes_with_gold(truth)
        truth, values = truth[:, kept], values[:, kept]
    ranks = gold_ranks(truth, values)
    return {name: mean_of_defined(values) for name, values in note_ranking(ranks, ks).items()}


def note_ranking(ranks: GoldRanks, ks: Iterable[int]) -> dict[str, Floats]:
    """The figures of `ranking_metrics` per note: (notes with a gold code,) each."""
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


@dataclass(frozen=True)
class GoldRanks:
    """One entry per gold (note, code), by note and then by rank.

    Attributes:
        note: row. rank: 1 is the top. position: j, where this is the note's j-th gold code from the top.
        count: (notes,) gold codes of each note.
    """

    note: Ints
    rank: Ints
    position: Ints
    count: Ints

    @property
    def has_gold(self) -> Bools:
        """(notes,) the note has a gold code."""
        return self.count > 0

    def sums(self, values: Floats | Bools | Ints) -> Floats:
        """Sums values of gold codes per note; one number for each note that has a gold code."""
        weights = np.asarray(values, dtype=np.float64)
        summed = np.bincount(self.note, weights=weights, minlength=self.count.size).astype(np.float64)
        return summed[self.has_gold]


def gold_ranks(gold: Bools, scores: Floats) -> GoldRanks:
    """The ranks of the gold codes; both (notes, codes), checked."""
    note, code = np.nonzero(gold)
    rank = ranks_of(scores, note, code)
    rank = rank[np.lexsort((rank, note))]
    count = gold.sum(axis=1)
    first = np.cumsum(count) - count  # where each note's entries begin
    return GoldRanks(note, rank, np.arange(note.size) - first[note] + 1, count)


def ranks_of(scores: Floats, note: Ints, code: Ints) -> Ints:
    """The rank of each (note, code) named, 1 at the top; scores (notes, codes), the other two of one length.

    Those of a note stand together.
    """
    if not note.size:
        return np.empty(0, dtype=np.int64)
    cuts = np.flatnonzero(np.diff(note)) + 1
    rows = note[np.concatenate([[0], cuts])].tolist()
    above = [_codes_above(scores[row], own) for row, own in zip(rows, np.split(code, cuts), strict=True)]
    return np.concatenate(above) + 1


def _codes_above(scores: Floats, codes: Ints) -> Ints:
    """How many codes of a note are read before each of these."""
    if codes.size <= 2 + scores.size // 1000:  # so few are counted faster than all are sorted
        above = [
            np.count_nonzero(scores[:code] >= scores[code]) + np.count_nonzero(scores[code + 1 :] > scores[code])
            for code in codes.tolist()
        ]
        return np.array(above, dtype=np.int64)
    own, ordered = scores[codes], np.sort(scores)  # of values, which is ten times faster than of indices
    above_or_tied = scores.size - ordered.searchsorted(own, side="left")
    higher = scores.size - ordered.searchsorted(own, side="right")
    for place in np.flatnonzero(above_or_tied - higher > 1).tolist():
        higher[place] += np.count_nonzero(scores[: codes[place]] == own[place])
    return higher


def rank_errors_at_recall(
    gold: ArrayLike, scores: ArrayLike, recalls: Iterable[float] = RECALLS, mode: Mode = "step"
) -> dict[str, float]:
    """Mean rank errors per note, as `rank_errors_at_25` and so on.

    Args:
        gold: 0/1 (notes, codes). scores: (notes, codes). recalls: fractions in (0, 1]; where any is above 1, all are
            percentages, so that (25, 50, 75, 100) means the same as (.25, .5, .75, 1).

    Raises:
        ValueError: see `inputs.check_pair`; a recall outside (0, 1]; another mode.

    >>> gold, scores = [[1, 0, 1, 1, 0, 0, 0, 0, 1]], [[9, 8, 7, 6, 5, 4, 3, 2, 1]]  # gold at ranks 1, 3, 4 and 9
    >>> rank_errors_at_recall(gold, scores)
    {'rank_errors_at_25': 0.0, 'rank_errors_at_50': 1.0, 'rank_errors_at_75': 1.0, 'rank_errors_at_100': 5.0}
    >>> rank_errors_at_recall(gold, scores, [0.25], mode="interp")
    {'rank_errors_at_25': 0.75}
    """
    ranks = gold_ranks(*check_pair(gold, scores))
    return {name: mean_of_defined(values) for name, values in note_rank_errors(ranks, recalls, mode).items()}


def note_rank_errors(ranks: GoldRanks, recalls: Iterable[float], mode: Mode = "step") -> dict[str, Floats]:
    """The figures of `rank_errors_at_recall` per note: (notes with a gold code,) each."""
    if mode not in ("step", "interp"):
        raise ValueError(f"mode is 'step' or 'interp', not {mode!r}")
    fractions = [float(recall) for recall in recalls]
    if any(fraction > 1 for fraction in fractions):
        fractions = [fraction / 100 for fraction in fractions]
    if not all(0 < fraction <= 1 for fraction in fractions):
        raise ValueError(f"recalls lie in (0, 1], or in (0, 100] as percentages: {list(recalls)}")
    errors = (ranks.rank - ranks.position).astype(np.float64)
    count = ranks.count[ranks.has_gold]
    first = np.cumsum(count) - count  # where each note's errors begin
    found = {}
    for fraction in fractions:
        if mode == "step":  # the small number undoes float rounding such as .07 * 100 = 7.000000000000001
            values = errors[first + np.ceil(fraction * count - 1e-9).astype(np.int64) - 1]
        else:
            place = fraction * (count - 1)
            below = np.floor(place).astype(np.int64)
            above = np.minimum(below + 1, count - 1)
            values = errors[first + below] + (place - below) * (errors[first + above] - errors[first + below])
        found[f"rank_errors_at_{fraction * 100:.10g}"] = values
    return found
