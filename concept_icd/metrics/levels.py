"""How well concepts are scored, per level of the hierarchy: areas over the concepts of one level at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from concept_icd.metrics.areas import area_metrics
from concept_icd.metrics.inputs import check_pair


def level_metrics(scores: ArrayLike, weak_labels: ArrayLike, levels: Sequence[str]) -> dict[str, dict[str, float]]:
    """`micro_auc`, `macro_auc`, `micro_average_precision`, `macro_average_precision` and sizes, for each level.

    Args:
        scores: (notes, concepts) logits or probabilities. weak_labels: 0/1 (notes, concepts): the concept covers a
            gold code of the note. levels: (concepts,) the level of each concept; the result keeps their order.

    Returns:
        level -> the areas, `concepts` (of the level), `concepts_present` (with a positive note), `positives` (share).

    Raises:
        ValueError: see `inputs.check_pair`; not one level per concept.
    """
    truth, values = check_pair(weak_labels, scores)
    if len(levels) != truth.shape[1]:
        raise ValueError(f"{truth.shape[1]} concepts but {len(levels)} levels")
    found: dict[str, dict[str, float]] = {}
    for level in dict.fromkeys(levels):
        columns = np.array([name == level for name in levels])
        areas = area_metrics(truth[:, columns], values[:, columns])
        found[level] = {
            "concepts": float(columns.sum()),
            "concepts_present": float(truth[:, columns].any(axis=0).sum()),
            "positives": float(truth[:, columns].mean()),
            **{
                f"{mean}_{area}": areas[f"{mean}_{area}"]
                for area in ("auc", "average_precision")
                for mean in ("micro", "macro")
            },
        }
    return found
