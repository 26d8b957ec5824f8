r"""How far down its list a note has to be read: the expected recall of the first k suggestions.

Let the codes of a note be gold independently, code i with its calibrated probability \(p_i\), S of them in all and
\(S_k\) among the first k in the order shown. Of the notes that have a gold code of the set, the expected recall is

    E[S_k / S | S >= 1] = sum_{i <= k} w_i / sum_i w_i,     w_i = p_i \int_0^1 prod_{j != i} (1 - p_j s) ds

since a gold code i brings 1/S = 1/(1 + gold codes beside it), and 1/(1 + m) = \int_0^1 t^m dt with t = 1 - s. The share
of the probability mass, sum_{i <= k} p_i / sum_i p_i, is another thing: the ratio of the expectations. It calls the
first codes of a note less worth than they are (p = 1, .5: 2/3 against the true 3/4), so that more would be read.

Codes are not independent, and probabilities are not perfect. So Platt scaling of the expected recall (`calibration`),
fitted on held-out notes, says what recall is found where so much was expected: two numbers. A target is reached at the
first k whose expected recall, so corrected, is at least the target. k is a whole number, so that the mean recall comes
out above the target rather than on it.

What it is not: an expectation is no promise for one note, of which some fall short and others have everything; it
holds for notes like those it was fitted on; nothing is said of gold codes outside the set, and a note that has no gold
code at all has no recall. It knows nothing of concepts, models or text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.special import logit

from concept_icd.heads.calibration import Calibration, fit_calibration

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
#: Where the recall found is held against the recall expected, and the notes, evenly spread, that are looked at.
_SHARES = (0.25, 0.5, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
_NOTES = 10_000
_PRIOR = 10


@dataclass(frozen=True)
class ReadingDepth:
    """How many suggestions to read; as it stands, probabilities are taken at their word.

    Attributes:
        calibration: of the log-odds of the expected recall.
    """

    calibration: Calibration = field(default_factory=Calibration)

    def expected_recall(self, probabilities: np.ndarray, order: np.ndarray) -> np.ndarray:
        """The recall to expect once the codes up to each rank are read, float64, shape (notes, codes), rising to 1.

        Args:
            probabilities: calibrated, shape (notes, codes). order: the column at each rank, of the same shape.
        """
        with np.errstate(divide="ignore"):  # at a recall of 1 the log-odds are infinite, and 1 it stays
            return self.calibration.probabilities(logit(expected_recall(probabilities, order)))


def expected_recall(probabilities: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The module's formula, before any correction; see `ReadingDepth.expected_recall`."""
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
    """
    before = expected < recall - 1e-12
    at = np.where(before, np.inf, expected).min(axis=1)
    last = before.all(axis=1)
    return before.sum(axis=1) + ~last, np.where(last, expected.max(axis=1), at)


def fit_reading(gold: np.ndarray, probabilities: np.ndarray) -> ReadingDepth:
    """Fits the correction, with the codes read by falling probability.

    At the ranks where several recalls are expected, the recall that is found is the target of a logistic regression on
    the log-odds of what was expected. `_PRIOR` notes more, in which all is found as expected, keep it finite, and from
    following the chance of a few notes.

    Args:
        gold: 0/1, shape (notes, codes); notes without a gold code are left out. probabilities: calibrated and
            out-of-fold, of the same shape.
    """
    rows = np.flatnonzero(gold.any(axis=1))
    rows = rows[:: len(rows) // _NOTES + 1]
    gold, probabilities = gold[rows], probabilities[rows]
    order = np.argsort(-probabilities, axis=1, kind="stable")
    expected = expected_recall(probabilities, order)
    hits = np.cumsum(np.take_along_axis(gold, order, axis=1), axis=1)
    shares = np.array(_SHARES)
    said, found = [np.tile(logit(shares), _PRIOR)], [np.tile(shares, _PRIOR)]
    for share in _SHARES:
        depth, at = stops(expected, share)
        recall = hits[np.arange(len(hits)), depth - 1] / hits[:, -1]
        inside = at < 1  # all codes read is a recall of 1 whatever the probabilities
        said.append(logit(at[inside]))
        found.append(recall[inside])
    return ReadingDepth(fit_calibration(np.concatenate(said), np.concatenate(found)))


def _blocks(notes: int, codes: int) -> Iterator[slice]:
    step = max(1, _BLOCK // max(1, codes))
    return (slice(start, start + step) for start in range(0, notes, step))
