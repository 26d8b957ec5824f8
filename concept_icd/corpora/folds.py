"""Folds in which one patient's notes stay together, and cross-fitting over them. It knows no scores and no codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from concept_icd.progress import track

T = TypeVar("T")


def cross_fit(
    fold: np.ndarray, fit: Callable[[np.ndarray], T], label: str | None = None
) -> Iterator[tuple[np.ndarray, T]]:
    """For each fold its own rows, and what was fitted on all other rows.

        >>> fold, value = np.array([0, 1, 0, 1]), np.array([1.0, 2.0, 3.0, 6.0])
        >>> [(own.tolist(), mean) for own, mean in cross_fit(fold, lambda rows: float(value[rows].mean()))]
        [([0, 2], 4.0), ([1, 3], 2.0)]

    Args:
        fold: of each row, shape (rows,). fit: takes rows, rising; none of them is of the fold.
        label: of a bar that shows the progress; None: there is none.

    Yields:
        Folds in rising order, each when it is asked for.
    """
    folds = np.unique(fold).tolist()
    for number in folds if label is None else track(folds, len(folds), label, "folds"):
        yield np.flatnonzero(fold == number), fit(np.flatnonzero(fold != number))


def group_folds(groups: Sequence[Hashable], folds: int, seed: int) -> np.ndarray:
    """The fold of each note, int, shape (notes,), from 0 to folds - 1.

    Groups (patients) go, the largest first and in random order among equals, to the fold that has the fewest notes.
    With fewer groups than `folds` there are as many folds as groups.
    """
    sizes = Counter(groups)
    names = list(sizes)
    shuffled = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    filled = [0] * min(folds, len(names))
    fold_of: dict[Hashable, int] = {}
    for name in sorted(shuffled, key=lambda group: -sizes[group]):
        fold_of[name] = filled.index(min(filled))
        filled[fold_of[name]] += sizes[name]
    return np.array([fold_of[group] for group in groups], dtype=np.int64)
