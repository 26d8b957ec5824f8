"""A world with a known truth: eight codes in four categories, and concept scores drawn from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest


@dataclass(frozen=True)
class World:
    codes: tuple[str, ...]
    levels: tuple[str, ...]
    cover: np.ndarray  # (concepts, codes)
    rates: np.ndarray  # of the codes

    def draw(self, notes: int, seed: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Scores (notes, concepts), 3 log-odds apart between true and false concepts, and gold (notes, codes)."""
        rng = np.random.default_rng(seed)
        gold = rng.random((notes, len(self.codes))) < self.rates
        true = gold.astype(int) @ self.cover.T.astype(int) > 0
        return (3.0 * true - 2.0 + noise * rng.normal(size=true.shape)).astype(np.float32), gold


@pytest.fixture
def world() -> World:
    return make_world()


def make_world() -> World:
    codes = ("486", "487.0", "490", "491.0", "780.6", "786.2", "787.0", "788.0")
    categories = np.array([[i // 2 == j for i in range(8)] for j in range(4)])
    cover = np.vstack([categories, np.eye(8, dtype=bool)])
    return World(
        codes, ("category",) * 4 + ("code",) * 8, cover, np.array([0.3, 0.25, 0.2, 0.2, 0.15, 0.15, 0.1, 0.02])
    )
