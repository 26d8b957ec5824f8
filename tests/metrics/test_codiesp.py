"""The figures of the CodiEsp track, by hand."""

from __future__ import annotations

import pytest

from concept_icd.metrics.codiesp import (
    MeanAveragePrecision,
    MicroScores,
    explained_micro_scores,
    mean_average_precision,
    micro_scores,
)

GOLD = {"one": ["i10", "e11.9", "n18.3"], "two": ["r52"], "three": ["j45.909"]}


def test_average_precision_is_over_all_gold_codes_of_the_case():
    ranked = {"one": ["x", "I10", "y", "E11.9"], "two": ["a", "b", "R52"], "three": ["z"]}
    # one: (1/2 + 2/4) / 3; two: 1/3; three: 0, since what it predicts is wrong.
    found = mean_average_precision(GOLD, ranked)
    assert found.cases == 3
    assert found.value == pytest.approx((1 / 3 + 1 / 3 + 0) / 3)


def test_a_case_without_prediction_is_no_part_of_map():
    assert mean_average_precision(GOLD, {"two": ["r52"]}) == MeanAveragePrecision(1.0, 1)
    # One whose only predictions are not valid is such a case as well.
    ranked = {"one": ["zzz"], "two": ["r52"]}
    assert mean_average_precision(GOLD, ranked, ["R52", "i10"]) == MeanAveragePrecision(1.0, 1)
    assert mean_average_precision(GOLD, ranked) == MeanAveragePrecision(0.5, 2)
    assert mean_average_precision(GOLD, {}) == MeanAveragePrecision(0.0, 0)
    assert mean_average_precision({"one": []}, {"one": ["i10"]}) == MeanAveragePrecision(0.0, 0)


def test_what_is_not_valid_or_said_again_takes_no_rank():
    ranked = {"two": ["zzz", "j45", "J45", "r52"]}
    assert mean_average_precision(GOLD, ranked, ["j45", "r52"]).value == pytest.approx(1 / 2)
    assert mean_average_precision(GOLD, ranked).value == pytest.approx(1 / 3)


def test_micro_scores_count_pairs_of_case_and_code():
    predicted = {"one": ["I10", "i10", "x"], "two": ["r52"], "nobody": ["r52", "y"]}
    found = micro_scores(GOLD, predicted)
    assert (found.precision, found.recall) == (2 / 5, 2 / 5)
    assert found.f1 == pytest.approx(2 / 5)
    found = micro_scores(GOLD, predicted, ["i10", "r52"])
    assert (found.precision, found.recall) == (2 / 3, 2 / 5)
    assert micro_scores(GOLD, {}) == MicroScores(None, 0.0, None)
    assert micro_scores(GOLD, {"one": ["x"]}) == MicroScores(0.0, 0.0, 0.0)
    assert micro_scores({}, {"one": ["x"]}) == MicroScores(0.0, None, None)


@pytest.mark.parametrize(
    ("reference", "counts"),
    [((100, 120), True), ((90, 130), True), ((89, 130), False), ((90, 131), False), ((101, 120), False),
     ((100, 119), False), ((95, 125), True)],
)  # fmt: skip
def test_a_passage_holds_the_gold_one_and_ten_characters_more_at_most(reference, counts):
    found = explained_micro_scores({"a": [("i10", (100, 120))]}, {"a": [("I10", reference)]})
    assert found.recall == (1.0 if counts else 0.0)


def test_one_passage_of_a_code_is_enough_and_counts_once():
    gold = {"a": [("i10", (0, 5)), ("i10", (50, 60)), ("r52", (10, 14))]}
    predicted = {"a": [("i10", (50, 61)), ("i10", (300, 310)), ("j45", (10, 14))], "b": [("i10", (0, 5))]}
    # i10 is right; j45 and i10 of b are wrong; r52 was not found.
    assert explained_micro_scores(gold, predicted) == MicroScores(1 / 3, 1 / 2, pytest.approx(0.4))
    assert explained_micro_scores(gold, predicted, ["i10"]) == MicroScores(1 / 2, 1 / 2, 1 / 2)
