from __future__ import annotations

import numpy as np

from concept_icd.heads.ranker import Ranker


def test_probability_then_training_frequency_then_code():
    ranker = Ranker(("786.2", "486", "780.6", "V13.02"), np.array([5, 2, 5, 9]))
    order = ranker.rank(np.array([[0.1, 0.9, 0.1, 0.1], [0.5, 0.2, 0.3, 0.4]]))
    assert [[ranker.codes[i] for i in row] for row in order] == [
        ["486", "V13.02", "780.6", "786.2"],  # 9 notes before 5; of the two with 5, 780.6 before 786.2
        ["786.2", "V13.02", "780.6", "486"],
    ]


def test_no_notes():
    assert Ranker(("486",), np.array([1])).rank(np.zeros((0, 1))).shape == (0, 1)
