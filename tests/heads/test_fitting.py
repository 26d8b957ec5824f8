from __future__ import annotations

import json

import numpy as np
import pytest

from concept_icd.errors import InputError
from concept_icd.heads import fitting
from concept_icd.heads.fitting import HeadOptions, Heads, fit_heads
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology


@pytest.fixture
def heads(world) -> Heads:
    return fit_heads(*world.draw(300, seed=0), world.cover, world.levels, world.codes)


def test_heads_find_the_truth_in_new_notes(world, heads):
    scores, gold = world.draw(2000, seed=1)
    probabilities = heads.predict_proba(scores)
    accepted = heads.threshold.accept(probabilities)
    f1 = 2 * (accepted & gold).sum() / (accepted.sum() + gold.sum())
    assert f1 > 0.8  # the code's own question alone, cut at its best, reaches about .83 of a possible 1 with this noise
    assert f1 == pytest.approx(heads.threshold.micro_f1, abs=0.04)  # the cross-validated figure foretold it
    assert probabilities.mean() == pytest.approx(gold.mean(), abs=0.015)  # calibrated


def test_save_and_load_are_bit_equal(world, heads, tmp_path):
    heads.save(tmp_path)
    again = Heads.load(tmp_path)
    scores, _ = world.draw(50, seed=2)
    assert (again.predict_proba(scores) == heads.predict_proba(scores)).all()
    assert (again.ranker.rank(again.predict_proba(scores)) == heads.ranker.rank(heads.predict_proba(scores))).all()
    assert (again.threshold, again.calibration, again.strength) == (heads.threshold, heads.calibration, heads.strength)
    assert (again.cross_validation, again.recall_cutoff) == (heads.cross_validation, heads.recall_cutoff)


def test_contributions_sum_to_the_calibrated_log_odds(world, heads):
    scores, _ = world.draw(1, seed=3)
    p = heads.predict_proba(scores)[0]
    base = heads.calibration.slope * heads.aggregator.bias + heads.calibration.intercept
    assert heads.contributions(scores[0]).sum(axis=1) + base == pytest.approx(np.log(p / (1 - p)))


def test_features_of_other_concepts_are_taken_only_where_they_help(world):
    """Code 3 has no trace but in the question about code 4."""
    scores, gold = world.draw(400, seed=4)
    scores[:, [1, 7]] = np.random.default_rng(0).normal(size=(400, 2))
    scores[:, 8] = 4.0 * gold[:, 3] - 2.0
    args = (scores, gold, world.cover, world.levels, world.codes)
    assert np.isfinite(fit_heads(*args).strength.other)
    assert not np.isfinite(fit_heads(*args, options=HeadOptions(features="path")).strength.other)


def test_many_codes_are_tried_with_path_features_and_with_shared_weights_alone(world, monkeypatch):
    monkeypatch.setattr(fitting, "MAX_ALL", 95)  # there are 12 concepts x 8 codes
    args = (*world.draw(100, seed=6), world.cover, world.levels, world.codes)
    tried = fit_heads(*args).cross_validation["log_loss"]
    assert [row.get("alone", False) for row in tried] == [False] * len(fitting.PATH_STRENGTHS) + [True]
    assert all(row["other"] is None for row in tried)
    assert np.isfinite(fit_heads(*args, options=HeadOptions(features="all")).strength.other)


def test_thousands_of_codes_most_of_which_no_note_has(tmp_path):
    """300 notes, 2,500 codes of the real trees; the question about each code is right in most cases."""
    ontology, rng = load_ontology(), np.random.default_rng(0)
    concepts = ConceptSet.expand(ontology.codes()[::6][:2500], ontology)
    gold = rng.random((300, 2500)) < rng.permutation(np.minimum(0.3, 3.0 / np.arange(1, 2501)))
    true = (concepts.cover @ gold.T.astype(int)).T > 0
    scores = (4.0 * true - 4.0 + rng.normal(size=true.shape)).astype(np.float32)
    levels = [concept.level for concept in concepts.concepts]
    heads = fit_heads(scores, gold, concepts.cover, levels, concepts.codes)
    assert heads.aggregator.weights.nnz == concepts.cover.nnz
    assert heads.threshold.micro_f1 > 0.6
    probabilities = heads.predict_proba(scores)
    assert np.isfinite(probabilities).all()
    absent = ~gold.any(axis=0)
    assert absent.sum() > 1000
    assert 0 < probabilities[:, absent].mean() < 1 / 300
    heads.save(tmp_path)
    assert (tmp_path / "heads.safetensors").stat().st_size < 20 * concepts.cover.nnz + 100_000
    assert (Heads.load(tmp_path).predict_proba(scores) == probabilities).all()


