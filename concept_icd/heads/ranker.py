"""Code probabilities -> the order in which a coder reads them. It knows nothing of concepts or thresholds.

This first ranker orders by probability, diagnoses and procedures in one list. A ranker is anything with
`rank(probabilities) -> order` of the same shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class ProbabilityRanker:
    """Falling probability; ties by falling training frequency, then by the code's own string.

    Attributes:
        codes: of the label set. frequency: training notes with each code, int64, shape (codes,).
    """

    codes: tuple[str, ...]
    frequency: np.ndarray

    def rank(self, probabilities: np.ndarray) -> np.ndarray:
        """Order of the codes, int64, shape (notes, codes): `order[n, r]` is the index of the code at rank r + 1."""
        return rank_codes(probabilities, self.frequency, self.codes)


def rank_codes(probabilities: np.ndarray, frequency: np.ndarray, codes: Sequence[str]) -> np.ndarray:
    """See `ProbabilityRanker.rank`."""
    among_equals = np.lexsort((np.array(codes), -frequency))
    return among_equals[np.argsort(-probabilities[:, among_equals], axis=1, kind="stable")]
