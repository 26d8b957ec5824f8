"""Rank errors at recall: how many wrong codes a coder reads, from the top, before a fraction R of the gold codes.

With P gold codes at ranks r_1 < ... < r_P, e_j = r_j - j is the number of wrong codes above the j-th gold code.

    step:    RE@R = e_j  with  j = ceil(R P), the first j that reaches recall R
    interp:  RE@R = e at position 1 + R (P - 1), linear between neighbours
             (= percentile_R(r_1..r_P) - percentile_R(1..P), as the code of Marcou et al. 2024 computes it)

Both meet RE@100 = coverage - P at R = 1; the formula printed in that paper would count every negative there. Gold at
ranks 1, 3, 4, 9: step 0, 1, 1, 5 and interp .75, 1, 2, 5 at 25, 50, 75, 100 %. Every note with a gold code counts,
also one with a single gold code (both forms: r_1 - 1); notes without are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from concept_icd.metrics.areas import mean_of_defined
from concept_icd.metrics.inputs import Floats, check_pair
from concept_icd.metrics.ranks import GoldRanks, gold_ranks

Mode = Literal["step", "interp"]
RECALLS = (0.25, 0.5, 0.75, 1.0)


def rank_errors_at_recall(
    gold: ArrayLike, scores: ArrayLike, recalls: Iterable[float] = RECALLS, mode: Mode = "step"
) -> dict[str, float]:
    """Mean rank errors per note, as `rank_errors_at_25` and so on.

    Args:
        gold: 0/1 (notes, codes). scores: (notes, codes). recalls: fractions in (0, 1]; where any is above 1, all are
            percentages, so that (25, 50, 75, 100) means the same as (.25, .5, .75, 1).

    Raises:
        ValueError: see `inputs.check_pair`; a recall outside (0, 1]; another mode.
    """
    ranks = gold_ranks(*check_pair(gold, scores))
    return {name: mean_of_defined(values) for name, values in note_rank_errors(ranks, recalls, mode).items()}


def note_rank_errors(ranks: GoldRanks, recalls: Iterable[float], mode: Mode = "step") -> dict[str, Floats]:
    """The same per note: (notes with a gold code,) each."""
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
