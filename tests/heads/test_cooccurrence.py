"""Marginals by hand, and what combinations teach that independent probabilities cannot know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from concept_icd.heads.cooccurrence import Cooccurrence, fit_cooccurrence
from concept_icd.heads.fitting import HeadOptions, Heads, fit_heads


def test_marginals_are_those_of_the_formula() -> None:
    """Two codes, four sets: the sum written out."""
    gold = np.array([[1, 0]] * 30 + [[0, 1]] * 10 + [[0, 0]] * 10, dtype=bool)
    found = Cooccurrence.of(gold, 1.0).adjust(np.array([[0.6, 0.5]]))
    share = np.array([30.5, 10.5]) / 51
    counts = {(0, 0): 10, (1, 0): 30, (0, 1): 10, (1, 1): 0}
    mass = {}
    for (a, b), count in counts.items():
        q = (share[0] if a else 1 - share[0]) * (share[1] if b else 1 - share[1])
        mass[a, b] = (0.6 if a else 0.4) * 0.5 * (count + 10 * q) / q
    total = sum(mass.values())
    assert found[0] == pytest.approx([(mass[1, 0] + mass[1, 1]) / total, (mass[0, 1] + mass[1, 1]) / total])


def test_codes_beyond_the_likely_keep_their_probability() -> None:
    rng = np.random.default_rng(0)
    p = rng.random((5, 9))
    found = Cooccurrence.of(rng.random((50, 9)) < 0.3, 0.5).adjust(p)
    unlikely = np.argsort(-p, axis=1)[:, 6:]
    assert np.array_equal(np.take_along_axis(found, unlikely, 1), np.take_along_axis(p, unlikely, 1))
    assert (np.abs(found - p).max(axis=1) > 1e-3).all()


def test_a_weight_of_nought_changes_nothing() -> None:
    p = np.random.default_rng(1).random((4, 3))
    assert Cooccurrence.of(np.ones((5, 3), dtype=bool), 0.0).adjust(p) is p


def test_the_symptom_gives_way_to_the_diagnosis() -> None:
    """Coders here give the diagnosis or the symptom, never both; the scores are sure of neither."""
    rng = np.random.default_rng(2)
    ill = rng.random(400) < 0.5
    gold = np.stack([ill, ~ill], axis=1)
    p = np.clip(np.where(gold, 0.6, 0.45) + rng.normal(0, 0.15, gold.shape), 0.02, 0.98)
    combinations, corrected = fit_cooccurrence(gold, p, np.arange(400) % 5)
    assert combinations.weight > 0
    assert ((corrected > 0.5) == gold).mean() > ((p > 0.5) == gold).mean() + 0.05


def test_independent_codes_are_left_alone_in_the_main() -> None:
    rng = np.random.default_rng(3)
    truth = rng.random((600, 4)) * 0.8 + 0.1
    gold = rng.random((600, 4)) < truth
    _, corrected = fit_cooccurrence(gold, truth, np.arange(600) % 5)
    assert np.abs(corrected - truth).mean() < 0.05


def test_a_note_does_not_count_for_itself() -> None:
    """Each note has a set of its own: counted for itself, every note would be certain of it."""
    gold = np.zeros((15, 4), dtype=bool)
    for row in range(15):
        gold[row] = (row + 1) >> np.arange(4) & 1
    combinations, corrected = fit_cooccurrence(gold, np.full((15, 4), 0.5), np.arange(15) % 5)
    assert combinations.weight == 0 or (np.where(gold, corrected, 1 - corrected)).mean() <= 0.55


def test_saved_heads_correct_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    ill = rng.random(120) < 0.5
    gold = np.stack([ill, ~ill], axis=1)
    logits = (np.where(gold, 0.5, -0.5) + rng.normal(0, 1.5, gold.shape)).astype(np.float32)
    options = HeadOptions(features="path", order="none", dependencies="combinations")
    heads = fit_heads(logits, gold, np.eye(2, dtype=bool), ["code", "code"], ["486", "786.2"], options=options)
    alone = fit_heads(
        logits, gold, np.eye(2, dtype=bool), ["code", "code"], ["486", "786.2"], options=HeadOptions("path")
    )
    heads.save(tmp_path)
    loaded = Heads.load(tmp_path)
    assert loaded.hash == heads.hash != alone.hash
    assert np.array_equal(loaded.predict_proba(logits), heads.predict_proba(logits))
    both = [((fitted.predict_proba(logits) > 0.5).sum(axis=1) == 1).mean() for fitted in (heads, alone)]
    assert both[0] > both[1]
