r"""Which codes occur together: probabilities corrected by the combinations of the training notes.

Taken alone, calibrated probabilities p say of a set S of codes prod_{i in S} p_i prod_{i not in S} (1 - p_i). Sets that
training notes have more often, or less, than independent codes would have them are made likelier, or less likely:

    P(S) ~ prod_{i in S} p_i prod_{i not in S} (1 - p_i) * (pi(S) / q(S))^weight,     pi(S) = (n(S) + m q(S)) / (N + m)

with n(S) the training notes, of N, that have exactly the codes S, q(S) their share if codes were independent, and
m = 10 notes in which they are. What comes out are the marginals of P over the subsets of the note's `LIKELY` = 6 most
probable codes; the others keep their probability. So a symptom becomes less likely beside the diagnosis that explains
it, where coders code one and not the other. The weight is chosen by cross-validated log loss; 0 changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from concept_icd.corpora.folds import cross_fit

LIKELY = 6
#: Tried in turn.
WEIGHTS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
_INDEPENDENT = 10.0
_LEAST = 1e-6
#: bool (64, 6): which of the likely codes each subset has.
_SUBSETS = (np.arange(2**LIKELY)[:, None] >> np.arange(LIKELY)) % 2 == 1


@dataclass(frozen=True, eq=False)
class Cooccurrence:
    """See the module.

    Attributes:
        sets: combinations of the training notes, columns of the codes in rising order, each once.
        counts: notes of each. gold: notes of each code. weight: in the formula.
    """

    sets: tuple[tuple[int, ...], ...]
    counts: tuple[int, ...]
    gold: np.ndarray
    weight: float

    @classmethod
    def of(cls, gold: np.ndarray, weight: float) -> Cooccurrence:
        """Counts the combinations of notes, 0/1, shape (notes, codes)."""
        found = Counter(tuple(np.flatnonzero(row).tolist()) for row in gold)
        sets = sorted(found)
        return cls(tuple(sets), tuple(found[own] for own in sets), gold.sum(axis=0).astype(np.int64), weight)

    def settings(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {"sets": self.sets, "counts": self.counts, "gold": self.gold.tolist(), "weight": self.weight}

    @classmethod
    def read(cls, settings: Mapping[str, Any] | None) -> Cooccurrence | None:
        """What `settings` gave; None for None."""
        if settings is None:
            return None
        sets = tuple(tuple(own) for own in settings["sets"])
        return cls(sets, tuple(settings["counts"]), np.array(settings["gold"], dtype=np.int64), settings["weight"])

    def adjust(self, probabilities: np.ndarray) -> np.ndarray:
        """Marginals, float64, of calibrated probabilities, shape (notes, codes) both.

        >>> together = Cooccurrence.of(np.array([[1, 1], [1, 1], [0, 0], [0, 0]]), weight=1.0)
        >>> found = together.adjust(np.array([[0.9, 0.5]]))  # the second code comes with the first
        >>> bool(found[0, 1] > 0.5)
        True
        """
        if not self.weight or not len(self.gold):
            return probabilities
        found = probabilities.astype(np.float64)
        odds = np.log(self._share) - np.log1p(-self._share)
        for row in found:
            likely = np.sort(np.argsort(-row, kind="stable")[:LIKELY])
            subsets = _SUBSETS[: 2 ** len(likely), : len(likely)]
            p = row[likely].clip(_LEAST, 1 - _LEAST)
            independent = np.log1p(-self._share).sum() + subsets @ odds[likely]
            seen = np.array([self._counted.get(tuple(likely[chosen].tolist()), 0) for chosen in subsets], dtype=float)
            with np.errstate(divide="ignore"):
                together = np.logaddexp(np.log(seen), np.log(_INDEPENDENT) + independent)
            log_p = subsets @ (np.log(p) - np.log1p(-p)) + self.weight * (together - independent)
            share = np.exp(log_p - log_p.max())
            row[likely] = share @ subsets / share.sum()
        return found

    @cached_property
    def _counted(self) -> dict[tuple[int, ...], int]:
        return dict(zip(self.sets, self.counts, strict=True))

    @cached_property
    def _share(self) -> np.ndarray:
        """Of the notes that have each code, never 0 nor 1."""
        share: np.ndarray = (self.gold + 0.5) / (sum(self.counts) + 1)
        return share


def fit_cooccurrence(
    gold: np.ndarray, probabilities: np.ndarray, fold: Sequence[int] | np.ndarray
) -> tuple[Cooccurrence, np.ndarray]:
    """The combinations of all notes at the best weight, and the notes' own probabilities by those of the other folds.

    Args:
        gold: 0/1, shape (notes, codes). probabilities: calibrated and out-of-fold, of the same shape.
        fold: of each note; a note is corrected by the notes of the other folds alone.
    """
    fold = np.asarray(fold)

    def held_out(weight: float) -> tuple[float, float, np.ndarray]:
        corrected = np.array(probabilities, dtype=np.float64)
        for own, others in cross_fit(fold, lambda rows: Cooccurrence.of(gold[rows], weight)):
            corrected[own] = others.adjust(probabilities[own])
        p = corrected.clip(_LEAST, 1 - _LEAST)
        return float(-np.where(gold, np.log(p), np.log1p(-p)).mean()), weight, corrected

    _, weight, corrected = min(map(held_out, WEIGHTS), key=lambda entry: entry[0])
    return Cooccurrence.of(gold, weight), corrected
