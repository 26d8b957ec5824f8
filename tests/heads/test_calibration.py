"""Calibration of a known distortion, and the threshold against every other one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit
from sklearn.metrics import f1_score

from concept_icd.errors import InputError
from concept_icd.heads.calibration import Calibration, Threshold, choose_threshold, fit_calibration


@pytest.fixture
def distorted() -> tuple[np.ndarray, np.ndarray]:
    """Log-odds z whose true log-odds are 0.5 z - 1, and the outcomes."""
    rng = np.random.default_rng(0)
    z = rng.normal(scale=4, size=(5000, 8))
    return z, rng.random(z.shape) < expit(0.5 * z - 1.0)


def test_platt_finds_the_distortion(distorted):
    found = fit_calibration(*distorted)
    assert found.slope == pytest.approx(0.5, abs=0.02)
    assert found.intercept == pytest.approx(-1.0, abs=0.05)


def test_platt_makes_the_mean_probability_the_rate(distorted):
    """The derivative by the intercept is zero exactly there."""
    z, gold = distorted
    assert fit_calibration(z, gold).probabilities(z).mean() == pytest.approx(gold.mean(), abs=1e-5)


def test_temperature_keeps_even_odds_even(distorted):
    found = fit_calibration(*distorted, method="temperature")
    assert found.intercept == 0.0
    assert found.slope < 1
    assert found.probabilities(np.array([0.0]))[0] == 0.5


def test_none_is_the_identity_on_log_odds(distorted):
    assert fit_calibration(*distorted, method="none") == Calibration(1.0, 0.0)


def test_the_order_never_turns_round(distorted):
    z, gold = distorted
    assert fit_calibration(-z, gold) == Calibration()


def test_by_hand():
    gold = np.array([[1, 0, 0], [0, 1, 0]])
    probabilities = np.array([[0.9, 0.4, 0.1], [0.3, 0.6, 0.2]])
    # Accepting .9 and .6 is right on both counts; the cut is half-way between .6 and .4.
    chosen = choose_threshold(gold, probabilities, source="by hand")
    assert (chosen.value, chosen.micro_f1, chosen.source) == (pytest.approx(0.5), 1.0, "by hand")
    assert chosen.accept(probabilities).tolist() == [[True, False, False], [False, True, False]]


def test_ties_are_accepted_or_rejected_together():
    # Any cut through the four .5 would split equals: all or none of them. All: F1 = 2*1/(4+1).
    chosen = choose_threshold(np.array([[1, 0], [0, 0]]), np.full((2, 2), 0.5))
    assert chosen.micro_f1 == pytest.approx(0.4)
    assert chosen.accept(np.full((2, 2), 0.5)).all()


def test_at_least_one_changes_the_best_cut():
    # Note 2 has its only code at .3, below a wrong code of note 1 at .4.
    gold, probabilities = np.array([[1, 0], [1, 0]]), np.array([[0.9, 0.4], [0.3, 0.1]])
    without = choose_threshold(gold, probabilities)
    with_one = choose_threshold(gold, probabilities, at_least_one=True)
    assert without.micro_f1 == pytest.approx(0.8)  # .9, .4 and .3 accepted: 2*2/(3+2)
    assert with_one.micro_f1 == 1.0
    assert with_one.value > 0.4
    assert with_one.accept(probabilities).tolist() == [[True, False], [True, False]]
    assert choose_threshold(gold, probabilities, at_least_one=None) == with_one
    # Where it makes no difference, the plain rule is kept.
    assert not choose_threshold(gold[:1], probabilities[:1], at_least_one=None).at_least_one


@given(
    arrays(bool, (6, 4)).filter(lambda gold: gold.any()),
    arrays(np.float64, (6, 4), elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.50001, 0.75, 1.0])),
    st.booleans(),
)
def test_no_threshold_does_better_and_the_stated_f1_is_scikit_learns(gold, probabilities, at_least_one):
    chosen = choose_threshold(gold, probabilities, at_least_one=at_least_one)

    def micro_f1(value: float) -> float:
        accepted = Threshold(value, at_least_one).accept(probabilities)
        return float(f1_score(gold, accepted, average="micro", zero_division=0))

    assert chosen.micro_f1 == pytest.approx(micro_f1(chosen.value))
    grid = [*np.unique(probabilities), *np.linspace(0, 1.1, 23)]
    assert chosen.micro_f1 >= max(micro_f1(value) for value in grid) - 1e-12


def test_of_many_pairs_with_few_positive_ones_the_best_is_found_without_sorting_all():
    """A poor score, so that the best cut accepts more than four times the positive pairs, next to a good one."""
    rng = np.random.default_rng(0)
    gold = rng.random((300, 100)) < 0.01
    for gain in (0.05, 0.3, 3.0):
        probabilities = 1 / (1 + np.exp(4 - gain * gold - rng.normal(size=gold.shape)))
        for values in (probabilities, probabilities.astype(np.float32)):
            chosen = choose_threshold(gold, values)
            order = np.argsort(-values, axis=None)
            hits = np.cumsum(gold.reshape(-1)[order])
            assert chosen.micro_f1 == pytest.approx((2 * hits / (np.arange(1, 30_001) + gold.sum())).max())
            accepted = chosen.accept(values)
            assert chosen.micro_f1 == pytest.approx(2 * (accepted & gold).sum() / (accepted.sum() + gold.sum()))


def test_without_a_gold_code_there_is_nothing_to_choose():
    with pytest.raises(InputError, match="no threshold can be chosen"):
        choose_threshold(np.zeros((3, 2)), np.full((3, 2), 0.5))


def test_accepting_does_not_change_the_probabilities():
    probabilities = np.array([[0.2, 0.1]])
    assert Threshold(0.9, at_least_one=True).accept(probabilities).tolist() == [[True, False]]
    assert probabilities.tolist() == [[0.2, 0.1]]
