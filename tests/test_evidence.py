"""Evidence is where leaving a sentence out costs a code most."""

import dataclasses

import numpy as np
import pytest

from concept_icd.evidence import sentence_spans
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
