"""What every metric checks first: two matrices (notes, codes), one of 0 and 1, one of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def check_pair(gold: ArrayLike, scores: ArrayLike, *, probabilities: bool = False) -> tuple[Bools, Floats]:
    """`gold` as bool and `scores` as float64, both (notes, codes).

    Args:
        gold: 0/1 or bool. scores: any numbers without NaN. probabilities: also ask for 0 <= scores <= 1.

    Raises:
        ValueError: not two-dimensional, different shapes, empty, gold other than 0 and 1, NaN, no probability.

    >>> check_pair([[1, 0]], [[0.9, 1.2]], probabilities=True)
    Traceback (most recent call last):
    ValueError: probabilities lie in 0..1, not 0.9..1.2; apply the sigmoid first
    """
    checked = check_binary(gold, "gold")
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != checked.shape:
        raise ValueError(f"gold has shape {checked.shape} and the scores {values.shape}; both are (notes, codes)")
    if np.isnan(values).any():
        row, column = np.argwhere(np.isnan(values))[0]
        raise ValueError(f"the score of note {row}, code {column} is NaN")
    if probabilities and (values.min() < 0 or values.max() > 1):
        raise ValueError(
            f"probabilities lie in 0..1, not {values.min():.3g}..{values.max():.3g}; apply the sigmoid first"
        )
    return checked, values


def codes_with_gold(gold: Bools) -> Bools:
    """(codes,) the code has a gold example here: what the filter of Edin et al. 2023 keeps; gold (notes, codes).

    Raises:
        ValueError: no code has.

    >>> codes_with_gold(np.array([[True, False], [True, False]])).tolist()
    [True, False]
    """
    kept = np.asarray(gold.any(axis=0))
    if not kept.any():
        raise ValueError("no code has a gold example, so that none is left to measure")
    return kept


def check_binary(matrix: ArrayLike, name: str) -> Bools:
    """A 0/1 matrix (notes, codes) as bool; ValueError for anything else."""
    values: NDArray[Any] = np.asarray(matrix)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"{name} has shape {values.shape}; it must be (notes, codes) with at least one of each")
    if values.dtype == np.bool_:
        return values
    if not np.issubdtype(values.dtype, np.number) or not ((values == 0) | (values == 1)).all():
        raise ValueError(f"{name} holds values other than 0 and 1")
    return values.astype(np.bool_)
