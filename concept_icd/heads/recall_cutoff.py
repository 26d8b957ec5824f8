"""How far down its list a note has to be read for a recall: the expected recall, corrected on held-out notes.

The formula of the expected recall (`metrics.recall_depth`) takes codes for independent and probabilities for perfect,
and they are neither. So Platt scaling (`calibration`), two numbers fitted on held-out notes, says what recall is found
where so much was expected. A target is reached at the first rank whose corrected recall is at
least the target; ranks are whole numbers, so that the mean recall comes out above the target rather than on it.

An expectation is no promise for one note: some notes fall short and others have everything. It holds for notes like
those of the fit. Gold codes outside the set are not counted, and a note without any gold code has no recall. The module
knows nothing of concepts, models or text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import logit

from concept_icd.heads.calibration import Calibration, fit_calibration
from concept_icd.metrics.recall_depth import expected_recall, stops

#: Where the recall found is held against the recall expected, and the notes, evenly spread, that are looked at.
_SHARES = (0.25, 0.5, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
_NOTES = 10_000
_PRIOR = 10


@dataclass(frozen=True)
class RecallCutoff:
    """How many suggestions to read; without a fit, probabilities are taken at their word.

    >>> RecallCutoff().expected_recall(np.array([[0.5, 1.0]]), np.array([[1, 0]])).tolist()
    [[0.75, 1.0]]

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


def fit_recall_cutoff(gold: np.ndarray, probabilities: np.ndarray) -> RecallCutoff:
    """Fits the correction, with the codes read by falling probability.

    At the ranks where each of `_SHARES` is expected, the recall that is found is the target of a logistic regression on
    the log-odds of the expected one. `_PRIOR` more notes, in which all is found as expected, keep the fit finite and
    steady where there are few notes.

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
    return RecallCutoff(fit_calibration(np.concatenate(said), np.concatenate(found)))
