"""Means over the test stays of all folds, their intervals over patients, paired differences, and wards."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from concept_icd.medications.strategy import Stays
from concept_icd.medications.study.figures import PER_STAY
from concept_icd.medications.study.run import Fold
from concept_icd.medications.study.study import Drawn, by_ward, differences, summarise

ROWS = [np.array(rows) for rows in ([0, 1, 2], [3, 4, 5])]
FOLDS = {name: Fold(ROWS[0], ROWS[0], rows) for name, rows in zip("ab", ROWS, strict=True)}


def stays(patients="abcdef", wards=("medical",) * 3 + ("surgical",) * 3):
    return Stays(tuple("123456"), tuple(patients), csr_array(np.zeros((6, 1), dtype=np.float32)), ("age",), wards)


def values(*column):
    """The same value of a stay for every figure."""
    return {"billing": np.tile(np.array(column, dtype=np.float32)[:, None], (1, len(PER_STAY)))}


def runs(*means):
    sets = [{"ndcg": mean, "macro_f1": mean, "ece": None, "recall_curve": [mean, 2 * mean]} for mean in means]
    return [{"sets": {"billing": own}} for own in sets]


def test_means_are_over_stays_and_other_figures_over_folds():
    drawn = Drawn.of(stays(), FOLDS, 200, 0)
    found = summarise(runs(0.2, 0.5), values(0.1, 0.2, 0.3, np.nan, 0.5, np.nan), drawn)["billing"]
    assert found["ndcg"]["mean"] == pytest.approx((0.1 + 0.2 + 0.3 + 0.5) / 4)
    assert found["macro_f1"] == {"mean": pytest.approx(0.35), "sd": pytest.approx(0.3 / 2**0.5), "folds": 2}
    assert 0 < found["ndcg"]["low"] < 0.2 < found["ndcg"]["mean"] < 0.35 < found["ndcg"]["high"] < 1
    assert "ece" not in found
    assert found["recall_curve"] == pytest.approx([0.35, 0.7])


def test_a_patients_stays_are_drawn_together():
    both = values(0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
    apart, one = (Drawn.of(stays(patients), FOLDS, 500, 0) for patients in ("abcdef", "aaaaaa"))
    wide, none = (summarise(runs(0.0, 1.0), both, drawn)["billing"]["ndcg"] for drawn in (apart, one))
    assert wide["high"] - wide["low"] > 0.5
    assert np.isnan([none["low"], none["high"]]).all()  # one patient has no spread


def test_differences_pair():
    """One strategy is better by .1 on every stay: no draw changes that, however the stays differ."""
    drawn = Drawn.of(stays(), FOLDS, 200, 0)
    worse = np.array([0.0, 0.5, 0.1, 0.9, 0.3, np.nan])
    found = differences(values(*(worse + 0.1)), values(*worse), drawn)["billing"]["rank_errors_at_50_interp"]
    assert [found[key] for key in ("difference", "low", "high")] == pytest.approx([0.1] * 3)
    assert np.isnan(found["paired_t_p"])  # the same gap everywhere has no spread


def test_the_studys_two_tests_stand_beside_the_interval():
    """Mann and Whitney: 3 against 3 and all of one side above: 2 of 20 orders, p = .1. Gaps 1, 2, 3: t = 2 root 3."""
    own, others = values(4.0, 6.0, 8.0, np.nan, np.nan, np.nan), values(3.0, 4.0, 5.0, np.nan, np.nan, np.nan)
    apart = values(13.0, 14.0, 15.0, np.nan, np.nan, np.nan)
    drawn = Drawn.of(stays(), FOLDS, 50, 0)
    assert differences(apart, others, drawn)["billing"]["ndcg"]["mann_whitney_p"] == pytest.approx(0.1)
    # Two degrees of freedom: p = 1 - t / root(t^2 + 2), two-sided, with t^2 = 12.
    paired = differences(own, others, drawn)["billing"]["ndcg"]["paired_t_p"]
    assert paired == pytest.approx(1 - (12 / 14) ** 0.5)
    assert differences({"chapter": own["billing"]}, others, drawn) == {}


def test_wards_count_their_coded_stays_and_draw_their_own_patients():
    """All surgical stays are one patient's: nothing says how far their mean would move."""
    found = by_ward(values(0.0, 1.0, np.nan, 0.0, 0.5, 1.0), Drawn.of(stays("abczzz"), FOLDS, 100, 0))
    assert {ward: own["stays"] for ward, own in found.items()} == {"medical": 2, "surgical": 3}
    medical, surgical = found["medical"]["ndcg"], found["surgical"]["ndcg"]
    assert medical["mean"] == surgical["mean"] == 0.5
    assert 0 < medical["low"] < 0.01 < 0.99 < medical["high"] < 1
    assert np.isnan([surgical["low"], surgical["high"]]).all()
