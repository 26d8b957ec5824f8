import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit, logit

from concept_icd.metrics import (
    area_metrics,
    classification_metrics,
    headline_intervals,
    metric_intervals,
    ranking_metrics,
)
from concept_icd.metrics.intervals import draw_weights, headline_samples, interval, scale_of
from tests.metrics.strategies import tied


@pytest.fixture(scope="module")
def matrices():
    random = np.random.default_rng(3)
    gold = random.random((60, 7)) < 0.25
    gold[:5] = False  # notes without a gold code
    gold[:, 6] = False  # a code without a gold example
    probabilities = np.round(np.clip(random.random((60, 7)) * 0.7 + 0.3 * gold, 0, 1), 2)  # some ties
    return gold, probabilities, [f"patient {n // 2}" for n in range(60)]


@pytest.mark.parametrize("by_patient", [True, False])
def test_the_fast_way_gives_the_slow_ways_intervals(matrices, by_patient):
    gold, probabilities, patients = matrices
    groups = patients if by_patient else None

    def everything(truth, values):
        return classification_metrics(truth, values, 0.4) | ranking_metrics(truth, values)

    slow = metric_intervals(everything, gold, probabilities, groups, draws=25, seed=5)
    fast = headline_intervals(gold, probabilities, probabilities >= 0.4, groups=groups, draws=25, seed=5)
    assert {"micro_f1", "macro_f1_caml", "micro_auc", "macro_auc", "map", "ndcg", "exact_match"} <= set(fast)
    for name, width in fast.items():
        assert width == pytest.approx(slow[name]), name


def test_jackknife_by_hand():
    # Recall of 4 notes, 3 found; without one of them 2/3, 2/3, 2/3, 1. se^2 = 3/4 (3 (1/12)^2 + (1/4)^2) = 1/16.
    gold, found = np.ones((4, 1), int), np.array([[1], [1], [1], [0]])
    width = headline_intervals(gold, found.astype(float), found)["micro_recall"]
    reach = stats.t.ppf(0.975, 3) * 0.25 / (0.75 * 0.25)  # on the log-odds
    assert (width["low"], width["high"]) == pytest.approx((expit(logit(0.75) - reach), expit(logit(0.75) + reach)))
    assert width["draws"] == 4


@pytest.mark.parametrize(
    ("scale", "low", "high"),
    [  # figure .2, se .04 of three samples, whose quantile is 4.303
        ("plain", 0.2 - 4.3027 * 0.04, 0.2 + 4.3027 * 0.04),
        ("share", expit(logit(0.2) - 4.3027 * 0.04 / 0.16), expit(logit(0.2) + 4.3027 * 0.04 / 0.16)),
        ("count", 0.2 * np.exp(-4.3027 * 0.2), 0.2 * np.exp(4.3027 * 0.2)),
    ],
)
def test_scales_by_hand(scale, low, high):
    spread = 0.04 * np.sqrt(3) / 2  # 2/3 (2 spread^2) = se^2
    found = interval(np.array([0.2, 0.2 - spread, 0.2, 0.2 + spread]), scale)
    assert (found["low"], found["high"]) == pytest.approx((low, high), rel=1e-4)


@given(tied(), st.integers(0, 3))
def test_a_figure_lies_in_its_interval_and_the_interval_where_figures_can_lie(case, seed):
    gold, probabilities = case[0].astype(bool), case[1]
    accepted = np.random.default_rng(seed).random(gold.shape) < 0.4
    figures = classification_metrics(gold, accepted) | area_metrics(gold, probabilities)
    figures |= ranking_metrics(gold, probabilities)
    for name, width in headline_intervals(gold, probabilities, accepted, draws=9).items():
        if not np.isnan(width["low"]):
            assert width["low"] - 1e-12 <= figures[name] <= width["high"] + 1e-12, name
            assert width["low"] >= 0
            assert width["high"] <= 1 or scale_of(name) == "count", name


def test_a_figure_lies_in_its_interval_where_most_codes_have_one_note():
    random = np.random.default_rng(0)
    gold = random.random((150, 1200)) < 0.6 / np.arange(1, 1201)
    probabilities = np.clip(random.random(gold.shape) * 0.6 + 0.3 * gold, 0, 1)
    figures = classification_metrics(gold, probabilities)
    found = headline_intervals(gold, probabilities, probabilities >= 0.5, draws=150)
    for name in ("macro_f1", "macro_f1_present", "macro_f1_caml", "macro_auc"):
        low, high = found[name]["low"], found[name]["high"]
        assert low < figures[name] < high, name
        assert 0.4 < (figures[name] - low) / (high - low) < 0.6, name  # and about in its middle


def test_a_code_with_one_gold_note_counts_with_its_whole_weight():
    # Fifty codes with a note each, half of them found: each note moves macro_f1 by its 1/50 or by nothing.
    gold = np.eye(50, dtype=int)
    accepted = gold * (np.arange(50) % 2)
    found = headline_intervals(gold, accepted.astype(float), accepted)["macro_f1"]
    error = np.sqrt(49 / 50 * 50 * 0.5 * 0.5) / 50
    reach = stats.t.ppf(0.975, 49) * error / 0.25
    assert (found["low"], found["high"]) == pytest.approx((expit(-reach), expit(reach)))


