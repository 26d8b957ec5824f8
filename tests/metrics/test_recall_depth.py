import numpy as np
import pytest

from concept_icd.metrics.ranking import gold_ranks
from concept_icd.metrics.recall_depth import fixed_depth, note_reading

GOLD = np.array([[1, 0, 1, 1, 0, 0, 0, 0, 1, 0], [0] * 10], dtype=bool)  # gold at ranks 1, 3, 4, 9; a note without
SCORES = np.tile(np.arange(10.0, 0, -1), (2, 1))


def test_a_note_read_to_a_rank_by_hand():
    ranks, expected = gold_ranks(GOLD, SCORES), np.array([0.8, 0.9])
    found = note_reading(ranks, np.array([4, 2]), expected, 0.75)
    assert {name: value[0] for name, value in found.items()} == {
        "reading_depth": 4,
        "reading_expected": 0.8,
        "reading_recall": 0.75,
        "reading_errors": 1,
        "reading_reached": 1,
    }
    assert all(np.isnan(value[1]) for value in found.values())  # no gold code: no recall
    one_less = note_reading(ranks, np.array([3, 2]), expected, 0.75)
    assert (one_less["reading_recall"][0], one_less["reading_reached"][0]) == (0.5, 0)


def test_the_fixed_depth_by_hand():
    # Gold at ranks 1 and 3, and at rank 2: mean recall 1/4, 3/4, 1 at 1, 2, 3; mean hits 1/2, 1, 3/2.
    ranks = gold_ranks(np.array([[1, 0, 1, 0], [0, 1, 0, 0]], dtype=bool), np.tile([4.0, 3, 2, 1], (2, 1)))
    assert fixed_depth(ranks, 0.75) == pytest.approx((2, 1))
    assert fixed_depth(ranks, 0.5) == pytest.approx((1.5, 1.5 - 0.75))
    assert fixed_depth(ranks, 1.0) == pytest.approx((3, 1.5))
    assert fixed_depth(ranks, 0.125) == pytest.approx((0.5, 0.25))


def test_where_recall_stands_still_the_smallest_depth_counts():
    ranks = gold_ranks(np.array([[1, 0, 0, 0, 1]], dtype=bool), np.arange(5.0, 0, -1)[None])
    assert fixed_depth(ranks, 0.5) == pytest.approx((1, 0))
    assert fixed_depth(ranks, 0.75) == pytest.approx((4.5, 3))


def test_without_gold_there_is_no_fixed_depth():
    assert np.isnan(fixed_depth(gold_ranks(GOLD[1:], SCORES[1:]), 0.9)).all()
