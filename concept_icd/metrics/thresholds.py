"""One threshold for all codes, chosen on dev or by cross-validation, never on the notes that are then scored.

best_threshold = argmax_t  micro-F1 of (p >= t)  over the probabilities that occur; of equals the highest t.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from concept_icd.metrics.inputs import check_pair


def best_threshold(gold: ArrayLike, probabilities: ArrayLike) -> float:
    """The threshold with the best micro-F1 on these notes; a code is accepted at p >= threshold.

    Args:
        gold: 0/1 (notes, codes). probabilities: (notes, codes) in 0..1.

    Raises:
        ValueError: see `inputs.check_pair`; no gold code at all.
    """
    truth, values = check_pair(gold, probabilities, probabilities=True)
    truth, values = truth.ravel(), values.ravel()
    if not truth.any():
        raise ValueError("no note has a gold code: there is no threshold to choose")
    order = np.argsort(-values, kind="stable")
    values, hits = values[order], np.cumsum(truth[order])
    last_of_tie = np.flatnonzero(np.append(np.diff(values) != 0, True))
    f1 = 2 * hits[last_of_tie] / (last_of_tie + 1 + hits[-1])  # 2 TP / (accepted + gold)
    return float(values[last_of_tie[np.argmax(f1)]])
