r"""How far down its list a note is read: what to expect there, where to stop, and what was found.

Let the codes of a note be gold independently, code i with its calibrated probability \(p_i\), S of them in all and
\(S_k\) among the first k in the order shown. Of the notes that have a gold code of the set, the expected recall is

    E[S_k / S | S >= 1] = sum_{i <= k} w_i / sum_i w_i,     w_i = p_i \int_0^1 prod_{j != i} (1 - p_j s) ds

since a gold code i brings 1/S = 1/(1 + gold codes beside it), and 1/(1 + m) = \int_0^1 t^m dt with t = 1 - s. The share
of the probability mass, sum_{i <= k} p_i / sum_i p_i, is another number: the ratio of the expectations. It is too low
for the first codes of a note (p = 1, .5: 2/3 against the true 3/4), so that more would be read.

With P gold codes at ranks r_1 < ... < r_P and the note read down to rank d:

    reading_recall = |{j: r_j <= d}| / P            reading_errors  = d - |{j: r_j <= d}|   (read in vain)
    reading_depth  = d                              reading_reached = 1 where reading_recall >= the recall asked for

    fixed depth: the smallest k, linear between whole numbers, at which the mean recall of all notes, each read down to
    rank k, is a given one. It is chosen on the notes that it is measured on, which is to its advantage.

Notes without a gold code have no recall and are left out. Ties: see `ranking`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from concept_icd.metrics.inputs import Floats, Ints
from concept_icd.metrics.ranking import GoldRanks

#: What a result's `read_first` is for.
RECALL = 0.9
#: The targets that are measured.
TARGETS = (0.5, 0.75, 0.8, 0.9, 0.95)
#: Points of the integral: exact up to 32 codes, beyond that to 1e-6 where a note has up to 60 gold codes.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
#: Pairs that are looked at together.
_BLOCK = 2**20
#: In place of 0, so that a note in which nothing is likely has an expectation: the share of its codes that were read.
_TINY = 1e-12


def expected_recall(probabilities: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The module's formula, before any correction; see `RecallCutoff.expected_recall`."""
    found = np.empty(probabilities.shape)
    for rows in _blocks(*probabilities.shape):
        p = np.take_along_axis(probabilities[rows], order[rows], axis=1).astype(np.float64).clip(_TINY, 1.0)
        worth, first = np.zeros_like(p), None
        for node, weight in zip(_NODES, _WEIGHTS, strict=True):
            left = 1.0 - p * (1 + node) / 2
            product = np.log(left).sum(axis=1, keepdims=True)
            first = product if first is None else first  # a factor of the note, which keeps thousands of codes from 0
            worth += weight * p / left * np.exp(product - first)
        reached = np.cumsum(worth, axis=1)
        found[rows] = reached / reached[:, -1:]
    return found


def stops(expected: np.ndarray, recall: float = RECALL) -> tuple[np.ndarray, np.ndarray]:
    """Where to stop reading each note: at the first rank whose expected recall is at least `recall`, the last at most.

    Args:
        expected: shape (notes, codes), of each code once it is read; in any order of the columns. recall: in (0, 1].

    Returns:
        That rank, int64, and the recall expected there, float64, shape (notes,) each.

    >>> stops(np.array([[0.75, 0.95, 1.0]]), 0.9)
    (array([2]), array([0.95]))
    """
    before = expected < recall - 1e-12
    at = np.where(before, np.inf, expected).min(axis=1)
    last = before.all(axis=1)
    return before.sum(axis=1) + ~last, np.where(last, expected.max(axis=1), at)


def _blocks(notes: int, codes: int) -> Iterator[slice]:
    step = max(1, _BLOCK // max(1, codes))
    return (slice(start, start + step) for start in range(0, notes, step))


def note_reading(ranks: GoldRanks, depth: Ints, expected: Floats, recall: float) -> dict[str, Floats]:
    """The module's figures per note, (notes,) each; NaN where the note has no gold code.

    Args:
        depth: (notes,) how many suggestions are read. expected: (notes,) the recall that was expected there, handed
            through as `reading_expected`. recall: the one asked for, in (0, 1].
    """
    hits = _hits(ranks, depth)
    found = np.divide(hits, ranks.count, out=np.full(hits.shape, np.nan), where=ranks.has_gold)
    values = {
        "reading_depth": depth.astype(np.float64),
        "reading_expected": expected,
        "reading_recall": found,
        "reading_errors": depth - hits,
        "reading_reached": (found >= recall - 1e-12).astype(np.float64),
    }
    return {name: np.where(ranks.has_gold, value, np.nan) for name, value in values.items()}


def fixed_depth(ranks: GoldRanks, recall: float) -> tuple[float, float]:
    """The fixed depth with this mean recall, and the errors among what it reads, mean over notes with a gold code.

    Args:
        recall: in (0, 1].

    Returns:
        NaN twice where no note has a gold code.
    """
    notes = int(ranks.has_gold.sum())
    if not notes:
        return np.nan, np.nan
    share = np.bincount(ranks.rank, weights=1 / ranks.count[ranks.note]) / notes
    found, hits = np.cumsum(share), np.cumsum(np.bincount(ranks.rank)) / notes  # by rank, from 0 on
    above = min(int(np.searchsorted(found, recall - 1e-12)), len(found) - 1)
    part = (recall - found[above - 1]) / (found[above] - found[above - 1])
    depth = above - 1 + part
    return float(depth), float(depth - hits[above - 1] - part * (hits[above] - hits[above - 1]))


def _hits(ranks: GoldRanks, depth: Ints) -> Floats:
    """(notes,) gold codes that are read."""
    read = (ranks.rank <= depth[ranks.note]).astype(np.float64)
    return np.bincount(ranks.note, weights=read, minlength=ranks.count.size).astype(np.float64)
