"""What travels between processes comes out as it went in, bit for bit."""

import numpy as np

from concept_icd.records import Note
from concept_icd.scoring.scores import NoteFailure, NoteScores
from concept_icd.scoring.wire import answer_from_json, answer_to_json, notes_from_json, notes_to_json


def test_notes_come_out_as_they_went_in():
    notes = [Note("a", "Fièvre\r\n\u202e\ud800 \x00", "p", 71.5, "F", ("Aspirin 81 mg", "")), Note("b", "")]
    assert notes_from_json(notes_to_json(notes)) == notes


def test_records_come_out_bit_for_bit():
    logits = np.array([0.1, -0.0, np.nan, np.inf, np.finfo(np.float32).smallest_subnormal], dtype=np.float32)
    asked = np.array([0, 3, 2**31 - 1], dtype=np.int32)
    sent = [
        NoteScores("a", logits, None, None, 7, 9),
        NoteScores("b", logits[:3], "cut", asked),
        NoteFailure("c", "no"),
    ]
    first, second, third = answer_from_json(answer_to_json(sent))
    assert first.logits.dtype == np.float32
    assert first.logits.tobytes() == logits.tobytes()
    assert (first.asked, first.truncated, first.computed, first.reused) == (None, None, 7, 9)
    assert second.asked.dtype == np.int32
    assert second.asked.tolist() == asked.tolist()
    assert second.truncated == "cut"
    assert third == NoteFailure("c", "no")


def test_what_ends_the_run_is_a_sentence():
    assert answer_from_json(answer_to_json("no memory")) == "no memory"
