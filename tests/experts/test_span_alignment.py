"""Guessed marks: what stands with a code more often than chance has it, and what says its title."""

from __future__ import annotations

import numpy as np

from concept_icd.corpora.folds import group_folds
from concept_icd.corpora.gold import gold_matrix
from concept_icd.experts.span_alignment import align
from concept_icd.experts.span_lexicon import Marked, read_marked
from concept_icd.experts.span_reading import ReadNote
from concept_icd.experts.spans import SpanRecipe
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodedNote, Note
from tests.experts.test_spans import CODES, many


def read(text: str, *gold: int) -> Marked:
    return Marked(ReadNote.of(Note("a", text)), [], frozenset(gold))


def said(marked: Marked, text: str) -> list[tuple[int, str]]:
    words = text.replace(".", "").split()
    return sorted({(code, " ".join(words[at] for at in place)) for code, place in marked.marks})


def test_a_phrase_that_stands_with_a_code_again_and_again_is_taken_for_it() -> None:
    texts = [f"Acute cholecystitis found by scan {number} today." for number in range(4)]
    others = [f"Nothing found by scan {number} today." for number in range(46)]
    notes = [*(read(text, 0) for text in texts), *(read(text) for text in others)]
    found = align(notes, ["Something else altogether"])
    assert (0, "Acute cholecystitis") in said(found[0], texts[0])
    assert not any("scan" in words or "today" in words for _, words in said(found[0], texts[0]))
    assert not any(marked.marks for marked in found[4:])


def test_a_title_finds_the_words_of_a_code_of_one_note() -> None:
    texts = ["Old man with a rare pheochromocytoma of the adrenal gland.", *(f"Note {n} of nothing." for n in range(9))]
    notes = [read(texts[0], 1), *(read(text) for text in texts[1:])]
    found = align(notes, ["Fever", "Pheochromocytoma of adrenal gland"])
    assert {code for code, _ in said(found[0], texts[0])} == {1}
    assert any("pheochromocytoma" in words for _, words in said(found[0], texts[0]))


def test_an_expert_of_guessed_passages_knows_what_carries_a_code() -> None:
    rng, words = np.random.default_rng(0), {"R50.9": "fiebre", "C64.9": "carcinoma renal", "N20.0": "colico nefritico"}
    notes = []
    for number in range(120):
        codes = tuple(code for code in CODES if rng.random() < 0.3)
        said = [
            f"Presenta {words[c]}." if c in codes else f"Niega {words[c]}."
            for c in CODES
            if c in codes or rng.random() < 0.1
        ]
        text = " ".join([f"Paciente {number} revisado.", *said])
        notes.append(CodedNote(Note(str(number), text), codes))
    concepts = ConceptSet.expand(CODES, load_ontology("icd10"), levels=("code",))
    gold, _ = gold_matrix([n.note.note_id for n in notes], notes, CODES)
    fold = group_folds([n.note.note_id for n in notes], 3, 0)
    expert, held_out = SpanRecipe(rounds=40).fit(notes, gold, concepts, fold, 0)
    assert np.median(held_out[gold]) > np.quantile(held_out[~gold], 0.95)
    text = "Visto ayer. Presenta carcinoma renal."
    assert expert.log_odds([Note("a", text)])[0].argmax() == CODES.index("C64.9")
    shown = [text[start:end] for start, end in expert.passages(Note("a", text), "C64.9")]
    assert any("carcinoma" in words or "renal" in words for words in shown)


def test_marks_of_annotators_are_not_replaced() -> None:
    notes = many(30)
    columns = {code: column for column, code in enumerate(CODES)}
    marks = [read_marked(n, columns, [columns[c] for c in n.codes]).marks for n in notes]
    assert sum(map(len, marks)) == sum(len(n.codes) for n in notes)
    assert np.all([len(own) == len(n.codes) for own, n in zip(marks, notes, strict=True)])
