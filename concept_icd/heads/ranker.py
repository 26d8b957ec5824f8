"""Code probabilities -> the order in which a coder reads them, and how a ranker is stored.

`rank_codes` is the order by probability, diagnoses and procedures in one list. A `Ranker` that has learnt from billing
orders changes it by one rule:

    Among the accepted codes of a note, those of one kind stand in their learned order, at the ranks that the codes of
    this kind had by probability. Every other code keeps its rank.

So the same codes are accepted, the same ranks hold accepted codes and the same ranks hold diagnoses as before; recall
and precision at any k from the number of accepted codes on are the same to the digit.

It knows nothing of text or of how the order was learnt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from concept_icd.heads.aggregator import Aggregator
from concept_icd.heads.penalised_logistic import BLOCK
from concept_icd.heads.ranking_features import (
    Pairs,
    PairTable,
    PathScores,
    TrainingOrders,
    feature_names,
    order_features,
    score_features,
)


@dataclass(frozen=True, eq=False)
class LearnedOrder:
    """A linear score of (note, code) pairs; the highest is billed first.

    Attributes:
        procedure: which codes are procedures, bool, shape (codes,).
        orders: counts of the training orders. path: how to read concept scores, or None: they are not looked at.
        text: names of the features from text.
        weights: per kind (diagnosis, procedure) and feature, float64, shape (2, features): log-odds per unit.
        weights_without_text: the same, fitted without any feature from text, for notes that come without.
    """

    procedure: np.ndarray
    orders: TrainingOrders
    path: PathScores | None
    text: tuple[str, ...]
    weights: np.ndarray
    weights_without_text: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        """The features, those from text last."""
        return feature_names(self.path is not None, self.text)

    def scores(
        self, probabilities: np.ndarray, pairs: Pairs, logits: np.ndarray | None, text: PairTable | None
    ) -> np.ndarray:
        """Float64, shape (pairs,); `logits` are (notes, concepts)."""
        found = features(probabilities, pairs, self.orders, self.path, logits)
        weights = self.weights_without_text
        if text is not None and self.text:
            found, weights = np.hstack([found, text.of(pairs.note, pairs.code)]), self.weights
        return np.asarray((found * weights[self.procedure[pairs.code].astype(int)]).sum(axis=1))


@dataclass(frozen=True, eq=False)
class Ranker:
    """The order by probability, or the learned order (see the module).

    Attributes:
        codes: of the label set. frequency: training notes with each code, int64, shape (codes,).
        learned: None where nothing was learnt: falling probability; ties by falling training frequency, then by the
            code's own string.
    """

    codes: tuple[str, ...]
    frequency: np.ndarray
    learned: LearnedOrder | None = None

    def rank(
        self,
        probabilities: np.ndarray,
        accepted: np.ndarray | None = None,
        logits: np.ndarray | None = None,
        text: PairTable | None = None,
    ) -> np.ndarray:
        """Order of the codes, int64, shape (notes, codes): `order[n, r]` is the index of the code at rank r + 1.

        Args:
            probabilities: shape (notes, codes). accepted: bool, the same shape; None: by probability alone.
            logits: concept scores, shape (notes, concepts), needed where the learned order looks at them.
            text: features from the notes' text; None: the order that was learnt without.
        """
        order = rank_codes(probabilities, self.frequency, self.codes)
        if self.learned is None or accepted is None or not len(order):
            return order
        pairs = pairs_of(order, accepted, self.learned.procedure)
        rearrange(order, pairs, self.learned.procedure, self.learned.scores(probabilities, pairs, logits, text))
        return order


def rank_codes(probabilities: np.ndarray, frequency: np.ndarray, codes: Sequence[str]) -> np.ndarray:
    """The order by probability; see `Ranker`.

    >>> rank_codes(np.array([[0.2, 0.7, 0.2]]), frequency=np.array([5, 1, 9]), codes=("486", "599.0", "786.2"))
    array([[1, 2, 0]])
    """
    among_equals = np.lexsort((np.array(codes), -frequency))
    return among_equals[np.argsort(-probabilities[:, among_equals], axis=1, kind="stable")]


def pairs_of(order: np.ndarray, chosen: np.ndarray, procedure: np.ndarray, best: int = 0) -> Pairs:
    """The chosen pairs (notes, codes), and the first `best` codes of each kind, with their places; notes rise."""
    parts = []
    for start in range(0, len(order), BLOCK):
        block = order[start : start + BLOCK]
        is_procedure = procedure[block]
        place = np.where(is_procedure, np.cumsum(is_procedure, axis=1), np.cumsum(~is_procedure, axis=1))
        taken = np.take_along_axis(chosen[start : start + BLOCK], block, axis=1) | (place <= best)
        note, position = np.nonzero(taken)
        parts.append(np.stack([note + start, block[note, position], place[note, position], position]))
    return Pairs(*np.concatenate(parts, axis=1)) if parts else Pairs(*np.zeros((4, 0), dtype=np.int64))


def rearrange(order: np.ndarray, pairs: Pairs, procedure: np.ndarray, scores: np.ndarray) -> None:
    """Puts the pairs of each note and kind, by falling score, at the positions that they have among them.

    Ties keep the order that they have. `order` is changed in place.
    """
    kind = procedure[pairs.code]
    positions = np.lexsort((pairs.position, kind, pairs.note))
    by_score = np.lexsort((pairs.position, -scores, kind, pairs.note))
    order[pairs.note[positions], pairs.position[positions]] = pairs.code[by_score]


def features(
    probabilities: np.ndarray,
    pairs: Pairs,
    orders: TrainingOrders,
    path: PathScores | None,
    logits: np.ndarray | None,
) -> np.ndarray:
    """All features but those from text, float64, shape (pairs, features)."""
    found = [score_features(probabilities, pairs), order_features(probabilities, orders, pairs)]
    if path is not None:
        if logits is None:
            raise ValueError("this order was learnt with concept scores: it cannot be had without them")
        found.append(path.of(logits, pairs.note, pairs.code))
    return np.hstack(found)


def ranker_tensors(ranker: Ranker) -> dict[str, np.ndarray]:
    """The numbers of a ranker, by name, for the heads' safetensors."""
    tensors = {"frequency": ranker.frequency}
    if (learned := ranker.learned) is None:
        return tensors
    orders = learned.orders
    tensors |= {
        "order.procedure": learned.procedure,
        "order.frequency": orders.frequency,
        "order.first": orders.first,
        "order.places": orders.places,
        "order.weights": learned.weights,
        "order.weights_without_text": learned.weights_without_text,
        **_sparse("order.before", orders.before),
    }
    return tensors if learned.path is None else tensors | _sparse("order.cover", learned.path.cover)


