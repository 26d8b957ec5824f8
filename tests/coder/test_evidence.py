"""Evidence is where leaving a passage out costs a code most; against it speaks where that brings most."""

import dataclasses

import numpy as np
import pytest

from concept_icd.coder.coder import ConceptCoder
from concept_icd.coder.evidence import BELOW, LIKELY, RISE
from concept_icd.heads.calibration import Threshold
from concept_icd.records import Note
from concept_icd.text.sentences import part_spans, sentence_spans
from tests.fitted_coder import make_notes


def passages_by_hand(coder, text):
    """What stands in the module's words, from log-odds of whole notes: code -> (evidence, against)."""

    def log_odds(text):
        scores, heads = coder.scorer.score([Note("n", text)], coder.concepts), coder.heads
        odds = heads.calibration.slope * heads.aggregator.log_odds(scores.logits)[0] + heads.calibration.intercept
        return dict(zip(coder.concepts.codes, odds, strict=True))

    def without(span):
        return log_odds(text[: span[0]] + text[span[1] :])

    result, whole = coder.code(text), log_odds(text)
    sentences = sentence_spans(text)
    left_out = [without(span) for span in sentences]
    clauses = {span: {part: without(part) for part in part_spans(text, span)} for span in sentences}
    found = {}
    below = [code for code in result.codes if not code.accepted][:BELOW]
    for code in (*result.accepted, *below):
        for sign in (1, -1):
            change = [sign * (whole[code.code] - odds[code.code]) for odds in left_out]
            spans = []
            for span, lost, odds in zip(sentences, change, left_out, strict=True):
                clear = lost >= RISE and 1 / (1 + np.exp(-odds[code.code])) >= LIKELY if sign < 0 else code.accepted
                if not clear or lost <= 0 or lost < max(change) / 2:
                    continue
                parts = [
                    part
                    for part, odds in clauses[span].items()
                    if sign * (whole[code.code] - odds[code.code]) >= lost / 2
                ]
                for start, end in parts or [span]:
                    if spans and not text[spans[-1][1] : start].strip() and span[0] <= spans[-1][0]:
                        start = spans.pop()[0]
                    spans.append((start, end))
            found.setdefault(code.code, []).append(tuple(spans))
    return found


def test_evidence_is_what_changes_the_answer_most(fitted):
    words = [note.text.split() for note in make_notes(6, 5, "evidence")]
    texts = [". ".join(", ".join(own[i : i + 3]).capitalize() for i in range(0, len(own), 5)) for own in words]
    narrowed = opposed = 0
    for text in texts:
        result = fitted.coder.code(text, evidence=True)
        expected = passages_by_hand(fitted.coder, text)
        for code in result.codes:
            assert (code.evidence, code.against) == tuple(expected.get(code.code, ((), ())))
            narrowed += any(span not in sentence_spans(text) for span in code.evidence)
            opposed += bool(code.against)
        plain = fitted.coder.code(text)
        assert [(c.code, c.probability) for c in result.codes] == [(c.code, c.probability) for c in plain.codes]
    assert narrowed
    assert opposed


def test_a_note_of_one_clause_is_its_own_evidence(fitted):
    result = fitted.coder.code("Fever", evidence=True)
    assert all(code.evidence == ((0, 5),) * code.accepted and not code.against for code in result.codes)


def test_a_note_of_one_sentence_has_evidence_among_its_clauses(fitted):
    heads = dataclasses.replace(fitted.coder.heads, threshold=Threshold(0.0))  # every code is accepted
    text = "Wheezing asthma, normal renal line, and chest pain"
    result = dataclasses.replace(fitted.coder, heads=heads).code(text, evidence=True)
    assert any(code.evidence for code in result.codes)
    assert all(code.evidence != ((0, len(text)),) for code in result.codes)


def test_a_diagnosis_speaks_against_the_symptoms_that_it_explains():
    """The shipped coder, whichever it is: coders do not code fever and cough where the report finds pneumonia."""
    text = "CLINICAL HISTORY: Cough and fever.\nIMPRESSION: Left lower lobe pneumonia."
    coder = ConceptCoder.from_pretrained("radiology")
    found = {code.code: code for code in coder.code(text, evidence=True).codes}
    for spans, passage in ((found["486"].evidence, "pneumonia"), (found["780.6"].against, "pneumonia")):
        assert any(passage in text[start:end] for start, end in spans)
    assert not any("pneumonia" in text[start:end] for start, end in found["486"].against)


@pytest.mark.xfail(
    strict=True, reason="reports that list symptoms mostly get symptom codes, and the coder has learnt so"
)
def test_symptoms_do_not_speak_against_the_diagnosis_that_explains_them() -> None:
    coder = ConceptCoder.from_pretrained("radiology")
    result = coder.code("CLINICAL HISTORY: Cough and fever.\nIMPRESSION: Left lower lobe pneumonia.", evidence=True)
    assert result.codes[0].code == "486"
    assert not result.codes[0].against


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
        for left, right in (*code.evidence, *code.against):
            assert any(a <= left < right <= b for a, b in read)
    # The same evidence as of the text that was read, a note of its own.
    shift = len(social) - (read[0][1] - len(start)) - 1
    alone = coder.code(Note("n", note.text[: read[0][1]] + "\n" + end), evidence=True)
    by_code = {code.code: code for code in alone.codes}  # the learned order reads all of a note, so ranks may differ
    assert by_code.keys() == {code.code for code in result.codes}
    for code in result.codes:
        same = by_code[code.code]
        assert code.probability == pytest.approx(same.probability, abs=1e-4)
        for passages, own in ((code.evidence, same.evidence), (code.against, same.against)):
            assert list(passages) == [(a + shift, b + shift) if a > read[0][1] else (a, b) for a, b in own]
