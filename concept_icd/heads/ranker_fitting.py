"""The learned order fitted to billing orders, and how its loss and ridge are chosen.

Loss and ridge have the highest sum of graded NDCG of the diagnoses and primary accuracy (of the procedures NDCG where
there are no diagnoses) on held-out patients. It is measured on what comes out: ranks of all codes, with the accepted
ones rearranged. Where nothing beats the order by probability, that order stays.

What a note's features hold was learnt on notes of other patients: probabilities and text features come so, and the
counts of training orders are made so here. The lists of a note are its gold codes of each kind in their order and,
below them, the codes that are not gold but accepted or among the most probable. It knows nothing of text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from concept_icd.corpora.folds import cross_fit
from concept_icd.heads.listwise import METHODS, Lists, Method, fit_order
from concept_icd.heads.ranker import LearnedOrder, features, pairs_of, rank_codes
from concept_icd.heads.ranking_features import Pairs, PairTable, PathScores, TrainingOrders, feature_names

RIDGES = (1000.0, 100.0, 10.0, 1.0, 0.1)
#: Codes of each kind, by probability, that stand in a list whether they are gold, accepted or neither.
BEST = 5
#: A linear score of some dozens of features needs no more notes than this; of more, so many are drawn.
MAX_NOTES = 5000


def fit_ranker(
    probabilities: np.ndarray,
    accepted: np.ndarray,
    gold: GoldOrder,
    fold: np.ndarray,
    codes: tuple[str, ...],
    *,
    path: PathScores | None = None,
    logits: np.ndarray | None = None,
    text: PairTable | None = None,
    seed: int = 0,
) -> tuple[LearnedOrder | None, dict[str, Any]]:
    """The learned order, or None where the order by probability does as well; and the figures of the choice.

    Args:
        probabilities, accepted: of notes by heads that did not see them, shape (notes, codes).
        fold: of each note, int (notes,); patients together.
        path, logits: how to read concept scores, and out-of-fold scores (notes, concepts); None: without them.
        text: features of the pairs, from lexicons of the other folds; None: there are none.
        seed: of the notes drawn where there are more than `MAX_NOTES`.
    """
    plain, with_text = make_examples(
        probabilities, accepted, gold, fold, codes, path=path, logits=logits, text=text, seed=seed
    )
    main = with_text or plain
    before = main.figures(np.zeros(len(main.place)))
    choice: dict[str, Any] = {"notes": len(main.gold.places), "by_probability": before, "tried": []}
    tried: list[tuple[float, Method, float]] = []
    for method in METHODS:
        starts: list[np.ndarray | None] = [None] * len(np.unique(fold))
        for ridge in RIDGES:
            found, starts = main.held_out(method, ridge, starts)
            figures = main.figures(found)
            tried.append((_worth(figures), method, ridge))
            choice["tried"].append({"loss": method, "ridge": ridge, **figures})
    worth, method, ridge = max(tried, key=lambda entry: entry[0])  # the first among equals: the stronger ridge
    if worth <= _worth(before):
        return None, choice | {"chosen": "probability"}
    choice |= {"chosen": method, "ridge": ridge}
    without = plain.fit(method, ridge)
    if with_text is not None:
        choice["without_text"] = plain.figures(plain.held_out(method, ridge, [None] * len(np.unique(fold)))[0])
    weights = with_text.fit(method, ridge) if with_text is not None else without
    names = text.names if with_text is not None and text is not None else ()
    return LearnedOrder(gold.procedure, gold.count(), path, names, weights, without), choice


def _worth(figures: dict[str, Any]) -> float:
    main = figures["graded_ndcg_diagnoses"]
    return float(figures["graded_ndcg_procedures"] if main is None else main + (figures["primary_accuracy"] or 0.0))


@dataclass(frozen=True, eq=False)
class GoldOrder:
    """The billing orders of the training notes.

    Attributes:
        places: int (notes, codes), 0: not gold, else the place in the order of the code's kind, from 1.
        principal: column of the principal diagnosis of each note, -1 where it has none in the set, int (notes,).
        procedure: which codes are procedures, bool (codes,).
    """

    places: np.ndarray
    principal: np.ndarray
    procedure: np.ndarray

    @property
    def first(self) -> np.ndarray:
        """Bool (notes, codes): the principal diagnosis and the first procedure."""
        first = (self.places == 1) & self.procedure
        notes = np.flatnonzero(self.principal >= 0)
        first[notes, self.principal[notes]] = True
        return first

    def count(self) -> TrainingOrders:
        """What these orders say of each code."""
        return TrainingOrders.count(self.places, self.first, self.procedure)

    def select(self, rows: np.ndarray) -> GoldOrder:
        """The orders of these notes."""
        return GoldOrder(self.places[rows], self.principal[rows], self.procedure)


def notes_to_learn_from(places: np.ndarray, seed: int) -> np.ndarray:
    """Rising rows of the notes with gold codes, at most `MAX_NOTES`, drawn by the seed.

    >>> notes_to_learn_from(np.array([[0, 1], [0, 0], [2, 1]]), seed=0)
    array([0, 2])
    """
    rows = np.flatnonzero((places > 0).any(axis=1))
    if len(rows) <= MAX_NOTES:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, MAX_NOTES, replace=False))


def make_examples(
    probabilities: np.ndarray,
    accepted: np.ndarray,
    gold: GoldOrder,
    fold: np.ndarray,
    codes: tuple[str, ...],
    *,
    path: PathScores | None = None,
    logits: np.ndarray | None = None,
    text: PairTable | None = None,
    seed: int = 0,
) -> tuple[Examples, Examples | None]:
    """The examples without features from text and, where there are some, with them; see `fit_ranker`."""
    per_fold = {f: gold.select(np.flatnonzero(fold == f)).count() for f in np.unique(fold)}
    orders = gold.count()
    rows = notes_to_learn_from(gold.places, seed)
    order = rank_codes(probabilities[rows], orders.frequency, codes)
    some = gold.select(rows)
    pairs = pairs_of(order, (some.places > 0) | accepted[rows], gold.procedure, BEST)
    x = np.empty((len(pairs), len(feature_names(path is not None))))
    for f, counts in per_fold.items():  # what a note's features hold was counted in the other folds
        own, notes = fold[rows][pairs.note] == f, np.flatnonzero(fold[rows] == f)
        part = pairs.where(own)
        part = Pairs(np.searchsorted(notes, part.note), part.code, part.place, part.position)
        scores = None if logits is None else logits[rows[notes]]
        x[own] = features(probabilities[rows[notes]], part, orders.without(counts), path, scores)
    plain = Examples(x, pairs, some, accepted[rows], fold[rows])
    if text is None or not text.names:
        return plain, None
    seen = text.of(rows[pairs.note], pairs.code)
    return plain, Examples(np.hstack([x, seen]), pairs, some, accepted[rows], fold[rows])


class Examples:
    """Pairs with features and gold places, from which weights are fitted, on all notes or on some folds.

    Attributes:
        x: features, float64, shape (pairs, features). pairs: which they are. place: in the gold order of their kind, 0
            where they are not gold. fold: of their notes. list_of: number of the list that each stands in.
    """

    def __init__(self, x: np.ndarray, pairs: Pairs, gold: GoldOrder, accepted: np.ndarray, fold: np.ndarray) -> None:
        self.x, self.pairs, self.gold, self.fold = x, pairs, gold, fold[pairs.note]
        self.procedure = gold.procedure[pairs.code]
        self.list_of = 2 * pairs.note + self.procedure
        self.place = gold.places[pairs.note, pairs.code]
        self.accepted = accepted[pairs.note, pairs.code]
        self.scale = np.where((s := x.std(axis=0)) > 1e-9, s, 1.0)
        # A feature's weight is one for both kinds plus one of the procedures' own.
        shared = x / self.scale
        self.design = np.hstack([shared, shared * self.procedure[:, None]])
        self.towards = np.zeros(self.design.shape[1])
        self.towards[0] = self.scale[0]  # the score is the log-odds: the order by probability

    def _weights(self, rows: np.ndarray, method: Method, ridge: float, start: np.ndarray | None) -> np.ndarray:
        lists = Lists.of(self.list_of[rows], self.place[rows])
        return fit_order(
            self.design[rows], lists, method, ridge, self.towards if start is None else start, self.towards
        )

    def fit(self, method: Method, ridge: float) -> np.ndarray:
        """Weights from all notes, per kind, in the features' own units, shape (2, features)."""
        both, own = self._weights(np.arange(len(self.pairs)), method, ridge, None).reshape(2, -1)
        return np.stack([both, both + own]) / self.scale

    def held_out(
        self, method: Method, ridge: float, starts: list[np.ndarray | None]
    ) -> tuple[np.ndarray, list[np.ndarray | None]]:
        """Scores of all pairs by weights from the other folds, and those weights, where the next fit may begin."""
        scores, begin = np.empty(len(self.pairs)), iter(starts)
        found: list[np.ndarray | None] = []
        for own, weights in cross_fit(self.fold, lambda rows: self._weights(rows, method, ridge, next(begin))):
            scores[own] = self.design[own] @ weights
            found.append(weights)
        return scores, found

    def figures(self, scores: np.ndarray) -> dict[str, float | None]:
        """Graded NDCG per kind over all codes, and primary accuracy, with the accepted pairs put in order."""
        p, kind = self.pairs, self.procedure
        place = p.place.copy()
        inside = np.flatnonzero(self.accepted)
        at = inside[np.lexsort((p.place[inside], kind[inside], p.note[inside]))]
        to = inside[np.lexsort((p.place[inside], -scores[inside], kind[inside], p.note[inside]))]
        place[to] = p.place[at]
        group, gold = self.list_of, self.place > 0
        size = np.bincount(group, gold, 2 * len(self.gold.places))
        relevance = np.where(gold, size[group] - self.place + 1, 0)
        dcg = np.bincount(group, relevance / np.log2(1 + place), len(size))
        best = np.bincount(group, relevance / np.log2(1 + np.maximum(self.place, 1)), len(size))
        ndcg = np.where(size > 0, dcg / np.maximum(best, 1e-9), np.nan).reshape(-1, 2)
        top = (place == 1) & ~kind
        first = np.full(len(ndcg), -2)
        first[p.note[top]] = p.code[top]
        known = self.gold.principal >= 0
        return {
            "graded_ndcg_diagnoses": _mean(ndcg[:, 0]),
            "graded_ndcg_procedures": _mean(ndcg[:, 1]),
            "primary_accuracy": _mean((first == self.gold.principal)[known].astype(float)),
        }


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
