"""How far to read: by hand, against every outcome, where probabilities are true, where they are not, and in a coder."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest
from scipy.special import expit, logit

from concept_icd.heads.calibration import Calibration
from concept_icd.heads.recall_cutoff import RecallCutoff, fit_recall_cutoff
from concept_icd.metrics.ranking import gold_ranks
from concept_icd.metrics.recall_depth import RECALL, TARGETS, expected_recall, note_reading, stops


def by_probability(probabilities: np.ndarray) -> np.ndarray:
    return np.argsort(-probabilities, axis=1, kind="stable")


def test_two_codes_by_hand():
    p = np.array([[1.0, 0.5], [0.5, 0.5], [0.5, 0.8]])
    # 1, .5: half the notes have the first alone, half both: (1 + 1/2) / 2.
    # .5, .8: .4 both, .4 the second alone, .1 the first alone; of these .9 the second brings .4 + .4 / 2.
    assert expected_recall(p, np.array([[0, 1], [0, 1], [1, 0]])) == pytest.approx(
        np.array([[3 / 4, 1], [1 / 2, 1], [2 / 3, 1]])
    )
    assert expected_recall(p[2:], np.array([[0, 1]]))[0, 0] == pytest.approx(1 / 3)  # read the other way round


def test_it_is_the_mean_over_every_outcome():
    p = np.random.default_rng(0).random((3, 9))
    order = by_probability(p)
    for row, found in enumerate(expected_recall(p, order)):
        ranked, total, reached = p[row, order[row]], 0.0, np.zeros(9)
        for outcome in itertools.product((0, 1), repeat=9):
            gold = np.array(outcome)
            if gold.any():
                chance = np.where(gold, ranked, 1 - ranked).prod()
                total += chance
                reached += chance * gold.cumsum() / gold.sum()
        assert found == pytest.approx(reached / total, abs=1e-12)


def test_with_hundreds_of_codes_it_is_exact_too():
    """Against the distribution of the number of gold codes beside each, code by code."""
    p = np.sort(np.random.default_rng(1).beta(0.2, 2, (1, 300)))[:, ::-1]
    assert p.sum() > 20
    worth = []
    for i in range(300):
        beside = np.ones(1)
        for j in np.delete(np.arange(300), i):
            beside = np.convolve(beside, [1 - p[0, j], p[0, j]])
        worth.append(p[0, i] * (beside / np.arange(1, 301)).sum())
    assert expected_recall(p, by_probability(p))[0] == pytest.approx(np.cumsum(worth) / np.sum(worth), abs=1e-9)


def test_thousands_of_likely_codes_and_none_at_all_have_an_expectation():
    many = expected_recall(np.full((1, 20_000), 0.9), np.arange(20_000)[None])
    assert many[0, [0, 9_999, -1]] == pytest.approx([1 / 20_000, 0.5, 1])
    assert expected_recall(np.zeros((1, 4)), np.arange(4)[None])[0] == pytest.approx([0.25, 0.5, 0.75, 1])
    certain = expected_recall(np.array([[1.0, 1.0, 0.0]]), np.arange(3)[None])
    assert certain[0] == pytest.approx([0.5, 1, 1])


def test_reading_stops_where_enough_is_expected():
    expected = np.array([[0.5, 0.95, 1.0], [1.0, 0.9, 0.99], [0.2, 0.3, 0.4]])
    depth, at = stops(expected)
    assert depth.tolist() == [2, 1, 3]  # the columns may stand in any order; the last code is the last
    assert at.tolist() == [0.95, 0.9, 0.4]
    assert stops(expected[:2], 1.0)[0].tolist() == [3, 3]


def simulated(notes: int, seed: int, codes: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of notes that are sure and notes that are not, and gold drawn with these probabilities."""
    rng = np.random.default_rng(seed)
    true = expit(rng.normal(-3.0, 1.0, (notes, 1)) + rng.normal(0, rng.choice([1.0, 4.0], (notes, 1)), (notes, codes)))
    return true, rng.random(true.shape) < true


def measured(cutoff: RecallCutoff, said: np.ndarray, gold: np.ndarray, recall: float) -> dict[str, tuple[float, float]]:
    """Figure -> mean and its standard error over the notes with a gold code."""
    depth, expected = stops(cutoff.expected_recall(said, by_probability(said)), recall)
    values = note_reading(gold_ranks(gold, said), depth, expected, recall)
    values["gap"] = values["reading_recall"] - values["reading_expected"]
    with_gold = {name: value[gold.any(axis=1)] for name, value in values.items()}
    return {name: (value.mean(), value.std() / len(value) ** 0.5) for name, value in with_gold.items()}


def test_where_probabilities_are_true_the_recall_expected_is_the_recall_found():
    true, gold = simulated(4000, seed=0)
    cutoff, new = fit_recall_cutoff(gold, true), simulated(4000, seed=1)
    assert cutoff.calibration.slope == pytest.approx(1, abs=0.06)
    assert cutoff.calibration.intercept == pytest.approx(0, abs=0.06)
    for recall in TARGETS:
        for found in (measured(cutoff, *new, recall), measured(RecallCutoff(), *new, recall)):
            gap, error = found["gap"]
            assert abs(gap) < 3 * error < 0.02, recall
            assert found["reading_recall"][0] > recall - 3 * found["reading_recall"][1], recall


