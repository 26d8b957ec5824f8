r"""What the learned order looks at: numbers about (note, code) pairs. It knows scores and gold counts, never text.

A pair is given as the row of its note and the column of its code. What is known from the note's text comes ready-made,
as a `PairTable`; whoever reads notes makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array

from concept_icd.heads.penalised_logistic import BLOCK
from concept_icd.records import LEVELS

#: A code whose probability in a note is below this is not one of "the note's other codes".
PRESENT = 0.05
#: Log-odds further out than this say nothing more.
CLIP = 12.0

#: The features that come from probabilities and training orders, and what each is.
FROM_PROBABILITIES = {
    "log_odds": "log-odds of the code's calibrated probability, cut at +-12",
    "probability": "the calibrated probability",
    "log_place": "log of the code's place among the codes of its kind, by probability",
}
FROM_ORDERS = {
    "log_frequency": "log(1 + training notes with the code)",
    "principal_rate": "log-odds that the code is the first of its kind where it is billed, smoothed",
    "mean_place": "mean place in training orders, 0 first to 1 last, smoothed",
    "agreement": "sum over the note's other codes j of P(j) x log-odds that the code is billed before j, smoothed",
}
FROM_PATH = {
    **{f"score_{level}": f"mean standardised score of the {level} concepts that cover the code" for level in LEVELS},
    **{
        f"gap_{wide}_{narrow}": f"mean raw score at {narrow} minus that at {wide}; 0 where one of the levels is missing"
        for wide, narrow in pairwise(LEVELS[:5])
    },
}


@dataclass(frozen=True, eq=False)
class TrainingOrders:
    """What the billing orders of training notes say of each code, over `notes` notes.

    Attributes:
        frequency: notes with the code, shape (codes,). first: notes in which it is the first of its kind.
        places: sum of its relative places, 0 first to 1 last. before: csr (codes, codes): in how many notes c was
            billed before j.
    """

    frequency: np.ndarray
    first: np.ndarray
    places: np.ndarray
    before: csr_array

    @classmethod
    def count(cls, places: np.ndarray, first: np.ndarray, procedure: np.ndarray) -> TrainingOrders:
        """Counts over notes.

        Args:
            places: int (notes, codes), 0: not gold, else the place in the order of the code's kind.
            first: bool (notes, codes): the principal diagnosis, the first procedure. procedure: bool (codes,).
        """
        codes = places.shape[1]
        note, code = np.nonzero(places)
        place, group = places[note, code], 2 * note + procedure[code]
        size = np.bincount(group, minlength=1)[group]
        relative = (place - 1) / np.maximum(size - 1, 1)
        order = np.lexsort((place, group))
        code_o, group_o = code[order], group[order]
        # Pairs billed one, two, three ... places apart.
        earlier, later = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for apart in range(1, int(size.max(initial=1))):
            same = group_o[apart:] == group_o[:-apart]
            earlier.append(code_o[:-apart][same])
            later.append(code_o[apart:][same])
        pairs = np.concatenate(earlier), np.concatenate(later)
        before = csr_array((np.ones(len(pairs[0]), dtype=np.float32), pairs), shape=(codes, codes))
        before.sum_duplicates()
        return cls(
            np.bincount(code, minlength=codes),
            first.sum(axis=0),
            np.bincount(code, weights=relative, minlength=codes),
            before,
        )

    def without(self, part: TrainingOrders) -> TrainingOrders:
        """The counts of the other notes, where `part` counts some of these."""
        return TrainingOrders(
            self.frequency - part.frequency,
            self.first - part.first,
            self.places - part.places,
            csr_array(self.before - part.before),
        )

    @property
    def table(self) -> np.ndarray:
        """`FROM_ORDERS` but for the agreement, float64, shape (codes, 3)."""
        n = self.frequency
        rate = (self.first.sum() + 1) / (n.sum() + 2)
        first = (self.first + 4 * rate) / (n + 4)
        mean = (self.places.sum() + 1) / (n.sum() + 2)
        return np.stack([np.log1p(n), np.log(first / (1 - first)), (self.places + 4 * mean) / (n + 4)], axis=1)

    @property
    def precedence(self) -> csr_array:
        """Log-odds that c is billed before j, smoothed by one note each way; antisymmetric, csr (codes, codes)."""
        before = csr_array(self.before)
        forth, back = csr_array(before.log1p()), csr_array(before.T.log1p())
        return csr_array(forth - back)


@dataclass(frozen=True, eq=False)
class PathScores:
    """Concept scores as a code's path has them.

    Attributes:
        mean, scale: of each concept's score, shape (concepts,). unit: deviation of all scores.
        levels: of the concepts. cover: csr (codes, concepts), 1 where a concept covers a code.
    """

    mean: np.ndarray
    scale: np.ndarray
    unit: float
    levels: tuple[str, ...]
    cover: csr_array

    def of(self, logits: np.ndarray, note: np.ndarray, code: np.ndarray) -> np.ndarray:
        """`FROM_PATH` of pairs whose notes rise, float64, shape (pairs, features)."""
        standard, raw = (np.zeros((len(note), len(LEVELS))) for _ in range(2))
        there = np.zeros((len(self.cover.indptr) - 1, len(LEVELS)), dtype=bool)
        shares = []
        for column, level in enumerate(LEVELS):
            members = csr_array(self.cover * (np.array(self.levels) == level)[None, :].astype(np.float64))
            size = np.asarray(members.sum(axis=1)).reshape(-1)
            there[:, column] = size > 0
            shares.append(csr_array(members / np.maximum(size, 1)[:, None]) if size.any() else None)
        for start in range(0, len(logits), BLOCK):
            part = slice(*np.searchsorted(note, [start, start + BLOCK]))
            n, c = note[part] - start, code[part]
            if not len(n):
                continue
            block = logits[start : start + BLOCK].astype(np.float64).T
            x = (block - self.mean[:, None]) / self.scale[:, None]
            for column, share in enumerate(shares):
                if share is not None:
                    standard[part, column] = (share @ x)[c, n]
                    raw[part, column] = (share @ block)[c, n] / self.unit
        both = there[:, 1:5] & there[:, :4]
        return np.hstack([standard, np.diff(raw[:, :5], axis=1) * both[code]])


def agreement(probabilities: np.ndarray, precedence: csr_array, pairs: Pairs) -> np.ndarray:
    """See `FROM_ORDERS`; pairs whose notes rise. Shape (pairs,)."""
    found, turned = np.zeros(len(pairs)), csr_array(precedence.T)
    for start in range(0, len(probabilities), BLOCK):
        part = slice(*np.searchsorted(pairs.note, [start, start + BLOCK]))
        if part.start < part.stop:
            block = probabilities[start : start + BLOCK]
            present = csr_array(np.where(block >= PRESENT, block, 0.0))
            found[part] = (present @ turned).toarray()[pairs.note[part] - start, pairs.code[part]]
    return found


def score_features(probabilities: np.ndarray, pairs: Pairs) -> np.ndarray:
    """`FROM_PROBABILITIES`, shape (pairs, 3)."""
    p = probabilities[pairs.note, pairs.code].astype(np.float64)
    tiny = np.exp(-CLIP)
    log_odds = np.log(np.clip(p, tiny, 1)) - np.log(np.clip(1 - p, tiny, 1))
    return np.stack([log_odds, p, np.log(pairs.place)], axis=1)


def order_features(probabilities: np.ndarray, orders: TrainingOrders, pairs: Pairs) -> np.ndarray:
    """`FROM_ORDERS`, shape (pairs, 4)."""
    agreeing = agreement(probabilities, orders.precedence, pairs)
    return np.hstack([orders.table[pairs.code], agreeing[:, None]])


def feature_names(with_path: bool, text: Sequence[str] = ()) -> tuple[str, ...]:
    """The names of the columns, in order."""
    return (*FROM_PROBABILITIES, *FROM_ORDERS, *(FROM_PATH if with_path else ()), *text)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Some (note, code) pairs.

    Attributes:
        note, code: row and column, int64, shape (pairs,).
        place: by falling probability among the note's codes of the same kind, from 1.
        position: by falling probability among all codes of the note, from 0.
    """

    note: np.ndarray
    code: np.ndarray
    place: np.ndarray
    position: np.ndarray

    def __len__(self) -> int:
        return len(self.note)

    def where(self, mask: np.ndarray) -> Pairs:
        """Those that the mask (pairs,) names."""
        return Pairs(self.note[mask], self.code[mask], self.place[mask], self.position[mask])


