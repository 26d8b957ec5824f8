r"""Novelty: is a note unlike those that the heads were fitted on? Two numbers of it against those of training notes.

    u_1 = mean_k x_k        how high all its concepts stand (x: scores standardised, see `aggregator`)
    u_2 = log sum_c p_c     how many codes are to be expected of it (p: probabilities)

Text of another kind raises most concepts a little, or leaves every code unlikely, or makes far too many likely.

With m and S the mean and covariance of u over the training notes, the distance of a note is

    d = (u - m)^T S^{-1} (u - m)

and its p-value is the share of the training notes, itself counted among them, that are at least as far from the middle:
(1 + #{d_i >= d}) / (1 + N). Of notes like these at most 5 % have a p-value of at most .05 (a conformal p-value: Vovk et
al. 2005, "Algorithmic Learning in a Random World", 2.2; exact but for the notes' part in m and S).

The distance over all concept scores (with a shrunken covariance, or over principal directions) tells less: what is far
there is mostly a note with a rare code.

A high p-value does not promise that a note is coded well. Only the concept scores of a note are seen, so that words in
disorder, or a finding that no concept asks for, may look familiar. The module knows nothing of text or models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from concept_icd.heads.aggregator import Aggregator

#: A note is novel ("unfamiliar" in a result) from this p-value down. Chosen on out-of-fold scores of training reports:
#: the farthest 5 % are coded far worse than the others (benchmarks/familiarity.py).
NOVEL = 0.05
#: Distances that are kept, evenly spread over those of the training notes.
KEPT = 1000
#: Added to both variances, for scores that are all alike.
_RIDGE = 1e-6
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Novelty:
    """Where the training notes lie.

    Attributes:
        middle: m, float64, (2,). precision: the inverse of S, (2, 2).
        distances: d of the training notes, or of so many of them, rising, (kept,).
    """

    middle: np.ndarray
    precision: np.ndarray
    distances: np.ndarray

    def p_values(self, numbers: np.ndarray) -> np.ndarray:
        """See the module; float64 (notes,), of `numbers_of` these notes."""
        farther = len(self.distances) - np.searchsorted(self.distances, self.distances_of(numbers), side="left")
        return np.asarray((1 + farther) / (1 + len(self.distances)))

    def distances_of(self, numbers: np.ndarray) -> np.ndarray:
        """d of notes, float64 (notes,), of their two numbers."""
        away = numbers - self.middle
        return np.asarray(((away @ self.precision) * away).sum(axis=1))

    def tensors(self) -> dict[str, np.ndarray]:
        """The numbers, by name."""
        return {f"familiarity.{name}": value for name, value in vars(self).items()}

    @classmethod
    def read(cls, tensors: Mapping[str, np.ndarray]) -> Novelty | None:
        """What `tensors` gave, among others; None where it is not among them.

        Raises:
            KeyError, ValueError: a part is missing, or has another size.
        """
        if "familiarity.middle" not in tensors:
            return None
        found = cls(*(tensors[f"familiarity.{name}"] for name in ("middle", "precision", "distances")))
        if (found.middle.shape, found.precision.shape, found.distances.ndim) != ((2,), (2, 2), 1):
            raise ValueError("the numbers of the training notes have other sizes")
        return found


def numbers_of(aggregator: Aggregator, logits: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """u of the module, float64 (notes, 2), of scores (notes, concepts) and probabilities (notes, codes)."""
    standing = np.array([aggregator.standardise(row).mean() for row in logits]).reshape(len(logits))
    expected = probabilities.sum(axis=1, dtype=np.float64)
    return np.stack([standing, np.log(np.maximum(expected, _TINY))], axis=1)


def fit_novelty(numbers: np.ndarray) -> Novelty:
    """Fits middle, precision and distances.

    Args:
        numbers: of the training notes, (notes, 2), from out-of-fold scores and probabilities; at least two notes.
    """
    middle = numbers.mean(axis=0)
    precision = np.linalg.inv(np.cov(numbers.T) + _RIDGE * np.eye(2))
    found = Novelty(middle, precision, np.empty(0))
    distances = np.sort(found.distances_of(numbers))
    kept = np.linspace(0, len(distances) - 1, min(KEPT, len(distances))).round().astype(np.int64)
    return Novelty(middle, precision, distances[kept])
