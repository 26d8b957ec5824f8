import numpy as np
import pytest

from concept_icd.metrics import bootstrap_intervals, classification_metrics, headline_intervals, ranking_metrics
from concept_icd.metrics.intervals import draw_weights


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
        found = classification_metrics(truth, values, 0.4) | ranking_metrics(truth, values)
        lost = 6 / truth.any(axis=0).sum()  # six of the seven codes have a gold example in the whole sample
        names = ("macro_f1", "macro_f1_caml", "macro_precision", "macro_recall")
        return found | {name: found[name] * lost for name in names}

    slow = bootstrap_intervals(everything, gold, probabilities, groups, draws=80, seed=5)
    fast = headline_intervals(gold, probabilities, probabilities >= 0.4, groups=groups, draws=80, seed=5)
    assert {"micro_f1", "macro_f1_caml", "micro_auc", "macro_auc", "map", "ndcg", "exact_match"} <= set(fast)
    for name, interval in fast.items():
        assert interval == pytest.approx(slow[name]), name


def test_codes_that_a_draw_loses_do_not_pull_macro_f1_below_itself():
    # Fifty codes with one note each, all accepted and right: any draw loses a third of them, and none is wrong.
    gold = np.eye(50, dtype=int)
    for name in ("macro_f1", "macro_f1_present", "macro_f1_caml"):
        interval = headline_intervals(gold, gold.astype(float), gold, draws=100)[name]
        assert (interval["low"], interval["high"]) == (1.0, 1.0)
    # A code that never has a gold example is still 0 in every draw.
    padded = np.pad(gold, ((0, 0), (0, 50)))
    assert headline_intervals(padded, padded.astype(float), padded, draws=100)["macro_f1"]["low"] == 0.5


def test_the_draws_do_not_depend_on_the_chunks(matrices, monkeypatch):
    gold, probabilities, patients = matrices
    arguments = (gold, probabilities, probabilities >= 0.4, None, patients, 50)
    whole = headline_intervals(*arguments)
    monkeypatch.setattr("concept_icd.metrics.intervals._CHUNK", 56)  # eight draws at once
    chunked = headline_intervals(*arguments)
    for name, interval in whole.items():
        assert chunked[name] == pytest.approx(interval), name


def test_notes_of_one_patient_move_together():
    # Two patients, ten equal notes each, one all right and one all wrong: a draw is 0, 1/2 or 1.
    gold = np.ones((20, 1), int)
    probabilities = np.repeat([1.0, 0.0], 10)[:, None]
    patients = ["a"] * 10 + ["b"] * 10

    def recall(truth, values):
        return float((values > 0.5)[truth].mean())

    by_patient = bootstrap_intervals(recall, gold, probabilities, patients, draws=200)["metric"]
    by_note = bootstrap_intervals(recall, gold, probabilities, draws=200)["metric"]
    assert (by_patient["low"], by_patient["high"]) == (0.0, 1.0)
    assert 0.1 < by_note["low"] < 0.45 < 0.55 < by_note["high"] < 0.9


def test_the_interval_is_about_as_wide_as_theory_says():
    random = np.random.default_rng(0)
    right = random.random(400) < 0.7
    gold = np.ones((400, 1), int)
    interval = headline_intervals(gold, right[:, None].astype(float), right[:, None], draws=2000)["micro_recall"]
    spread = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 400)
    assert interval["low"] == pytest.approx(right.mean() - spread, abs=0.01)
    assert interval["high"] == pytest.approx(right.mean() + spread, abs=0.01)


def test_draws_without_the_metric_are_not_counted():
    gold = np.array([[1, 0], [0, 0]])  # one note in four draws is never the one with gold: no ranking, no AUC
    found = headline_intervals(gold, [[0.9, 0.1], [0.2, 0.3]], gold, draws=400)
    assert found["micro_f1"]["draws"] == 400
    assert 250 < found["map"]["draws"] < 350
    assert found["map"]["draws"] == found["micro_auc"]["draws"]


def test_long_work_says_how_far_it_is(matrices):
    gold, probabilities, _ = matrices
    done: list[int] = []
    found = headline_intervals(gold, probabilities, probabilities > 0.4, draws=20, advance=done.append)
    assert sum(done) == 2 * gold.sum()
    assert found["micro_auc"]["draws"] == found["macro_auc"]["draws"] == 20


def test_a_seed_names_its_draws(matrices):
    gold, _, patients = matrices
    weights = draw_weights(patients, len(gold), draws=3, seed=7)
    random = np.random.default_rng(7)
    one_by_one = [random.multinomial(30, [1 / 30] * 30) for _ in range(3)]  # 30 patients of two notes
    assert (weights[:, ::2] == one_by_one).all()
    assert (weights[:, 1::2] == one_by_one).all()


def test_the_same_seed_gives_the_same_interval(matrices):
    gold, probabilities, patients = matrices
    runs = [headline_intervals(gold, probabilities, gold, None, patients, 30, seed)["map"] for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_one_patient_per_note():
    with pytest.raises(ValueError, match="2 notes but 1 groups"):
        headline_intervals([[1], [0]], [[0.5], [0.4]], [[1], [0]], groups=["a"])