def boast(true: np.ndarray) -> np.ndarray:
    """Log-odds two times too large."""
    return expit(2 * logit(true))


def test_probabilities_that_promise_too_much_are_corrected():
    (true, gold), (new, new_gold) = simulated(4000, seed=2), simulated(4000, seed=3)
    cutoff = fit_recall_cutoff(gold, boast(true))
    plain, corrected = (measured(r, boast(new), new_gold, RECALL) for r in (RecallCutoff(), cutoff))
    assert plain["reading_recall"][0] < 0.85
    assert abs(plain["gap"][0]) > 0.05
    assert corrected["reading_recall"][0] > 0.9
    assert abs(corrected["gap"][0]) < 0.015
    assert corrected["reading_depth"][0] > plain["reading_depth"][0]


def test_codes_that_exclude_one_another_are_allowed_for():
    """Each note has one code, which the formula, for independent codes, expects too near the top."""

    def one_code_each(seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        true = rng.dirichlet(np.full(12, 0.4), 10_000)
        return true, rng.multinomial(1, true).astype(bool)

    (true, gold), (new, new_gold) = one_code_each(4), one_code_each(5)
    cutoff = fit_recall_cutoff(gold, true)
    plain, corrected = (measured(r, new, new_gold, 0.75) for r in (RecallCutoff(), cutoff))
    assert plain["gap"][0] < -0.015
    assert abs(corrected["gap"][0]) < 3 * corrected["gap"][1] < 0.015
    assert corrected["reading_depth"][0] > plain["reading_depth"][0]
    assert corrected["reading_recall"][0] > 0.75


def test_few_notes_and_notes_without_gold_fit_something_finite():
    p = np.array([[0.9, 0.2, 0.1], [0.8, 0.3, 0.1], [0.5, 0.4, 0.3]])
    best_first = fit_recall_cutoff(np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0]], dtype=bool), p)
    assert 0 < best_first.calibration.slope < 100
    assert best_first.expected_recall(p, by_probability(p))[2, 0] > expected_recall(p, by_probability(p))[2, 0]
    nothing = fit_recall_cutoff(np.zeros((3, 3), dtype=bool), p)
    assert nothing.calibration.slope == pytest.approx(1, abs=1e-3)
    one_code = fit_recall_cutoff(np.ones((3, 1), dtype=bool), p[:, :1])
    assert one_code.expected_recall(p[:, :1], np.zeros((3, 1), dtype=int)).tolist() == [[1.0]] * 3


def test_every_expectation_rises_to_one():
    cutoff = RecallCutoff(Calibration(0.7, -0.4))
    p = np.random.default_rng(0).random((5, 7)) ** 3
    found = cutoff.expected_recall(p, by_probability(p))
    assert (np.diff(found, axis=1) > 0).all()
    assert (found[:, -1] == 1).all()
    shown = np.random.default_rng(1).permuted(np.tile(np.arange(7), (5, 1)), axis=1)
    assert not np.allclose(cutoff.expected_recall(p, shown), found)  # it goes by the order shown


def test_a_result_says_how_far_to_read(fitted):
    coder = fitted.coder
    assert coder.heads.recall_cutoff.calibration != Calibration()
    results = list(coder.results(fitted.scores, notes=[coded.note for coded in (*fitted.train, *fitted.test)]))
    for row, result in enumerate(results):
        expected = [code.expected_recall for code in result.codes]
        assert expected == sorted(expected)
        assert expected[-1] == 1.0
        assert result.read_first == next(code.rank for code in result.codes if code.expected_recall >= RECALL)
        assert result.read_for(RECALL) == result.read_first
        assert result.read_first <= result.read_for(1.0) <= 6
        p = np.array([[code.probability for code in result.codes]])
        assert expected == pytest.approx(
            coder.heads.recall_cutoff.expected_recall(p, np.arange(6)[None])[0].tolist()
        ), row
    assert len({result.read_first for result in results}) > 1
    cut = next(coder.results(fitted.scores, top_codes=1))
    assert (cut.read_first, cut.read_for(1.0)) == (results[0].read_first, None)
    assert dataclasses.replace(cut, codes=()).read_for(0.1) is None
    assert json.loads(json.dumps(cut.to_dict()))["read_first"] == cut.read_first


def test_a_coder_keeps_how_far_to_read(fitted, tmp_path):
    from concept_icd.coder.coder import ConceptCoder

    fitted.coder.save_pretrained(tmp_path / "coder")
    again = ConceptCoder.from_pretrained(tmp_path / "coder")
    assert again.heads.recall_cutoff == fitted.coder.heads.recall_cutoff
    # What was fitted decides results, so that the coder's hash covers it.
    other = dataclasses.replace(again.heads, recall_cutoff=RecallCutoff())
    assert other.hash != again.heads.hash


def test_evidence_leaves_it_as_it_is(fitted):
    note = fitted.test[0].note
    assert fitted.coder.code(note, evidence=True).read_first == fitted.coder.code(note).read_first
