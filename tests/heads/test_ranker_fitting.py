"""Orders with a known rule: what is learnt, what is not, and that it comes back from its file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from concept_icd.heads.fitting import HeadOptions, Heads, fit_heads
from concept_icd.heads.ranker_fitting import MAX_NOTES, GoldOrder, fit_ranker, notes_to_learn_from
from concept_icd.heads.ranking_features import PairTable
from concept_icd.metrics.order import order_metrics
from tests.heads.conftest import World, make_world

#: Of the eight codes of the world, the last three count as procedures.
PROCEDURE = np.arange(8) >= 5
OPTIONS = HeadOptions(features="path", at_least_one=False)


def gold_order(gold: np.ndarray, urgency: np.ndarray) -> GoldOrder:
    """Codes by falling urgency (notes, codes)."""
    places, principal = np.zeros(gold.shape, dtype=np.int64), np.full(len(gold), -1)
    for n, row in enumerate(gold):
        for kind in (False, True):
            codes = np.flatnonzero(row & (kind == PROCEDURE))
            codes = codes[np.argsort(-urgency[n, codes], kind="stable")]
            places[n, codes] = np.arange(1, len(codes) + 1)
            if len(codes) and not kind:
                principal[n] = codes[0]
    return GoldOrder(places, principal, PROCEDURE)


def figures(order: np.ndarray, gold: GoldOrder) -> dict[str, float]:
    scores = np.empty(order.shape)
    np.put_along_axis(scores, order, -np.arange(order.shape[1], dtype=float)[None, :], axis=1)
    return order_metrics(gold.places, scores, ~PROCEDURE, gold.principal)


@pytest.fixture(scope="module")
def shared_world() -> World:
    """Notes of several codes, so that there is something to order."""
    return dataclasses.replace(make_world(), rates=np.full(8, 0.4))


@pytest.fixture(scope="module")
def rare_first():
    """The rarer the code, the earlier it is billed: nothing that a probability knows."""
    return np.array([0.0, 1, 2, 3, 4, 0, 1, 2])


@pytest.fixture(scope="module")
def fitted(shared_world, rare_first) -> Heads:
    scores, gold = shared_world.draw(500, seed=0)
    order = gold_order(gold, np.broadcast_to(rare_first, gold.shape))
    args = (scores, gold, shared_world.cover, shared_world.levels, shared_world.codes)
    return fit_heads(*args, order=order, options=OPTIONS)


def test_a_rule_over_codes_is_learnt_and_holds_on_new_notes(shared_world, fitted, rare_first):
    scores, gold = shared_world.draw(1000, seed=1)
    order = gold_order(gold, np.broadcast_to(rare_first, gold.shape))
    probabilities = fitted.predict_proba(scores)
    by_probability = figures(fitted.ranker.rank(probabilities), order)
    learned = figures(fitted.rank(scores), order)
    assert learned["primary_accuracy"] > by_probability["primary_accuracy"] + 0.2
    for name in ("graded_ndcg_diagnoses", "graded_ndcg_procedures", "kendall_tau_diagnoses"):
        assert learned[name] > by_probability[name]
    told = fitted.cross_validation["order"]
    tried = next(row for row in told["tried"] if (row["loss"], row["ridge"]) == (told["chosen"], told["ridge"]))
    assert tried["primary_accuracy"] == pytest.approx(learned["primary_accuracy"], abs=0.05)  # it was foretold
    assert told["by_probability"]["primary_accuracy"] == pytest.approx(by_probability["primary_accuracy"], abs=0.05)


def test_the_figures_of_the_choice_are_those_of_the_metrics(shared_world):
    """Cross-validated figures come from places of a few pairs; the metrics see every rank."""
    rng = np.random.default_rng(0)
    gold = rng.random((40, 8)) < 0.3
    order = gold_order(gold, rng.random(gold.shape))
    probabilities = np.clip(0.5 * gold + 0.5 * rng.random(gold.shape), 0, 1)
    fold = np.arange(40) % 4
    _, choice = fit_ranker(probabilities, probabilities >= 0.5, order, fold, shared_world.codes)
    kept = order.select(notes_to_learn_from(order.places, 0))
    expected = figures(np.argsort(-probabilities[(order.places > 0).any(axis=1)], axis=1), kept)
    for name, value in choice["by_probability"].items():
        assert value == pytest.approx(expected[name])


def test_where_chance_decides_the_order_by_probability_may_stay(shared_world):
    scores, gold = shared_world.draw(60, seed=2)
    by_certainty = gold_order(gold, scores[:, 4:])  # the surest code is billed first
    heads = fit_heads(
        scores, gold, shared_world.cover, shared_world.levels, shared_world.codes, order=by_certainty, options=OPTIONS
    )
    assert heads.cross_validation["order"]["by_probability"]["graded_ndcg_diagnoses"] > 0.9
    if heads.ranker.learned is None:
        assert heads.cross_validation["order"]["chosen"] == "probability"
    order = figures(heads.rank(scores), by_certainty)
    assert order["graded_ndcg_diagnoses"] > 0.9


def test_saved_and_loaded_it_ranks_the_same(shared_world, fitted, tmp_path):
    fitted.save(tmp_path)
    again = Heads.load(tmp_path)
    scores, _ = shared_world.draw(50, seed=3)
    assert (again.rank(scores) == fitted.rank(scores)).all()
    assert again.hash == fitted.hash
    assert again.cross_validation == fitted.cross_validation


def test_the_same_seed_gives_the_same_order(shared_world, fitted, rare_first):
    scores, gold = shared_world.draw(500, seed=0)
    order = gold_order(gold, np.broadcast_to(rare_first, gold.shape))
    args = (scores, gold, shared_world.cover, shared_world.levels, shared_world.codes)
    assert fit_heads(*args, order=order, options=OPTIONS).hash == fitted.hash


def test_the_order_changes_nothing_but_the_order(shared_world, fitted):
    args = (*shared_world.draw(500, seed=0), shared_world.cover, shared_world.levels, shared_world.codes)
    plain = fit_heads(*args, options=OPTIONS)
    scores, _ = shared_world.draw(200, seed=4)
    probabilities = plain.predict_proba(scores)
    assert (fitted.predict_proba(scores) == probabilities).all()
    assert fitted.threshold == plain.threshold
    accepted = plain.threshold.accept(probabilities)
    count = accepted.sum(axis=1)
    first, plainly = fitted.rank(scores), plain.rank(scores)
    assert (first != plainly).any()
    for n in range(len(scores)):
        assert set(first[n, : count[n]]) == set(plainly[n, : count[n]]) == set(np.flatnonzero(accepted[n]))


def test_what_stands_in_the_text_is_learnt_and_without_text_there_is_an_order_too(shared_world):
    scores, gold = shared_world.draw(400, seed=5)
    said_first = np.random.default_rng(0).random(gold.shape)
    order = gold_order(gold, said_first)
    keys = np.arange(gold.size)
    text = PairTable(("first",), gold.shape, keys, said_first.reshape(-1, 1).astype(np.float32))
    args = (scores, gold, shared_world.cover, shared_world.levels, shared_world.codes)
    heads = fit_heads(*args, order=order, text=text, options=OPTIONS)
    assert heads.ranker.learned is not None
    assert heads.ranker.learned.names[-1] == "first"
    with_text, without = figures(heads.rank(scores, text=text), order), figures(heads.rank(scores), order)
    assert with_text["primary_accuracy"] > without["primary_accuracy"] + 0.2
    assert heads.cross_validation["order"]["without_text"]["primary_accuracy"] < with_text["primary_accuracy"] - 0.2


def test_probabilities_alone_are_enough():
    """No concept scores, no text: what billing tables without notes can give."""
    rng = np.random.default_rng(0)
    gold = rng.random((300, 8)) < 0.5
    order = gold_order(gold, np.broadcast_to(np.arange(8.0), gold.shape))
    probabilities = np.where(gold, 0.9, 0.1)
    learned, choice = fit_ranker(probabilities, gold, order, np.arange(300) % 5, tuple("abcdefgh"))
    assert learned is not None
    assert choice["by_probability"]["primary_accuracy"] < 0.75
    assert max(row["primary_accuracy"] for row in choice["tried"]) > 0.95


@pytest.mark.parametrize("which", ["diagnoses", "procedures"])
def test_orders_of_one_kind_alone(which, shared_world):
    scores, gold = shared_world.draw(100, seed=6)
    of_the_other_kind = PROCEDURE if which == "diagnoses" else ~PROCEDURE
    gold[:, of_the_other_kind] = False
    gold[0, 0 if which == "diagnoses" else 7] = True
    order = gold_order(gold, np.broadcast_to(np.arange(8.0), gold.shape))
    args = (scores, gold, shared_world.cover, shared_world.levels, shared_world.codes)
    heads = fit_heads(*args, order=order, options=OPTIONS)
    absent = "procedures" if which == "diagnoses" else "diagnoses"
    assert heads.cross_validation["order"]["by_probability"][f"graded_ndcg_{absent}"] is None
    assert (np.sort(heads.rank(scores), axis=1) == np.arange(8)).all()


def test_of_very_many_notes_some_are_drawn_by_the_seed():
    places = np.ones((MAX_NOTES + 500, 1), dtype=np.int64)
    places[:100] = 0
    rows = notes_to_learn_from(places, 1)
    assert len(rows) == MAX_NOTES
    assert rows.min() >= 100
    assert (rows == notes_to_learn_from(places, 1)).all()
    assert (rows != notes_to_learn_from(places, 2)).any()
