from __future__ import annotations

import numpy as np
import pytest

from concept_icd.text.clause_words import GROUPS, Vocabulary, keys_of, read_clauses, title_terms

NOTE = """CHIEF COMPLAINT: Chest pain.
HISTORY OF PRESENT ILLNESS: This man came with chest pains. No fever or chills. He has gout.
FAMILY HISTORY: Mother had asthma.
DISCHARGE DIAGNOSES:
1. NSTEMI
2. gout; COPD
"""


def words(note: str) -> list[tuple[str, int, int, set[str]]]:
    """Group, item and number of items of each clause, and its terms."""
    vocabulary = Vocabulary()
    found = read_clauses([note], vocabulary)
    return [
        (
            GROUPS[found.group[s]],
            int(found.item[s]),
            int(found.items[s]),
            {vocabulary.term(g) for g in found.grams[(found.at == s) & found.affirmed]},
        )
        for s in range(len(found))
    ]


def test_sentences_and_items_have_their_section_and_place():
    read = words(NOTE)
    assert [row[:3] for row in read] == [
        ("complaint", 0, 1),
        ("present", 0, 3),
        ("present", 1, 3),
        ("present", 2, 3),  # what is said of relatives is passed over
        ("discharge", 0, 3),
        ("discharge", 1, 3),
        ("discharge", 2, 3),
    ]
    assert {"chest", "pain", "chest pain"} <= read[1][3]  # plural endings are cut, stop words left out
    assert read[2][3] == set()  # a denial
    assert [row[3] for row in read[4:]] == [{"1", "nstemi", "1 nstemi"}, {"2", "gout", "2 gout"}, {"copd"}]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Cough without fever", [{"cough"}]),
        ("No fever but cough; never gout", [set(), {"cough"}, set()]),
        ("Pneumonia resolved. Denies pain, asthma.", [{"pneumonia"}, set()]),
        ("Family deny asthma", [{"family"}]),
        ("Negative for gout. Scar absent", [set(), {"scar"}]),
        ("PLAN:\nRest", [{"rest"}]),
    ],
)
def test_what_is_denied_is_not_affirmed_and_headings_are_left_out(text, terms):
    assert [row[3] for row in words(text)] == terms


def test_denied_words_are_there_all_the_same():
    vocabulary, keys = keys_of(["gout", "scar"])
    found = read_clauses(["Scar, no gout, no scar"], vocabulary)
    assert found.matrix(np.sort(keys)).sum() == 2
    assert found.matrix(np.sort(keys), affirmed=True).sum() == 1  # a scar is affirmed before one is denied


def test_a_term_is_found_where_it_stands_and_words_that_are_not_known_part_a_pair():
    vocabulary, keys = keys_of(["chest pain", "gout", "pain gout"])
    clauses = read_clauses(["Chest pain. Pain strange gout.", "", "Nothing."], vocabulary)
    holds = clauses.matrix(np.sort(keys)).toarray()
    order = np.argsort(keys).tolist()
    assert holds[0, order.index(0)] == 1
    assert holds[:, order.index(1)].tolist() == [0, 1, 0]
    assert holds[:, order.index(2)].sum() == 0
    assert clauses.notes == 3
    assert clauses.note.tolist() == [0, 0, 2]


def test_a_sentence_without_known_words_keeps_its_place():
    clauses = read_clauses(["It rains. Gout. No gout. Gout."], keys_of(["gout"])[0])
    assert clauses.item.tolist() == [0, 1, 2, 3]
    assert clauses.at.tolist() == [1, 2, 3]
    assert clauses.affirmed.tolist() == [True, False, True]


def test_some_notes_of_many_are_numbered_anew():
    vocabulary = Vocabulary()
    notes = ["Gout.", "Asthma. COPD.", "", "Gout again."]
    some = read_clauses(notes, vocabulary).select(np.array([1, 2, 3]))
    same = read_clauses(notes[1:], vocabulary)
    for name in ("note", "group", "start", "item", "items", "grams", "at", "affirmed", "notes"):
        assert np.array_equal(getattr(some, name), getattr(same, name)), name


def test_no_text_at_all():
    assert len(read_clauses([], Vocabulary())) == 0
    empty = read_clauses(["", " "], Vocabulary())
    assert (len(empty), empty.notes) == (0, 2)
    assert empty.matrix(np.array([1, 2])).shape == (0, 2)


def test_terms_of_titles_are_pairs_or_the_one_word():
    found = title_terms(
        {0: ["Congestive heart failure, unspecified"], 1: ["Pneumonia, organism unspecified", "PNEUMONIA"]}
    )
    assert found == {0: {"congestive heart", "heart failure"}, 1: {"pneumonia organism", "pneumonia"}}
