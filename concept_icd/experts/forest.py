"""Boosted trees over features that a note has or has not, as one table of numbers.

LightGBM grows them; they answer with NumPy alone, so that a coder with words needs nothing more where it is used.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from concept_icd.errors import MissingExtraError

#: Notes that are sent down the trees together.
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Forest:
    """Several ensembles; each answers with the sum of its trees.

    Attributes:
        asks: int32 (nodes,), the feature that a node asks for; -1 in a leaf.
        without, having: int32 (nodes,), where a note goes that lacks the feature or has it; a leaf leads to itself.
        value: float64 (nodes,), of a leaf. roots: int32 (trees,). ensemble: int32 (trees,), whose tree it is.
    """

    asks: np.ndarray
    without: np.ndarray
    having: np.ndarray
    value: np.ndarray
    roots: np.ndarray
    ensemble: np.ndarray

    @classmethod
    def of_numbers(cls, booster: Any) -> tuple[Forest, np.ndarray, np.ndarray]:
        """Copies a LightGBM booster over numbers, none of them missing, as one that asks which is above what.

        Returns:
            The forest, whose features are 0 or 1; and for each of them the column of the number, int32, and what it
            must be above, float64.
        """
        asked: dict[tuple[int, float], int] = {}
        forest = cls.of(
            [booster], lambda node: asked.setdefault((node["split_feature"], node["threshold"]), len(asked))
        )
        column, above = zip(*asked, strict=True) if asked else ((), ())
        return forest, np.array(column, np.int32), np.array(above, np.float64)

    @classmethod
    def of(
        cls, boosters: Sequence[Any], feature: Callable[[Mapping[str, Any]], int] = operator.itemgetter("split_feature")
    ) -> Forest:
        """Copies LightGBM's boosters, one an ensemble, whose features are 0 or 1, or are made so by `feature`."""
        nodes: list[tuple[int, int, int, float]] = []
        roots: list[int] = []
        ensemble: list[int] = []

        def add(node: Mapping[str, Any]) -> int:
            place = len(nodes)
            nodes.append((-1, place, place, float(node.get("leaf_value", 0.0))))
            if "split_feature" in node:
                left, right = add(node["left_child"]), add(node["right_child"])
                nodes[place] = (feature(node), left, right, 0.0)
            return place

        for number, booster in enumerate(boosters):
            for tree in booster.dump_model()["tree_info"]:
                roots.append(add(tree["tree_structure"]))
                ensemble.append(number)
        asks, without, having, value = zip(*nodes, strict=True)
        return cls(
            np.array(asks, np.int32),
            np.array(without, np.int32),
            np.array(having, np.int32),
            np.array(value),
            np.array(roots, np.int32),
            np.array(ensemble, np.int32),
        )

    def check(self, features: int, ensembles: int) -> None:
        """Looks whether numbers that were read from a file are trees: every note ends in a leaf.

        Raises:
            ValueError: they are not.
        """
        place = np.arange(len(self.asks))
        leaf, sizes = self.asks < 0, {len(array) for array in (self.without, self.having, self.value)}
        below = np.minimum(self.without, self.having)
        sound = (
            sizes == {len(place)}
            and len(self.roots) == len(self.ensemble) > 0
            and self.asks.max() < features
            and (np.where(leaf, below == place, below > place)).all()
            and max(self.without.max(), self.having.max(), self.roots.max()) < len(place)
            and self.roots.min() >= 0
            and (np.diff(self.ensemble, prepend=0) >= 0).all()
            and self.ensemble[-1] < ensembles
        )
        if not sound:
            raise ValueError("the numbers are no trees")

    @property
    def features(self) -> np.ndarray:
        """Those that a node asks for, rising."""
        found: np.ndarray = np.unique(self.asks[self.asks >= 0])
        return found

    def over(self, features: np.ndarray) -> Forest:
        """The same trees for inputs that have these columns alone, rising, every one of `self.features` among them."""
        asks = np.where(self.asks < 0, -1, np.searchsorted(features, self.asks)).astype(np.int32)
        return Forest(asks, self.without, self.having, self.value, self.roots, self.ensemble)

    def sums(self, inputs: np.ndarray) -> np.ndarray:
        """What the ensembles say, float64 (notes, ensembles), of notes given as bool (notes, features)."""
        count = int(self.ensemble[-1]) + 1
        found = np.empty((len(inputs), count))
        for start in range(0, len(inputs), _BLOCK):
            own = inputs[start : start + _BLOCK]
            at = np.tile(self.roots, (len(own), 1))
            while (inner := self.asks[at] >= 0).any():
                has = np.take_along_axis(own, np.maximum(self.asks[at], 0), axis=1) & inner
                at = np.where(has, self.having[at], self.without[at])
            starts = np.flatnonzero(np.diff(self.ensemble, prepend=-1))
            found[start : start + _BLOCK] = np.add.reduceat(self.value[at], starts, axis=1)
        return found


def lightgbm_library() -> Any:
    """What grows trees, which only who fits an expert needs.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import lightgbm
    except ImportError as error:
        raise MissingExtraError("lightgbm", "words") from error
    return lightgbm
