"""Two matrices of scores compared, and the plain scorer, which gives one of them."""

import dataclasses

import numpy as np
import pytest

from concept_icd.coder.parity import compare_codes, compare_scores
from concept_icd.errors import InputError
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.plain import PlainScorer
from concept_icd.scoring.scorer import ConceptScores
from tests.scoring.test_packed import CONCEPTS, NOTES, plain_scores


def scores(*rows, truncated=None):
    logits = np.array(rows, dtype=np.float32)
    return ConceptScores(tuple(f"n{i}" for i in range(len(rows))), "c", logits, truncated or (None,) * len(rows))


def test_gaps_and_ranks_worked_by_hand():
    first = scores([1, 2, 3], [4, 5, 6])
    second = scores([1, 2, 3.5], [4, 6, 5], truncated=(None, "cut"))
    found = compare_scores(first, second)
    assert (found["notes"], found["questions"], found["cut_differently"]) == (2, 3, 1)
    assert found["largest_gap"] == 1.0
    assert found["mean_gap"] == pytest.approx((0.5 + 1 + 1) / 6)
    # Over all six, two neighbours change places: 1 - 6 * 2 / (6 * 35). In the second note: 1 - 6 * 2 / (3 * 8).
    assert found["rank_correlation"] == pytest.approx(1 - 12 / 210)
    assert found["rank_correlation_within_notes"]["lowest"] == pytest.approx(0.5)
    assert found["rank_correlation_within_notes"]["mean"] == pytest.approx(0.75)


def test_ties_and_constant_rows_are_no_correlation_of_one():
    found = compare_scores(scores([1, 1, 1], [1, 1, 2]), scores([1, 2, 3], [1, 2, 2]))
    # Ranks 1.5, 1.5, 3 and 1, 2.5, 2.5: Pearson 0.75 / 1.5.
    assert found["rank_correlation_within_notes"] == {"mean": pytest.approx(0.5), "lowest": pytest.approx(0.5)}


def test_other_notes_or_concepts_cannot_be_compared():
    first = scores([1, 2])
    for other in (dataclasses.replace(first, concept_hash="d"), dataclasses.replace(first, note_ids=("x",))):
        with pytest.raises(InputError, match="not given the same"):
            compare_scores(first, other)


def coder_makes_of(coder, first, second):
    probabilities = coder.predict_proba(first), coder.predict_proba(second)
    orders = coder.rank(first), coder.rank(second)
    return compare_codes(coder.heads.threshold, probabilities, orders)


def test_codes_that_change(fitted):
    """Scores of two notes are exchanged: what is accepted follows them."""
    known = fitted.scores.select([coded.note.note_id for coded in fitted.test])
    p = fitted.coder.predict_proba(known)
    accepted = fitted.coder.heads.threshold.accept(p)
    row = next(i for i in range(1, len(p)) if (accepted[i] != accepted[0]).any())
    logits = known.logits.copy()
    logits[[0, row]] = logits[[row, 0]]
    other = dataclasses.replace(known, logits=logits)
    found = coder_makes_of(fitted.coder, known, other)
    assert found["accepted"] == accepted.sum()
    assert found["accepted_changed"] == 2 * (accepted[0] != accepted[row]).sum() > 0
    assert found["notes_with_changes"] == 2
    assert found["first_code_changed"] in (0, 2)
    same = coder_makes_of(fitted.coder, known, known)
    assert same["accepted_changed"] == same["first_code_changed"] == same["largest_probability_gap"] == 0


class FirstThenOthers:
    """The first concept, then one or two others, by its answer."""

    def rounds(self, note):
        answer = yield np.array([0])
        yield np.array([5, 2] if answer[0] > 0 else [3])


@pytest.mark.parametrize("tuned", [False, True])
def test_the_plain_scorer_is_one_prompt_a_question(llama, llama_adapter, tuned):
    adapter = llama_adapter if tuned else None
    plain = PlainScorer.from_pretrained(llama, adapter)
    found = plain.score(NOTES, CONCEPTS)
    np.testing.assert_allclose(found.logits, plain_scores(llama, adapter, NOTES), atol=1e-4)
    one = next(plain.iter_scores(NOTES[:1], CONCEPTS.concepts))
    tokens = len(plain.tokens.encode_note(NOTES[0], 0).ids)
    questions = [len(plain.tokens.encode_concept(concept)) for concept in CONCEPTS.concepts]
    assert (one.computed, one.reused) == (tokens * len(questions) + sum(questions), 0)


def test_a_plan_is_asked_as_the_packed_scorer_asks_it(llama):
    packed, plain = PackedScorer.from_pretrained(llama), PlainScorer.from_pretrained(llama)
    expected = {s.note_id: s for s in packed.iter_scores(NOTES, CONCEPTS.concepts, FirstThenOthers())}
    for found in plain.iter_scores(NOTES, CONCEPTS.concepts, FirstThenOthers()):
        assert found.asked.tolist() == expected[found.note_id].asked.tolist()
        np.testing.assert_allclose(found.logits, expected[found.note_id].logits, atol=1e-4)