def ranker_settings(ranker: Ranker) -> dict[str, Any] | None:
    """What JSON holds of a ranker; None for the order by probability."""
    if (learned := ranker.learned) is None:
        return None
    path = learned.path
    return {
        "features": list(learned.names),
        "text": list(learned.text),
        "path": None if path is None else {"unit": path.unit, "levels": list(path.levels)},
    }


def read_ranker(
    codes: tuple[str, ...], tensors: Mapping[str, np.ndarray], settings: dict[str, Any] | None, aggregator: Aggregator
) -> Ranker:
    """The ranker of what the two functions above gave.

    Raises:
        KeyError, ValueError: something is missing or does not fit.
    """
    if settings is None:
        return Ranker(codes, tensors["frequency"])
    orders = TrainingOrders(
        tensors["order.frequency"],
        tensors["order.first"],
        tensors["order.places"],
        _read_sparse("order.before", tensors, (len(codes), len(codes))),
    )
    path = None
    if (how := settings["path"]) is not None:
        cover = _read_sparse("order.cover", tensors, (len(codes), len(aggregator.mean)))
        path = PathScores(aggregator.mean, aggregator.scale, how["unit"], tuple(how["levels"]), cover)
    learned = LearnedOrder(
        tensors["order.procedure"],
        orders,
        path,
        tuple(settings["text"]),
        tensors["order.weights"],
        tensors["order.weights_without_text"],
    )
    if learned.weights.shape != (2, len(learned.names)) or list(learned.names) != settings["features"]:
        raise ValueError("the weights of the order are not those of its features")
    return Ranker(codes, tensors["frequency"], learned)


def _sparse(name: str, matrix: csr_array) -> dict[str, np.ndarray]:
    return {f"{name}.data": matrix.data, f"{name}.indices": matrix.indices, f"{name}.indptr": matrix.indptr}


def _read_sparse(name: str, tensors: Mapping[str, np.ndarray], shape: tuple[int, int]) -> csr_array:
    return csr_array(tuple(tensors[f"{name}.{part}"] for part in ("data", "indices", "indptr")), shape=shape)
