"""One ranking from the decoder's sequence and the classifier's probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def merge(generated: Sequence[int], probabilities: np.ndarray, floor: float) -> np.ndarray:
    """Every code (column), the first-ranked first.

    First the generated codes in their order (diagnoses, then procedures) whose probability is at least `floor`; then
    all others by falling probability, equals in the label set's order. Taken apart, the diagnoses of this list, and
    the procedures, are each ranked by the same rule; a sequence that ended early, or is empty, leaves the rest to the
    probabilities.

    Args:
        generated: columns, none twice. probabilities: (codes,).
    """
    kept = [column for column in generated if probabilities[column] >= floor]
    falling = np.argsort(-probabilities, kind="stable")
    return np.concatenate([np.array(kept, dtype=np.int64), falling[~np.isin(falling, kept)]])
