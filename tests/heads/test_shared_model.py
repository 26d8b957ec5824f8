from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from concept_icd.heads import penalised_logistic as shared_model
from concept_icd.heads.penalised_logistic import ScoreStatistics, fit_shared


def test_statistics_of_some_rows():
    logits = np.array([[1, 5, 2], [3, 5, 0], [99, 99, 99]], dtype=np.float32)
    found = ScoreStatistics.of(logits, np.array([0, 1]))
    assert found.mean.tolist() == [2, 5, 1]
    assert found.scale.tolist() == [1, 1, 1]  # 1 of a constant concept, too: its x is then 0
    assert found.unit == pytest.approx(np.std([1, 5, 2, 3, 5, 0]))


def test_weights_fall_on_the_concepts_of_a_code_in_equal_shares_of_its_level():
    """Code 0 has two concepts of one level that answer alike, code 1 has one: twice the share, twice the weight."""
    rng = np.random.default_rng(0)
    gold = rng.random((400, 2)) < 0.3
    s = 3.0 * gold + rng.normal(size=gold.shape)
    logits = np.stack([s[:, 0], s[:, 0], s[:, 1]], axis=1).astype(np.float32)
    cover = csr_array(np.array([[True, True, False], [False, False, True]]))
    rows = np.arange(400)
    statistics = ScoreStatistics.of(logits, rows)
    weights, bias = fit_shared(logits, gold, rows, statistics, cover, ["code"] * 3)
    assert weights[0] == pytest.approx(weights[1])
    assert 2 * weights[0] == pytest.approx(weights[2], rel=0.1)  # the deviations of the two scores differ a little
    assert (weights > 0.5).all()
    assert (bias < 0).all()


def test_too_many_pairs_are_thinned_to_all_positive_ones_and_weighted_negative_ones(world, monkeypatch):
    logits, gold = world.draw(2000, seed=1)
    rows, cover = np.arange(1999), csr_array(world.cover.T)
    statistics = ScoreStatistics.of(logits, rows)
    exact = fit_shared(logits, gold, rows, statistics, cover, world.levels)
    monkeypatch.setattr(shared_model, "MAX_PAIRS", 8000)
    note, code, weight = shared_model._pairs(gold, rows)
    assert len(note) < 2000 * 8
    assert weight.sum() == pytest.approx(1999 * 8)
    positive = weight == 1.0
    assert sorted(zip(note[positive].tolist(), code[positive].tolist(), strict=True)) == [
        tuple(pair) for pair in np.argwhere(gold[:1999]).tolist()
    ]
    assert not gold[note, code][~positive].any()
    thinned = fit_shared(logits, gold, rows, statistics, cover, world.levels)
    x = (logits - statistics.mean) / statistics.scale
    odds = [csr_array((w, cover.indices, cover.indptr)) @ x.T + b[:, None] for w, b in (exact, thinned)]
    assert np.abs(odds[0] - odds[1]).mean() < 0.3  # of log-odds that spread over 20
    assert np.corrcoef(odds[0].ravel(), odds[1].ravel())[0, 1] > 0.999
