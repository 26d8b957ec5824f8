"""Folds over notes in which one patient's notes stay together. It knows nothing of scores or codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np


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