def test_notes_of_one_patient_do_not_vouch_for_each_other(world):
    """Forty copies of ten notes: kept together by patient, the scores (pure noise) foretell nothing."""
    rng = np.random.default_rng(0)
    scores, gold = rng.normal(size=(10, 12)).astype(np.float32), rng.random((10, 8)) < 0.3
    gold[0, 0] = True
    copies = (np.repeat(scores, 40, axis=0), np.repeat(gold, 40, axis=0), world.cover, world.levels, world.codes)
    honest = fit_heads(*copies, groups=np.repeat(np.arange(10), 40).tolist())
    leaking = fit_heads(*copies)
    assert leaking.threshold.micro_f1 > honest.threshold.micro_f1 + 0.2


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "heads.safetensors").unlink(), "cannot read"),
        (lambda folder: (folder / "heads.json").unlink(), "cannot read"),
        (lambda folder: (folder / "heads.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "heads.json").write_text("[]"), "format None"),
        (lambda folder: _truncate(folder / "heads.safetensors"), "damaged"),
        (lambda folder: _edit(folder, format=99), "format 99, this version reads 4"),
        (lambda folder: _edit(folder, format=3), "format 3, this version reads 4: fit the coder again"),
        (lambda folder: _edit(folder, concepts=3), "sizes"),
        (lambda folder: _edit(folder, threshold=None), "damaged"),
    ],
)
def test_damaged_heads_are_refused_in_one_sentence(heads, tmp_path, damage, sentence):
    heads.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=sentence):
        Heads.load(tmp_path)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def _edit(folder, **changes):
    path = folder / "heads.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_bad_input_is_named(world):
    scores, gold = world.draw(30, seed=5)
    with pytest.raises(InputError, match="do not fit"):
        fit_heads(scores[:, :5], gold, world.cover, world.levels, world.codes)
    with pytest.raises(InputError, match="no threshold"):
        fit_heads(scores, np.zeros_like(gold), world.cover, world.levels, world.codes)
    with pytest.raises(InputError, match="two patients"):
        fit_heads(scores, gold, world.cover, world.levels, world.codes, groups=["one"] * 30)
    scores[4, 2] = np.nan
    with pytest.raises(InputError, match="note 5 "):
        fit_heads(scores, gold, world.cover, world.levels, world.codes)


def test_weights_that_all_codes_share_serve_codes_that_hardly_any_note_has(tmp_path):
    """Each column is right of every code, and nearly constant for most: what a code's own deviation would magnify."""
    rng = np.random.default_rng(0)
    gold = rng.random((300, 500)) < 0.004
    said = gold & (rng.random(gold.shape) < 0.8) | (rng.random(gold.shape) < 0.001)
    scores = np.where(said, 2.0, -7.0).astype(np.float32)
    cover, codes = np.eye(500, dtype=bool), [f"code {number}" for number in range(500)]
    found = {
        features: fit_heads(scores, gold, cover, ["spans"] * 500, codes, options=HeadOptions(features))
        for features in ("path", "shared", "auto")
    }
    f1 = {features: heads.threshold.micro_f1 for features, heads in found.items()}
    assert f1["auto"] == f1["shared"] > 0.75  # 4 of 5 are said, and one of six that are said is none
    assert found["auto"].strength.alone  # with 250,000 concepts x codes
    weights = found["shared"].aggregator.weights.data / found["shared"].aggregator.scale
    assert weights == pytest.approx(weights[0])
    found["shared"].save(tmp_path)
    again = Heads.load(tmp_path)
    assert again.strength == found["shared"].strength
    assert (again.predict_proba(scores) == found["shared"].predict_proba(scores)).all()
