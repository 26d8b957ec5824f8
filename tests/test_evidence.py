"""Evidence is where leaving a sentence out costs a code most."""

import dataclasses

import numpy as np
import pytest

from concept_icd.coder import ConceptCoder
from concept_icd.evidence import sentence_spans
from concept_icd.heads.threshold import Threshold
from concept_icd.records import Note


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One day of cough. No fever!", ["One day of cough.", "No fever!"]),
        ("1. No focal pneumonia. 2. Mild wedging.", ["1. No focal pneumonia.", "2. Mild wedging."]),
        ("Seen on Jan. 2 at home", ["Seen on Jan. 2 at home"]),
        ("HISTORY:\n\n  cough\nIMPRESSION: clear. ", ["HISTORY:", "cough", "IMPRESSION: clear."]),
        ("Done. 3.", ["Done. 3."]),
        ("", []),
        (" \n 12 \n", []),
    ],
)
def test_sentences(text, sentences):
    assert [text[start:end] for start, end in sentence_spans(text)] == sentences


def test_evidence_is_the_sentence_without_which_the_code_loses_most(fitted):
    coder, note = fitted.coder, Note("n", "Wheezing asthma. Normal renal line. Fever, cough and chest pain. Urinary.")
    result = coder.code(note, evidence=True)
    assert result.accepted, "the fixture's coder accepts something"
    plain = {code.code: code.probability for code in coder.code(note).codes}
    assert {code.code: code.probability for code in result.codes} == plain

    def log_odds(text):
        probability = {code.code: code.probability for code in coder.code(dataclasses.replace(note, text=text)).codes}
        return {code: np.log(p / (1 - p)) for code, p in probability.items()}

    whole, spans = log_odds(note.text), sentence_spans(note.text)
    without = [log_odds(note.text[:start] + note.text[end:]) for start, end in spans]
    for code in result.accepted:
        losses = np.array([whole[code.code] - left[code.code] for left in without])
        expected = [span for span, loss in zip(spans, losses, strict=True) if 0 < losses.max() <= 2 * loss]
        assert list(code.evidence) == expected
    assert all(not code.evidence for code in result.codes if not code.accepted)


def test_a_note_of_one_sentence_is_its_own_evidence(fitted):
    result = fitted.coder.code("Fever and cough", evidence=True)
    assert all(code.evidence == ((0, 15),) for code in result.accepted)


def test_evidence_of_a_long_note_stands_in_what_was_read(fitted):
    """A note of 10,000 characters by sections: no evidence lies in what was left out, and none hangs on it."""
    settings = {"max_length": 300, "note_text": "sections"}
    heads = dataclasses.replace(fitted.coder.heads, threshold=Threshold(0.0))  # every code is accepted
    coder: ConceptCoder = dataclasses.replace(fitted.coder, scorer_settings=settings, heads=heads)
    start, end = "Chief Complaint: Wheezing asthma.\n\n", "Discharge Diagnosis: Urinary. Fever, cough and chest pain.\n"
    social = "Social History: " + "Normal renal line. " * 500 + "\n\n"
    note = Note("n", start + social + end)
    read = coder.scorer.text_read(note, coder.concepts.concepts)
    assert read[0][0] == 0
    assert len(start) < read[0][1] < len(start + social)
    assert read[1] == (len(start + social), len(note.text))
    result = coder.code(note, evidence=True)
    assert any(code.evidence for code in result.accepted)
    for code in result.accepted:
        for left, right in code.evidence:
            assert any(a <= left < right <= b for a, b in read)
    # The same evidence as of the text that was read, a note of its own.
    shift = len(social) - (read[0][1] - len(start)) - 1
    alone = coder.code(Note("n", note.text[: read[0][1]] + "\n" + end), evidence=True)
    for code, same in zip(result.codes, alone.codes, strict=True):
        assert (code.code, code.probability) == (same.code, pytest.approx(same.probability, abs=1e-4))
        back = [(a + shift, b + shift) if a > read[0][1] else (a, b) for a, b in same.evidence]
        assert list(code.evidence) == back