def test_a_share_that_was_never_seen_to_fail_may_still_fail():
    """20 notes, all right: the exact binomial bound is where 20 successes in a row have a chance of 2.5 %."""
    found = headline_intervals(np.eye(20), np.eye(20), np.eye(20))
    assert found["exact_match"]["high"] == 1
    assert found["exact_match"]["low"] ** 20 == pytest.approx(0.025)
    none = headline_intervals(np.eye(20), np.eye(20), np.zeros((20, 20)))
    assert (none["exact_match"]["low"], none["micro_f1"]["low"]) == (0, 0)
    assert (1 - none["exact_match"]["high"]) ** 20 == pytest.approx(0.025)


def test_paired_differences_hold_theirs():
    random = np.random.default_rng(1)
    gold = random.random((60, 300)) < 0.01
    p = np.clip(random.random((2, 60, 300)) * 0.6 + 0.3 * gold, 0, 1)
    first, second = (headline_samples(gold, values, values >= 0.5, seed=2) for values in p)
    for name in first:
        width = interval(first[name] - second[name])
        assert width["low"] <= first[name][0] - second[name][0] <= width["high"], name
        assert interval(first[name] - first[name]) == {"low": 0, "high": 0, "draws": width["draws"]}


def test_the_draws_do_not_depend_on_the_chunks(matrices, monkeypatch):
    gold, probabilities, patients = matrices
    arguments = (gold, probabilities, probabilities >= 0.4, None, patients, 50)
    whole = headline_intervals(*arguments)
    monkeypatch.setattr("concept_icd.metrics.intervals._CHUNK", 56)  # eight draws at once
    chunked = headline_intervals(*arguments)
    for name, width in whole.items():
        assert chunked[name] == pytest.approx(width), name


def test_notes_of_one_patient_move_together():
    gold = np.ones((20, 1), int)
    right = np.repeat([1.0, 0.0, 1.0, 1.0], 5)[:, None]
    patients = np.repeat(["a", "b", "c", "d"], 5)

    def recall(truth, values):
        return float((values > 0.5)[truth].mean())

    by_patient = metric_intervals(recall, gold, right, patients)["metric"]
    by_note = metric_intervals(recall, gold, right)["metric"]
    assert (by_patient["draws"], by_note["draws"]) == (4, 20)
    assert by_patient["high"] - by_patient["low"] == pytest.approx(2 * stats.t.ppf(0.975, 3) * 0.25)
    assert by_note["high"] - by_note["low"] == pytest.approx(2 * stats.t.ppf(0.975, 19) * np.sqrt(0.75 * 0.25 / 19))


def test_more_patients_than_samples_are_left_out_in_groups():
    weights = draw_weights([n // 2 for n in range(46)], 46, draws=10, seed=7)  # 23 patients of two notes
    assert weights.shape == (11, 46)
    assert (weights[0] == 1).all()
    assert (weights[:, ::2] == weights[:, 1::2]).all()
    assert ((1 - weights[1:]).sum(axis=0) == 1).all()  # each patient is left out once
    assert set((1 - weights[1:]).sum(axis=1) / 2) == {2, 3}
    assert (weights != draw_weights([n // 2 for n in range(46)], 46, draws=10, seed=8)).any()


def test_the_interval_is_about_as_wide_as_theory_says():
    random = np.random.default_rng(0)
    right = random.random(4000) < 0.7
    gold = np.ones((4000, 1), int)
    interval = headline_intervals(gold, right[:, None].astype(float), right[:, None], draws=400)["micro_recall"]
    spread = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 4000)
    assert interval["low"] == pytest.approx(right.mean() - spread, rel=0.003)  # the spread itself is 2 %
    assert interval["high"] == pytest.approx(right.mean() + spread, rel=0.003)


def test_samples_without_the_metric_are_not_counted():
    gold = np.array([[1, 0], [0, 0], [0, 1]])
    found = headline_intervals(
        gold[:2], [[0.9, 0.1], [0.2, 0.3]], gold[:2]
    )  # without the first note no ranking, no AUC
    assert (found["micro_f1"]["draws"], found["map"]["draws"], found["micro_auc"]["draws"]) == (2, 1, 1)
    assert np.isnan(found["map"]["low"])  # it hangs on one note
    found = headline_intervals(gold, [[0.9, 0.1], [0.2, 0.3], [0.5, 0.4]], gold)
    assert (found["map"]["draws"], found["macro_auc"]["draws"]) == (3, 3)
    alone = headline_intervals(gold[:1], [[0.9, 0.1]], gold[:1])
    assert np.isnan([alone[name]["low"] for name in alone]).all()


def test_long_work_says_how_far_it_is(matrices):
    gold, probabilities, _ = matrices
    done: list[int] = []
    found = headline_intervals(gold, probabilities, probabilities > 0.4, draws=20, advance=done.append)
    assert sum(done) == 2 * gold.sum()
    assert found["micro_auc"]["draws"] == found["macro_auc"]["draws"] == 20


def test_the_same_seed_gives_the_same_interval(matrices):
    gold, probabilities, patients = matrices
    runs = [headline_intervals(gold, probabilities, gold, None, patients, 20, seed)["map"] for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_one_patient_per_note():
    with pytest.raises(ValueError, match="2 notes but 1 groups"):
        headline_intervals([[1], [0]], [[0.5], [0.4]], [[1], [0]], groups=["a"])
