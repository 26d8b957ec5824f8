"""Generated codes first, in their order, then the rest by probability."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concept_icd.baselines.ltr_icd.predicting import merge

P = np.array([0.9, 0.2, 0.6, 0.05, 0.7])  # three diagnoses, two procedures


@pytest.mark.parametrize(
    ("generated", "floor", "order"),
    [
        ([2, 0, 4], 0.1, [2, 0, 4, 1, 3]),
        ([3, 2, 0], 0.1, [2, 0, 4, 1, 3]),  # 3 is below the floor: back to its place by probability
        ([3, 2, 0], 0.0, [3, 2, 0, 4, 1]),
        ([], 0.1, [0, 4, 2, 1, 3]),  # a sequence that ended at once
        ([1], 0.1, [1, 0, 4, 2, 3]),
        ([4], 0.1, [4, 0, 2, 1, 3]),  # only a procedure
        ([2, 1], 1.0, [0, 4, 2, 1, 3]),
    ],
)
def test_by_hand(generated: list[int], floor: float, order: list[int]) -> None:
    assert merge(generated, P, floor).tolist() == order


def test_equals_stand_in_the_order_of_the_label_set() -> None:
    assert merge([], np.array([0.5, 0.7, 0.5, 0.5]), 0.1).tolist() == [1, 0, 2, 3]
    assert merge([0], np.array([0.1, 0.1]), 0.1).tolist() == [0, 1]  # at the floor is not below it


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0, 1), st.randoms())
def test_every_code_once_and_each_kind_by_the_same_rule(probabilities, floor, random):
    p = np.array(probabilities)
    border = random.randint(0, len(p))
    diagnoses = random.sample(range(border), random.randint(0, border))
    procedures = random.sample(range(border, len(p)), random.randint(0, len(p) - border))
    order = merge([*diagnoses, *procedures], p, floor)
    assert sorted(order) == list(range(len(p)))
    alone = merge(diagnoses, p[:border], floor)
    assert [column for column in order if column < border] == alone.tolist()
