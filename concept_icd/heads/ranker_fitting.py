"""The learned order fitted to billing orders, and how its loss and ridge are chosen.

Loss and ridge have the highest sum of graded NDCG of the diagnoses and primary accuracy (of the procedures NDCG where
there are no diagnoses) on held-out patients, measured on what comes out: ranks of all codes, accepted ones rearranged.
Where nothing beats the order by probability, it stays. It knows nothing of text.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from concept_icd.heads.listwise import METHODS, Method
from concept_icd.heads.pairs import PairTable
from concept_icd.heads.ranker import LearnedOrder
from concept_icd.heads.ranking_examples import GoldOrder, make_examples
from concept_icd.heads.ranking_features import PathScores

RIDGES = (1000.0, 100.0, 10.0, 1.0, 0.1)


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
