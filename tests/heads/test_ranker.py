from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from concept_icd.heads.ranker import LearnedOrder, Ranker, rank_codes
from concept_icd.heads.ranking_features import FROM_ORDERS, FROM_PROBABILITIES, PairTable, TrainingOrders

CODES = ("486", "491.21", "780.6", "786.2", "38.93", "96.04", "99.04")
PROCEDURE = np.array([False] * 4 + [True] * 3)
FEATURES = len(FROM_PROBABILITIES) + len(FROM_ORDERS)


def learned(weights: np.ndarray) -> Ranker:
    """An order over scores and training orders: 780.6 first, then 786.2, 486 and 491.21; of the procedures 99.04."""
    places = np.array([[3, 4, 1, 2, 3, 2, 1]])
    orders = TrainingOrders.count(places, places == 1, PROCEDURE)
    without = np.broadcast_to(weights, (2, FEATURES))
    with_text = np.hstack([np.zeros((2, FEATURES)), [[1.0], [1.0]]])
    order = LearnedOrder(PROCEDURE, orders, None, ("text",), with_text, without)
    return Ranker(CODES, np.ones(7, dtype=np.int64), order)


#: The mean place in training orders alone decides.
BY_PLACE = np.array([0, 0, 0, 0, 0, -1.0, 0])


def names(order: np.ndarray) -> list[list[str]]:
    return [[CODES[column] for column in row] for row in order]


def test_probability_then_training_frequency_then_code():
    ranker = Ranker(("786.2", "486", "780.6", "V13.02"), np.array([5, 2, 5, 9]))
    order = ranker.rank(np.array([[0.1, 0.9, 0.1, 0.1], [0.5, 0.2, 0.3, 0.4]]))
    assert [[ranker.codes[i] for i in row] for row in order] == [
        ["486", "V13.02", "780.6", "786.2"],  # 9 notes before 5; of the two with 5, 780.6 before 786.2
        ["786.2", "V13.02", "780.6", "486"],
    ]


def test_no_notes():
    assert Ranker(("486",), np.array([1])).rank(np.zeros((0, 1))).shape == (0, 1)
    assert learned(BY_PLACE).rank(np.zeros((0, 7)), np.zeros((0, 7), dtype=bool)).shape == (0, 7)


def test_accepted_codes_of_a_kind_stand_in_the_learned_order_at_the_ranks_that_they_had():
    probabilities = np.array([[0.9, 0.8, 0.5, 0.1, 0.7, 0.6, 0.2]])
    ranker, accepted = learned(BY_PLACE), probabilities >= 0.5
    assert names(rank_codes(probabilities, ranker.frequency, CODES)) == [
        ["486", "491.21", "38.93", "96.04", "780.6", "99.04", "786.2"]
    ]
    assert names(ranker.rank(probabilities, accepted)) == [
        ["780.6", "486", "96.04", "38.93", "491.21", "99.04", "786.2"]
    ]


def test_notes_with_nothing_one_code_or_only_procedures_accepted():
    probabilities = np.tile([[0.9, 0.8, 0.5, 0.1, 0.7, 0.6, 0.2]], (3, 1))
    accepted = np.zeros((3, 7), dtype=bool)
    accepted[1, 0] = accepted[2, 4] = accepted[2, 5] = True
    found = names(learned(BY_PLACE).rank(probabilities, accepted))
    as_it_was = ["486", "491.21", "38.93", "96.04", "780.6", "99.04", "786.2"]
    assert found[:2] == [as_it_was] * 2
    assert found[2] == ["486", "491.21", "96.04", "38.93", "780.6", "99.04", "786.2"]


def test_ties_keep_the_order_by_probability():
    probabilities = np.array([[0.5, 0.9, 0.5, 0.7, 0.5, 0.6, 0.5]])
    ranker = learned(np.zeros(FEATURES))
    assert (ranker.rank(probabilities, probabilities > 0) == ranker.rank(probabilities)).all()


def test_text_decides_where_there_is_text_and_its_own_weights_do_without():
    probabilities = np.array([[0.9, 0.8, 0.5, 0.1, 0.2, 0.2, 0.2]])
    ranker, accepted = learned(BY_PLACE), probabilities >= 0.5
    text = PairTable(("text",), (1, 7), np.array([1]), np.array([[1.0]], dtype=np.float32))
    assert names(ranker.rank(probabilities, accepted, text=text))[0][:3] == ["491.21", "486", "780.6"]
    assert names(ranker.rank(probabilities, accepted))[0][:3] == ["780.6", "486", "491.21"]


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), notes=st.integers(0, 6), threshold=st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.1]))
def test_an_order_never_changes_what_is_accepted(seed, notes, threshold):
    rng = np.random.default_rng(seed)
    probabilities = np.round(rng.random((notes, 7)), rng.integers(1, 4))  # with ties
    accepted = probabilities >= threshold
    ranker = learned(rng.normal(size=FEATURES))
    plain, order = ranker.rank(probabilities), ranker.rank(probabilities, accepted)
    assert (np.sort(order, axis=1) == np.arange(7)).all()
    for before, after, mark in zip(plain, order, accepted, strict=True):
        assert (mark[before] == mark[after]).all()  # the same ranks hold accepted codes: the same set at every cut
        assert (PROCEDURE[before] == PROCEDURE[after]).all()  # and the same ranks hold diagnoses
        assert (before[~mark[before]] == after[~mark[after]]).all()
