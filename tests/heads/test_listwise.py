from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad

from concept_icd.heads.listwise import METHODS, Lists, fit_order, lambdarank, plackett_luce

#: Two lists: items 0, 1, 2 in this order above item 3; item 5 before item 4.
GROUP, PLACE = np.array([7, 7, 7, 7, 9, 9]), np.array([1, 2, 3, 0, 2, 1])


def test_lists_have_what_is_ranked_first_and_leave_out_what_says_nothing():
    lists = Lists.of(np.array([1, 1, 2, 2, 3]), np.array([0, 1, 0, 0, 1]))
    assert lists.item.tolist() == [[1, 0]]  # list 2 ranks nothing, list 3 has nothing to compare
    assert lists.ranked.tolist() == [1]
    lists = Lists.of(GROUP, PLACE)
    assert lists.item[0].tolist() == [0, 1, 2, 3]
    assert lists.item[1, :2].tolist() == [5, 4]
    assert lists.there.tolist() == [[True] * 4, [True, True, False, False]]


def test_plackett_luce_by_hand():
    """Odds 4, 2 and, not ranked, 1: 4/7 for the first, then 2/3; weights 1 and 1/log2(3), made to sum to 1."""
    lists = Lists.of(np.zeros(3, dtype=int), np.array([1, 2, 0]))
    first = 1 / (1 + 1 / np.log2(3))
    expected = -first * np.log(4 / 7) - (1 - first) * np.log(2 / 3)
    assert plackett_luce(lists, 3)(np.log([4.0, 2.0, 1.0]))[0] == pytest.approx(expected)


def test_lambdarank_by_hand():
    """One gold code that stands second: gain 1 over the best DCG 1, discount 1 - 1/log2(3), times log(1 + e^{1})."""
    lists = Lists.of(np.zeros(2, dtype=int), np.array([1, 0]))
    scores = np.array([0.0, 1.0])
    expected = (1 - 1 / np.log2(3)) * np.log(1 + np.e)
    assert lambdarank(lists, scores)(scores)[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    "make", [lambda lists: plackett_luce(lists, 6), lambda lists: lambdarank(lists, np.arange(6.0))]
)
def test_gradients(make):
    loss = make(Lists.of(GROUP, PLACE))
    scores = np.random.default_rng(0).normal(size=6)
    assert check_grad(lambda s: loss(s)[0], lambda s: loss(s)[1], scores) < 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_the_feature_that_decides_is_found_and_a_strong_ridge_stays_where_it_should(method):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 3))
    group = np.repeat(np.arange(100), 4)
    place = np.lexsort((-features[:, 1], group)).argsort() % 4 + 1  # by the second feature, falling
    place[place == 4] = 0
    towards = np.array([1.0, 0.0, 0.0])
    weights = fit_order(features, Lists.of(group, place), method, 1.0, towards, towards)
    assert weights[1] > 5 * abs(weights[[0, 2]]).max()
    held = fit_order(features, Lists.of(group, place), method, 1e9, towards, towards)
    assert held == pytest.approx(towards, abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_without_lists_the_weights_stay(method):
    towards = np.array([1.0])
    nothing = Lists.of(np.zeros(0, dtype=int), np.zeros(0, dtype=int))
    assert fit_order(np.zeros((0, 1)), nothing, method, 1.0, towards, towards).tolist() == [1.0]
