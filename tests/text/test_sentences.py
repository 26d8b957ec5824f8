"""Where a note is cut, and what its clauses affirm, doubt and deny."""

from __future__ import annotations

import pytest

from concept_icd.text.sections import headed_parts
from concept_icd.text.sentences import clauses, part_spans, sentence_spans


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


@pytest.mark.parametrize(
    ("sentence", "parts"),
    [
        ("HISTORY: Wheezing, fever and cough.", ["Wheezing,", "fever", "and cough."]),
        ("Fever but clear; no chills", ["Fever", "but clear;", "no chills"]),
        ("No edema, effusion and scar, but fever, cough", ["No edema, effusion and scar,", "but fever,", "cough"]),
        ("Thickening without edema, with scar", ["Thickening", "without edema, with scar"]),
        ("Opacity resolved, with scar; normal heart", ["Opacity resolved, with scar;", "normal heart"]),
        ("Growth of E. coli and yeast", ["Growth of E. coli", "and yeast"]),
        ("2, 3, and 4 days of cough", ["2, 3, and 4 days of cough"]),
        ("cough, " * 40, ["cough, " * 40]),
        ("Cough", ["Cough"]),
    ],
)
def test_parts_of_a_sentence(sentence, parts):
    text = f"Before, this. {sentence} And, after"
    found = part_spans(text, (14, 14 + len(sentence)))
    assert [text[start:end] for start, end in found] == parts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("COPD; gout; no asthma", [("copd;", "+"), ("gout;", "+"), ("no asthma", "-")]),
        ("No fever but cough", [("no fever", "-"), ("cough", "+")]),
        ("Never smoked", [("never smoked", "-")]),
        ("Absent reflexes", [("absent reflexes", "-")]),
        ("Resolved pneumonia", [("resolved pneumonia", "-")]),
        ("Deny fever", [("deny fever", "-")]),
        ("Denies fever", [("denies fever", "-")]),
        ("Negative for gout", [("negative for gout", "-")]),
        ("Otherwise negative", [("otherwise negative", "+")]),
        ("Rule out pneumonia. Pneumonia", [("rule out pneumonia.", "?"), ("pneumonia", "+")]),
        ("Normal except for a scar\nHeart clear", [("normal", "+"), ("for a scar", "+"), ("heart clear", "+")]),
    ],
)
def test_clauses_and_what_they_say_at_their_beginning(text, expected):
    assert [(clause.text, clause.status(0)) for clause in clauses(text)] == expected


def test_a_denial_reaches_from_its_cue_to_the_end_of_the_clause():
    (clause,) = clauses("M\u00e9ni\u00e8re resolved, without vertigo")
    assert clause.text == "meniere resolved, without vertigo"
    assert [clause.status(clause.text.index(word)) for word in ("meniere", "resolved", "vertigo")] == ["+", "-", "-"]


def test_any_heading_that_begins_a_line_stands_above_what_follows():
    text = "Seen.\nPAST MEDICAL HISTORY: Gout. Note: old\n  Plan: rest"
    assert [(heading, text[start:end].strip()) for heading, start, end in headed_parts(text)] == [
        ("", "Seen."),
        ("past medical history", "Gout. Note: old"),
        ("plan", "rest"),
    ]
    assert [(clause.section, clause.text) for clause in clauses(text)] == [
        ("", "seen."),
        ("history", "gout."),
        ("history", "note: old"),
        ("plan", "rest"),
    ]
