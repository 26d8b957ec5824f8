"""A lexicon of marked passages: what it finds, what it counts without a note, and what the trees make of it."""

from __future__ import annotations

from dataclasses import replace

import lightgbm
import numpy as np
import pytest

from concept_icd.corpora.folds import group_folds
from concept_icd.corpora.gold import gold_matrix
from concept_icd.errors import InputError
from concept_icd.experts.forest import Forest
from concept_icd.experts.span_candidates import NONE, NUMBERS, candidates
from concept_icd.experts.span_lexicon import SpanLexicon, learn_lexicon, read_marked
from concept_icd.experts.span_reading import ReadNote
from concept_icd.experts.spans import SpanExpert, SpanRecipe, categories_of
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodedNote, Mention, Note

CODES = ("R50.9", "C64.9", "N20.0")
COLUMNS = {code: column for column, code in enumerate(CODES)}
SHARE = "share of notes with the phrase that have the code (word by word)"
AROUND = "words around (word by word)"
BY_STEMS = "phrases (by stems)"


def coded(name: str, text: str, *marks: tuple[str, str]) -> CodedNote:
    """A note in which words were marked; "..." stands for a gap in a passage."""
    mentions = []
    for code, words in marks:
        parts = [(text.index(part), text.index(part) + len(part)) for part in words.split(" ... ")]
        mentions.append(Mention(code, tuple(parts)))
    return CodedNote(Note(name, text), tuple(dict.fromkeys(code for code, _ in marks)), evidence=tuple(mentions))


NOTES = [
    coded("1", "Acude con fiebre alta.", ("R50.9", "fiebre")),
    coded("2", "Acude con fiebre y colico.", ("R50.9", "fiebre"), ("N20.0", "colico")),
    coded("3", "Sin fiebre. Carcinoma de celulas claras renal.", ("C64.9", "Carcinoma ... renal")),
    coded("4", "Niega fiebre; acude por colicos.", ("N20.0", "colicos")),
    coded("5", "Asintomatico."),
    coded("6", "Dolor lumbar.", ("N20.0", "Dolor lumbar")),
    coded("7", "Dolor. Lumbar."),
]


def learn(notes=NOTES):
    return learn_lexicon([read_marked(n, COLUMNS, [COLUMNS[code] for code in n.codes]) for n in notes])


def numbers(text: str, lexicon: SpanLexicon) -> dict[str, dict[str, float]]:
    note = ReadNote.of(Note("new", text))
    codes, rows, _ = candidates(lexicon, note, categories_of(CODES), lexicon.hits(note))
    return {CODES[code]: dict(zip(NUMBERS, row, strict=True)) for code, row in zip(codes, rows.tolist(), strict=True)}


def test_what_was_marked_is_counted_and_what_was_not_too() -> None:
    lexicon, _, _ = learn()
    found = numbers("Fiebre", lexicon)["R50.9"]
    assert found[SHARE] == (2 + 0.3) / (4 + 1)
    assert found["share of occurrences marked as the code (word by word)"] == (2 + 0.1) / (4 + 0.5)
    assert found["log notes with the code"] == np.log(2.5)
    assert numbers("Nada de interes", lexicon) == {}


def test_counts_without_a_note_are_those_of_the_others() -> None:
    lexicon, own, hits = learn()
    less, _, _ = learn(NOTES[1:])
    note = ReadNote.of(NOTES[0].note)
    codes, rows, _ = candidates(lexicon, note, categories_of(CODES), hits[0], own[0])
    others, expected, _ = candidates(less, note, categories_of(CODES), less.hits(note))
    assert codes == others == [COLUMNS["R50.9"]]
    assert rows[0, NUMBERS.index(SHARE)] == expected[0, NUMBERS.index(SHARE)] == (1 + 0.3) / (3 + 1)
    assert rows[0, NUMBERS.index(AROUND)] == expected[0, NUMBERS.index(AROUND)] != NONE
    assert rows[0, 0] == expected[0, 0] == np.log(1.5)


def test_a_code_of_this_note_alone_is_not_proposed_from_it() -> None:
    lexicon, own, hits = learn()
    codes, _, _ = candidates(lexicon, ReadNote.of(NOTES[2].note), categories_of(CODES), hits[2], own[2])
    assert COLUMNS["C64.9"] not in codes


def test_stems_are_found_in_any_order_near_each_other_within_a_piece_of_the_text() -> None:
    lexicon, _, _ = learn()
    assert numbers("Un renal carcinoma", lexicon)["C64.9"][BY_STEMS] == 1
    assert numbers("Renales: carcinomas", lexicon).get("C64.9", {}).get(BY_STEMS, NONE) == NONE
    far = "Renal segun informes previos del otro centro externo carcinoma"
    assert numbers(far, lexicon)["C64.9"][BY_STEMS] == NONE