@dataclass(frozen=True, eq=False)
class PairTable:
    """Features of those pairs for which there are any; all others have zeros.

    Attributes:
        names: of the features. shape: (notes, codes).
        keys: note * codes + code, rising, int64, shape (pairs,). values: float32, shape (pairs, features).
    """

    names: tuple[str, ...]
    shape: tuple[int, int]
    keys: np.ndarray
    values: np.ndarray

    def of(self, note: np.ndarray, code: np.ndarray) -> np.ndarray:
        """Features of pairs, float64, shape (pairs, features).

        >>> table = PairTable(("said",), (1, 3), np.array([2]), np.array([[1.0]], dtype=np.float32))
        >>> table.of(note=np.array([0, 0]), code=np.array([1, 2])).tolist()
        [[0.0], [1.0]]
        """
        found = np.zeros((len(note), len(self.names)))
        if len(self.keys):
            wanted = note * self.shape[1] + code
            place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            known = self.keys[place] == wanted
            found[known] = self.values[place[known]]
        return found

    def at_rows(self, rows: np.ndarray, notes: int) -> PairTable:
        """The same of a table of `notes` notes, in which these notes stand in these (rising) rows."""
        note, code = np.divmod(self.keys, self.shape[1])
        shape = (notes, self.shape[1])
        return PairTable(self.names, shape, rows[note] * self.shape[1] + code, self.values)
