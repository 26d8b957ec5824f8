"""Where the gold codes of each note stand when the note's codes are ordered by falling score.

    rank = 1 + |{codes with a higher score}| + |{codes with the same score in an earlier column}|

So ties are broken by column: of two codes with one score, the one with the lower column index comes first. This is
deterministic and does not look at gold; it does depend on the order of the columns, so name that order (the package
sorts codes as strings).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from concept_icd.metrics.inputs import Bools, Floats, Ints


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