def test_words_around_tell_a_denial_in_any_language() -> None:
    lexicon, _, _ = learn()
    said, denied = (numbers(text, lexicon)["R50.9"][AROUND] for text in ("Acude con fiebre.", "Sin fiebre."))
    assert denied < 0 < said


def test_what_a_border_divides_is_no_phrase() -> None:
    lexicon, _, hits = learn()
    assert any(lexicon.length[hit.key] == 2 and hit.stems for hit in hits[5])
    assert not any(lexicon.length[hit.key] == 2 for hit in hits[6])


def many(count: int) -> list[CodedNote]:
    """Notes that affirm their codes or deny them, in the same words; a code that is denied is none."""
    rng, said = np.random.default_rng(0), {"R50.9": "fiebre", "C64.9": "carcinoma renal", "N20.0": "colico nefritico"}
    notes = []
    for number in range(count):
        has = {code: bool(rng.integers(2)) for code in CODES}
        text = " ".join(f"{'Presenta' if has[code] else 'Niega'} {words}." for code, words in said.items())
        notes.append(coded(f"n{number}", text, *((code, said[code]) for code in CODES if has[code])))
    return notes


@pytest.fixture(scope="module")
def fitted() -> tuple[SpanExpert, np.ndarray, list[CodedNote]]:
    notes = many(90)
    concepts = ConceptSet.expand(CODES, load_ontology("icd10"), levels=("code",))
    gold, _ = gold_matrix([n.note.note_id for n in notes], notes, CODES)
    fold = group_folds([n.note.note_id for n in notes], 3, 0)
    expert, held_out = SpanRecipe(rounds=40).fit(notes, gold, concepts, fold, 0)
    return expert, held_out, notes


def test_it_tells_what_is_said_from_what_is_denied_for_every_code(fitted) -> None:
    expert, held_out, notes = fitted
    gold = np.array([[code in n.codes for code in CODES] for n in notes])
    assert held_out.dtype == np.float32
    assert held_out[gold].min() > held_out[~gold].max()
    odds = expert.log_odds([Note("a", "Presenta carcinoma renal. Niega fiebre."), Note("b", "...")])
    assert odds[0].argmax() == COLUMNS["C64.9"]
    assert odds[0, COLUMNS["N20.0"]] == expert.rest[COLUMNS["N20.0"]]
    assert np.isnan(odds[1]).all()


def test_passages_stand_in_the_note_as_it_was_given(fitted) -> None:
    text = "Niega\u00a0fiebre.\r\nPresenta  carcinoma\u00ad renal."
    (span,) = fitted[0].passages(Note("a", text), "C64.9")
    assert text[slice(*span)].replace("\u00ad", "") == "carcinoma renal"
    assert fitted[0].passages(Note("a", text), "N20.0") == ()


def test_it_is_read_back_as_it_was_and_holds_no_words(fitted, tmp_path) -> None:
    expert, _, notes = fitted
    expert.save(tmp_path)
    again = SpanExpert.load(tmp_path)
    own = [n.note for n in notes[:5]]
    assert np.array_equal(again.log_odds(own), expert.log_odds(own))
    assert again.hash == expert.hash
    assert not any(b"fiebre" in path.read_bytes() or b"carcin" in path.read_bytes() for path in tmp_path.iterdir())


def test_damage_is_told(fitted, tmp_path) -> None:
    fitted[0].save(tmp_path)
    data = (tmp_path / "spans.safetensors").read_bytes()
    (tmp_path / "spans.safetensors").write_bytes(data[:-8])
    with pytest.raises(InputError, match=r"spans.safetensors is missing or damaged: fit the coder again"):
        SpanExpert.load(tmp_path)


def test_notes_in_which_nothing_can_be_found_are_told() -> None:
    notes = [replace(n, evidence=()) for n in many(4)]
    concepts = ConceptSet.expand(CODES, load_ontology("icd10"), levels=("code",))
    with pytest.raises(InputError, match="too few passages to learn from"):
        SpanRecipe().fit(notes, np.zeros((4, 3), bool), concepts, np.arange(4), 0)


def test_a_forest_over_numbers_says_what_lightgbm_says() -> None:
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(300, 5))
    target = (inputs[:, 0] + inputs[:, 3] ** 2 > 1).astype(float)
    params = {"objective": "binary", "num_leaves": 7, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(params, lightgbm.Dataset(inputs, target), 10)
    forest, column, above = Forest.of_numbers(booster)
    forest.check(len(above), 1)
    own = forest.sums(inputs[:, column] > above)[:, 0]
    np.testing.assert_allclose(own, booster.predict(inputs, raw_score=True), rtol=0, atol=1e-12)
