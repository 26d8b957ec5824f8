"""Familiar notes: by hand, the share promised on new notes, notes that are unlike, and what is saved."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy.sparse import csr_array

from concept_icd.heads.aggregator import Aggregator
from concept_icd.heads.fitting import Heads, fit_heads
from concept_icd.heads.novelty import KEPT, NOVEL, Novelty, fit_novelty, numbers_of


def test_the_two_numbers_by_hand():
    aggregator = Aggregator(np.array([1.0, -1.0]), np.array([2.0, 1.0]), csr_array((3, 2)), np.zeros(3))
    found = numbers_of(aggregator, np.array([[3.0, 0.0], [1.0, -1.0]]), np.array([[0.5, 0.25, 0.25], [1.0, 0.9, 0.1]]))
    assert found == pytest.approx(np.array([[(1 + 1) / 2, 0.0], [0.0, np.log(2.0)]]))
    assert np.isfinite(numbers_of(aggregator, np.zeros((1, 2)), np.zeros((1, 3)))).all()  # nothing is likely at all
    assert numbers_of(aggregator, np.zeros((0, 2)), np.zeros((0, 3))).shape == (0, 2)


def test_the_share_counts_the_training_notes_that_are_as_far_out_and_the_note_itself():
    found = Novelty(np.array([1.0, 0.0]), np.diag([1.0, 0.25]), np.array([0.0, 1.0, 4.0]))
    # Distances 0, 1 (twice: (0, 2) in units of deviation 2), 9.
    shares = found.p_values(np.array([[1.0, 0.0], [2.0, 0.0], [1.0, 2.0], [4.0, 0.0]]))
    assert shares.tolist() == [1.0, 0.75, 0.75, 0.25]


def correlated(notes: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_t(5, (notes, 2)) @ np.array([[1.0, 0.8], [0.0, 0.3]])


def test_of_new_notes_of_the_same_kind_as_many_are_flagged_as_is_said():
    found = fit_novelty(correlated(4000, 0))
    assert len(found.distances) == KEPT
    shares = found.p_values(correlated(20_000, 1))
    for share in (0.01, NOVEL, 0.5):
        assert (shares <= share).mean() == pytest.approx(share, rel=0.2)


def test_far_is_meant_in_both_directions_and_against_the_correlation():
    found = fit_novelty(correlated(2000, 0))
    along, against = found.p_values(np.array([[1.5, 1.2], [1.5, -1.2]]))
    assert along > 0.2 > NOVEL > against
    assert (found.p_values(np.array([[9.0, 7.2], [-9.0, -7.2]])) < NOVEL).all()


def test_scores_that_are_all_alike_make_no_note_unfamiliar():
    found = fit_novelty(np.tile([0.0, 1.0], (20, 1)))
    assert found.p_values(np.array([[0.0, 1.0]])).tolist() == [1.0]


@pytest.fixture
def heads(world) -> Heads:
    return fit_heads(*world.draw(300, seed=0), world.cover, world.levels, world.codes)


def shares(heads: Heads, logits: np.ndarray) -> np.ndarray:
    found = heads.novelty_p_values(logits, heads.predict_proba(logits))
    assert found is not None
    return found


def test_heads_tell_notes_of_their_world_from_others(world, heads):
    own, _ = world.draw(2000, seed=1)
    assert (shares(heads, own) <= NOVEL).mean() == pytest.approx(NOVEL, abs=0.02)
    assert (shares(heads, own + 3.0) <= NOVEL).mean() > 0.9  # every concept a little likelier
    assert shares(heads, np.full_like(own[:1], -6.0))[0] <= NOVEL  # nothing of all that is there


def test_it_is_saved_with_the_heads_and_older_heads_load_without(world, heads, tmp_path):
    from safetensors.numpy import load_file, save_file

    from concept_icd.artifacts import sha256

    scores, _ = world.draw(50, seed=2)
    heads.save(tmp_path)
    again = Heads.load(tmp_path)
    assert again.hash == heads.hash
    assert (shares(again, scores) == shares(heads, scores)).all()

    weights, settings = tmp_path / "heads.safetensors", tmp_path / "heads.json"
    kept = {name: tensor for name, tensor in load_file(weights).items() if not name.startswith("familiarity")}
    save_file(kept, weights)
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"sha256": sha256(weights)}))
    older = Heads.load(tmp_path)
    assert older.novelty is None
    assert older.novelty_p_values(scores, older.predict_proba(scores)) is None
    assert (older.predict_proba(scores) == heads.predict_proba(scores)).all()
    assert older.hash != heads.hash


def test_a_result_says_whether_its_note_is_familiar(fitted):
    coder = fitted.coder
    results = list(coder.results(fitted.scores, notes=[coded.note for coded in (*fitted.train, *fitted.test)]))
    for result in results:
        assert 0 < result.familiarity <= 1
        assert result.unfamiliar == (result.familiarity <= NOVEL)
    assert sum(result.unfamiliar for result in results[:80]) in range(2, 7)  # 5 % of the training notes
    other = coder.code("The quick brown fox jumps over the lazy dog in Paris, 1789.").to_dict()
    assert (other["familiarity"], other["unfamiliar"]) == (1 / 81, True)

    older = dataclasses.replace(coder, heads=dataclasses.replace(coder.heads, novelty=None))
    result = next(older.results(fitted.scores))
    assert (result.familiarity, result.unfamiliar) == (None, None)
    assert result.codes == results[0].codes
