"""The dummy: every stay gets every node, most frequent in training first (Marcou et al. 2024, "Dummy")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def frequencies(gold: csr_array) -> np.ndarray:
    """(nodes,) float64: the share of the training stays with each node; gold bool (stays, nodes).

    Raises:
        ValueError: there are no stays.
    """
    if not gold.shape[0]:
        raise ValueError("there are no training stays to count")
    shares: np.ndarray = gold.astype(np.float64).sum(axis=0) / gold.shape[0]
    return shares
