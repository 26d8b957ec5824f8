"""Tagged words by hand, and trees that learn from them what the concept scores do not know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from concept_icd.coder.coder import ConceptCoder
from concept_icd.corpora.gold import gold_matrix
from concept_icd.errors import InputError
from concept_icd.experts.forest import Forest
from concept_icd.experts.words import TREES, WordExpert, WordRecipe, tagged_words
from concept_icd.heads.fitting import HeadOptions
from concept_icd.metrics import area_metrics
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodedNote, Note
from concept_icd.scoring.scorer import ConceptScores

CODES = ("486", "599.0", "786.2")
SAYS = {"486": "pneumonia", "599.0": "urinary infection", "786.2": "cough"}


def test_a_denial_reaches_to_the_end_of_its_clause() -> None:
    words = tagged_words("IMPRESSION: Cough without fever, but chest pain.")
    assert {"+cough", "-fever", "+chest", "+pain", "impression:-fever"} <= words
    assert not {"-cough", "+fever", "-chest"} & words


def test_a_doubt_covers_its_clause_and_no_other() -> None:
    words = tagged_words("Possible pneumonia; effusion.\nRight lower lobe atelectasis versus pneumonia")
    assert {"?pneumonia", "+effusion", "?atelectasis"} <= words
    assert "+pneumonia" not in words


def test_headings_name_the_section_of_what_follows() -> None:
    words = tagged_words("Cough.\nCLINICAL HISTORY: Wheezing.\nIMPRESSION: Asthma.")
    assert {":+cough", "history:+wheezing", "impression:+asthma"} <= words
    assert "history:+asthma" not in words


def test_pairs_do_not_cross_a_clause() -> None:
    words = tagged_words("Urinary infection. Cough.")
    assert "urinary_infection" in words
    assert "infection_cough" not in words


def test_an_empty_note_has_no_words() -> None:
    assert tagged_words("") == frozenset()


def make(count: int, seed: int) -> tuple[ConceptScores, list[CodedNote]]:
    """Notes that affirm their codes in words and deny others; the scores are noise."""
    rng, concepts = np.random.default_rng(seed), ConceptSet.expand(CODES, load_ontology("icd9cm"))
    notes = []
    for row in range(count):
        gold = [code for code in CODES if rng.random() < 0.4]
        said = [SAYS[code] if code in gold else f"no {SAYS[code]}" for code in rng.permutation(CODES).tolist()]
        note = Note(f"n{seed}-{row}", "HISTORY: " + ". ".join(said) + ".", f"p{seed}-{row}")
        notes.append(CodedNote(note, tuple(gold), annotations={"team": tuple(gold)}))
    logits = rng.normal(0, 1, (count, len(concepts))).astype(np.float32)
    ids = tuple(coded.note.note_id for coded in notes)
    return ConceptScores(ids, concepts.hash, logits, (None,) * count, out_of_fold=True), notes


@pytest.fixture(scope="module")
def coder(llama: Path) -> ConceptCoder:
    scores, notes = make(120, 0)
    concepts = ConceptSet.expand(CODES, load_ontology("icd9cm"))
    options = HeadOptions(features="path", folds=3)
    return ConceptCoder.fit(scores, notes, concepts, model=llama, options=options, experts=[WordRecipe()])


def test_words_carry_what_the_scores_do_not_know(coder: ConceptCoder) -> None:
    scores, notes = make(100, 1)
    p = coder.predict_proba(coder.complete(scores, [coded.note for coded in notes]))
    gold, _ = gold_matrix(scores.note_ids, notes, CODES)
    assert area_metrics(gold, p)["micro_auc"] > 0.95
    denied = coder.complete(scores.select([notes[0].note.note_id]), [replace(notes[0].note, text="no cough")])
    affirmed = coder.complete(scores.select([notes[0].note.note_id]), [replace(notes[0].note, text="cough")])
    column = CODES.index("786.2")
    assert coder.predict_proba(affirmed)[0, column] > 0.5 > coder.predict_proba(denied)[0, column]


def test_a_saved_view_answers_the_same(coder: ConceptCoder, tmp_path: Path) -> None:
    coder.save_pretrained(tmp_path / "coder")
    loaded = ConceptCoder.from_pretrained(tmp_path / "coder")
    scores, notes = make(10, 2)
    own = [coded.note for coded in notes]
    assert np.array_equal(loaded.complete(scores, own).logits, coder.complete(scores, own).logits)
    assert loaded.hash == coder.hash


def test_held_out_log_odds_are_of_trees_that_did_not_see_the_note() -> None:
    """Each note has a word of its own and codes at random: only trees that saw the note could know them."""
    rng, concepts = np.random.default_rng(0), ConceptSet.expand(CODES, load_ontology("icd9cm"))
    gold = rng.random((120, 3)) < 0.5
    notes = [
        CodedNote(Note(str(row), f"word{row // 2}"), tuple(np.array(CODES)[gold[row]].tolist())) for row in range(120)
    ]
    gold[1::2] = gold[::2]  # two notes a word, with the same codes
    fold = np.arange(120) // 2 % 3
    expert, held_out = WordRecipe().fit(notes, gold, concepts, fold, 0)
    assert set(expert.codes) == set(CODES)
    seen = expert.log_odds([coded.note for coded in notes])
    known, unknown = (area_metrics(gold, columns)["micro_auc"] for columns in (seen, held_out))
    assert unknown < 0.6
    assert known > unknown


def test_codes_with_too_few_notes_are_left_out() -> None:
    _, notes = make(40, 3)
    concepts = ConceptSet.expand(CODES, load_ontology("icd9cm"))
    gold = np.zeros((40, 3), dtype=bool)
    gold[:2, 0] = gold[:5, 1] = True
    expert, held_out = WordRecipe().fit(notes, gold, concepts, np.arange(40) % 2, 0)
    assert expert.codes == ("599.0",)
    assert held_out.shape == (40, 1)
    with pytest.raises(InputError, match="no code has 3 notes to learn words from"):
        WordRecipe().fit(notes, gold & False, concepts, np.arange(40) % 2, 0)


def test_the_trees_answer_as_lightgbm_does() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.random((150, 12)) < 0.4
    gold = np.stack([inputs[:, 0] & ~inputs[:, 3], inputs[:, 5] | inputs[:, 7], np.zeros(150, dtype=bool)], axis=1)
    data = [lightgbm.Dataset(inputs.astype(np.float32), own.astype(np.float32), params=TREES) for own in gold.T]
    boosters = [lightgbm.train(TREES, own, 20) for own in data]
    forest = Forest.of(boosters)
    said = np.stack([booster.predict(inputs.astype(np.float32), raw_score=True) for booster in boosters], axis=1)
    assert np.abs(forest.sums(inputs) - said).max() < 1e-9
    assert np.ptp(said[:, 0]) > 1
    fewer = forest.over(forest.features)
    assert np.array_equal(fewer.sums(inputs[:, forest.features]), forest.sums(inputs))


def test_a_folder_holds_no_word_of_a_note(coder: ConceptCoder, tmp_path: Path) -> None:
    coder.save_pretrained(tmp_path / "coder")
    files = list((tmp_path / "coder" / "words").iterdir())
    assert len(files) == 2
    assert not any(word.encode() in path.read_bytes() for path in files for word in ("urinary", "infection", "cough"))


def test_a_damaged_file_is_said(coder: ConceptCoder, tmp_path: Path) -> None:
    coder.experts[0].save(tmp_path)
    (tmp_path / "words.json").write_text('{"codes": []}')
    with pytest.raises(InputError, match=r"words\.json or words\.safetensors is missing or damaged"):
        WordExpert.load(tmp_path)
