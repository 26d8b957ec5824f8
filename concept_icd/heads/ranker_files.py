"""A ranker as tensors and JSON, for the files of the heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from concept_icd.heads.aggregator import Aggregator
from concept_icd.heads.ranker import LearnedOrder, Ranker
from concept_icd.heads.ranking_features import PathScores, TrainingOrders


def ranker_tensors(ranker: Ranker) -> dict[str, np.ndarray]:
    """The numbers of a ranker, by name."""
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
    """What is to be read of a ranker; None for the order by probability."""
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
