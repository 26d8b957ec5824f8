from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from concept_icd.heads.ranker import pairs_of
from concept_icd.heads.ranking_features import (
    FROM_PATH,
    PairTable,
    PathScores,
    TrainingOrders,
    agreement,
    score_features,
)

#: Codes 0-2 are diagnoses, 3 and 4 procedures; three notes.
PLACES = np.array([[1, 2, 3, 0, 1], [2, 1, 0, 1, 2], [0, 0, 0, 0, 0]])
PROCEDURE = np.array([False, False, False, True, True])


def orders() -> TrainingOrders:
    return TrainingOrders.count(PLACES, PLACES == 1, PROCEDURE)


def test_training_orders_by_hand():
    counts = orders()
    assert counts.frequency.tolist() == [2, 2, 1, 1, 2]
    assert counts.first.tolist() == [1, 1, 0, 1, 1]
    assert counts.places.tolist() == [0 + 1, 0.5 + 0, 1, 0, 0 + 1]
    before = counts.before.toarray()
    assert before[0].tolist() == [0, 1, 1, 0, 0]
    assert before[1].tolist() == [1, 0, 1, 0, 0]
    assert before[3].tolist() == [0, 0, 0, 0, 1]  # kinds are apart
    precedence = counts.precedence.toarray()
    assert precedence[0, 1] == 0  # once each way
    assert precedence[0, 2] == pytest.approx(np.log(2))
    assert (precedence == -precedence.T).all()


def test_counts_of_the_other_notes():
    own = TrainingOrders.count(PLACES[:1], PLACES[:1] == 1, PROCEDURE)
    others = TrainingOrders.count(PLACES[1:], PLACES[1:] == 1, PROCEDURE)
    left = orders().without(own)
    assert (left.table == others.table).all()
    assert (left.precedence.toarray() == others.precedence.toarray()).all()


def test_no_orders_at_all():
    nothing = TrainingOrders.count(np.zeros((2, 3), dtype=int), np.zeros((2, 3), dtype=bool), np.zeros(3, dtype=bool))
    assert np.isfinite(nothing.table).all()
    assert nothing.precedence.nnz == 0


def test_agreement_is_with_the_codes_that_are_there():
    probabilities = np.array([[0.9, 0.5, 0.4, 0.01, 0.02]])
    pairs = pairs_of(np.argsort(-probabilities, axis=1), probabilities > 0, PROCEDURE)
    found = dict(zip(pairs.code.tolist(), agreement(probabilities, orders().precedence, pairs), strict=True))
    assert found[0] == pytest.approx(0.4 * np.log(2))
    assert found[2] == pytest.approx(-(0.9 + 0.5) * np.log(2))
    assert found[3] == 0  # code 4 is too improbable to agree with


def test_places_by_probability_are_within_the_kind():
    probabilities = np.array([[0.2, 0.9, 0.1, 0.5, 0.6]])
    pairs = pairs_of(np.argsort(-probabilities, axis=1), probabilities > 0.15, PROCEDURE)
    assert pairs.code.tolist() == [1, 4, 3, 0]
    assert pairs.place.tolist() == [1, 1, 2, 2]
    assert pairs.position.tolist() == [0, 1, 2, 3]
    log_odds, probability, log_place = score_features(probabilities, pairs).T
    assert log_odds[0] == pytest.approx(np.log(9))
    assert probability.tolist() == [0.9, 0.6, 0.5, 0.2]
    assert log_place[2] == pytest.approx(np.log(2))


def test_certain_probabilities_have_finite_log_odds():
    probabilities = np.array([[0.0, 1.0, 0.5, 0.0, 1.0]])
    pairs = pairs_of(np.argsort(-probabilities, axis=1), probabilities >= 0, PROCEDURE)
    assert np.abs(score_features(probabilities, pairs)[:, 0]).max() == pytest.approx(12)


def test_path_scores_are_means_over_the_concepts_that_cover():
    """Two categories and two codes; code 0 lies below both categories (as a phrase would)."""
    cover = csr_array(np.array([[1, 1, 1, 0], [0, 1, 0, 1]]))  # (codes, concepts)
    path = PathScores(np.zeros(4), np.array([1.0, 2.0, 1.0, 1.0]), 2.0, ("category", "category", "code", "code"), cover)
    logits = np.array([[3.0, 4.0, 5.0, -1.0]])
    found = path.of(logits, np.array([0, 0]), np.array([0, 1]))
    value = [dict(zip(FROM_PATH, row, strict=True)) for row in found]
    assert value[0]["score_category"] == (3 + 4 / 2) / 2
    assert value[1]["score_category"] == 2
    assert value[0]["score_code"] == 5
    assert value[0]["score_chapter"] == value[0]["gap_category_subcategory"] == 0  # such levels are not there


def test_a_table_gives_zeros_for_what_it_does_not_have():
    table = PairTable(("a", "b"), (2, 3), np.array([1, 5]), np.array([[1, 2], [3, 4]], dtype=np.float32))
    assert table.of(np.array([0, 1, 1]), np.array([1, 0, 2])).tolist() == [[1, 2], [0, 0], [3, 4]]
    moved = table.at_rows(np.array([2, 4]), 5)
    assert moved.of(np.array([2, 4, 0]), np.array([1, 2, 1])).tolist() == [[1, 2], [3, 4], [0, 0]]
