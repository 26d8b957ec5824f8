from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from concept_icd.heads.calibration import Calibration, fit_calibration


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
