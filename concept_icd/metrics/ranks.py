"""Where the gold codes of each note stand when the note's codes are ordered by falling score.

Ties are broken by column: of two codes with one score, the one with the lower column index comes first. This is
deterministic and does not look at gold; it does depend on the order of the columns, so name that order (the package
sorts codes as strings).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from concept_icd.metrics.inputs import Bools, Floats, Ints

_CHUNK = 2**23  # cells ordered at once: 64 MB of indices


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
    step = max(1, _CHUNK // gold.shape[1])
    notes, ranks = [], []
    for start in range(0, len(gold), step):
        order = np.argsort(-scores[start : start + step], axis=1, kind="stable")
        note, place = np.nonzero(np.take_along_axis(gold[start : start + step], order, axis=1))
        notes.append(note + start)
        ranks.append(place + 1)
    note, count = np.concatenate(notes), gold.sum(axis=1)
    first = np.cumsum(count) - count  # where each note's entries begin
    return GoldRanks(note, np.concatenate(ranks), np.arange(note.size) - first[note] + 1, count)
