"""The classification's words in notes: found by hand, weighed for all codes at once, known without a training note."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from concept_icd.coder.coder import ConceptCoder
from concept_icd.errors import InputError
from concept_icd.experts.terms import TermExpert, TermRecipe, pairs_of, said
from concept_icd.heads.fitting import HeadOptions
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.nchs import lists_and_indexes
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodedNote, Note
from concept_icd.scoring.scorer import ConceptScores

CODES = ("486", "591", "593.70", "786.2")
SAYS = {"486": "Pneumonia", "591": "Hydronephrosis", "593.70": "Vesicoureteral reflux", "786.2": "Cough"}


@pytest.fixture(scope="module")
def recipe() -> TermRecipe:
    return TermRecipe.read()


@pytest.fixture(scope="module")
def concepts() -> ConceptSet:
    return ConceptSet.expand(CODES, load_ontology("icd9cm"))


def make(count: int, seed: int, codes: tuple[str, ...] = CODES) -> tuple[list[CodedNote], np.ndarray]:
    """Notes that affirm most of their codes and deny or doubt others, and their gold codes."""
    rng, notes, gold = np.random.default_rng(seed), [], np.zeros((count, len(CODES)), dtype=bool)
    for row in range(count):
        told: dict[str, list[str]] = {"HISTORY": [], "IMPRESSION": []}
        for column, code in enumerate(CODES):
            if code not in codes:
                continue
            gold[row, column] = rng.random() < 0.4
            ways = ("{}", "{}", "{}", "") if gold[row, column] else ("", "no {}", "possible {}")
            told[str(rng.choice(list(told)))].append(str(rng.choice(ways)).format(SAYS[code].lower()))
        text = "\n".join(f"{name}: {'. '.join(filter(None, parts))}." for name, parts in told.items())
        own = tuple(code for code, has in zip(CODES, gold[row], strict=True) if has)
        notes.append(CodedNote(Note(f"n{seed}-{row}", text), own))
    return notes, gold


def test_terms_are_found_with_section_and_status(recipe: TermRecipe, concepts: ConceptSet) -> None:
    terms = recipe.terms_of(concepts)
    text = "CLINICAL HISTORY: Coughs for a week.\nIMPRESSION: Possible pneumonia; no hydronephrosis."
    assert said(text, terms) == [(3, "clinical history", "+"), (0, "impression", "?"), (1, "impression", "-")]


def test_a_longer_term_of_another_code_hides_a_shorter_one(recipe: TermRecipe, concepts: ConceptSet) -> None:
    terms = recipe.terms_of(concepts)
    assert said("Viral pneumonia.", terms) == []  # 480.9
    assert [column for column, _, _ in said("Pneumonia.", terms)] == [0]
    assert len(terms) < 2000  # of all titles, those alone that hold a term of these codes


def test_what_a_code_below_is_called_speaks_for_the_code(recipe: TermRecipe) -> None:
    """A label of an older year: 599.7 has since been divided."""
    older = ConceptSet.expand(("599.7",), load_ontology("icd9cm"))
    assert said("Gross hematuria.", recipe.terms_of(older)) == [(0, "", "+")]


def test_the_files_of_nchs_add_terms(shared_data: Path) -> None:
    older = ConceptSet.expand(("599.7", "599.0"), load_ontology("icd9cm"))
    tabular, index = lists_and_indexes(shared_data)
    terms = TermRecipe.read(tabular, index).terms_of(older)
    assert said("Blood in the urine.", terms) == [(0, "", "+")]
    assert said("Blood in the urine.", TermRecipe.read().terms_of(older)) == []
    assert said("History of urinary infections.", terms) == []  # V13.02
    assert said("Urinary infection.", terms) == [(1, "", "+")]


def test_a_pair_without_a_mention_counts_as_if_it_were_listed(recipe: TermRecipe, concepts: ConceptSet) -> None:
    """The fit over counts is scikit-learn's over every pair of note and code."""
    notes, gold = make(60, 0)
    expert, _ = recipe.fit(notes, gold, concepts, np.arange(60) % 3, 0)
    assert expert.sections == ("history", "impression")
    width = len(expert.weights)
    x = np.zeros((60, len(CODES), width + 1))
    positive = gold.sum(axis=0)
    x[:, :, -1] = np.log((positive + 0.5) / (60 - positive + 0.5))
    for row, coded in enumerate(notes):
        mentioned, affirmed = pairs_of(said(coded.note.text, expert.terms), expert.sections)
        x[row, :, width - 1] = affirmed > 0
        for column, places in mentioned.items():
            x[row, column, :width] = 0
            x[row, column, places] = 1
    model = LogisticRegression(tol=1e-8, max_iter=1000).fit(x.reshape(-1, width + 1), gold.ravel())
    expected = model.decision_function(x.reshape(-1, width + 1)).reshape(gold.shape)
    assert np.abs(expert.log_odds([coded.note for coded in notes]) - expected).max() < 1e-3
    assert np.ptp(expected) > 3


def test_a_code_without_a_training_note_is_known_by_its_words(recipe: TermRecipe, concepts: ConceptSet) -> None:
    notes, gold = make(150, 1, codes=("486", "593.70", "786.2"))
    expert, _ = recipe.fit(notes, gold, concepts, np.arange(150) % 3, 0)
    texts = ("IMPRESSION: Hydronephrosis.", "IMPRESSION: No hydronephrosis.", "IMPRESSION: Normal.")
    affirmed, denied, silent = expit(expert.log_odds([Note(text, text) for text in texts]))[:, CODES.index("591")]
    assert affirmed > 5 * max(denied, silent)


def test_a_note_without_the_headings_of_the_training_notes_is_read_too(
    recipe: TermRecipe, concepts: ConceptSet
) -> None:
    notes, gold = make(150, 6)
    expert, _ = recipe.fit(notes, gold, concepts, np.arange(150) % 3, 0)
    assert expert.sections
    affirmed, denied = expit(expert.log_odds([Note("a", "Pneumonia."), Note("b", "No pneumonia.")]))[:, 0]
    assert affirmed > 0.5 > denied


def test_held_out_log_odds_are_of_weights_that_did_not_see_the_note(recipe: TermRecipe, concepts: ConceptSet) -> None:
    notes, gold = make(90, 2)
    fold = np.arange(90) % 3
    expert, held_out = recipe.fit(notes, gold, concepts, fold, 0)
    for number in range(3):
        rest, out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        other, _ = recipe.fit([notes[row] for row in rest], gold[rest], concepts, fold[rest], 0)
        assert np.array_equal(other.log_odds([notes[row].note for row in out]), held_out[out])
    assert not np.array_equal(expert.log_odds([coded.note for coded in notes]), held_out)


def test_a_note_without_text_says_nothing(recipe: TermRecipe, concepts: ConceptSet) -> None:
    notes, gold = make(30, 3)
    notes.append(CodedNote(Note("empty", " \n")))
    expert, held_out = recipe.fit(notes, np.vstack([gold, gold[:1]]), concepts, np.arange(31) % 2, 0)
    assert np.isnan(held_out[30]).all()
    assert np.isnan(expert.log_odds([Note("empty", "")])).all()
    assert np.isfinite(expert.log_odds([Note("short", "x")])).all()


def test_notes_without_a_term_are_refused(recipe: TermRecipe, concepts: ConceptSet) -> None:
    notes = [CodedNote(Note(str(row), "Nothing of note."), ("486",)) for row in range(6)]
    with pytest.raises(InputError, match="no training note says a term of a code"):
        recipe.fit(notes, np.ones((6, len(CODES)), dtype=bool), concepts, np.arange(6) % 2, 0)


def test_a_coder_with_terms_is_saved_and_names_them(
    recipe: TermRecipe, concepts: ConceptSet, llama: Path, tmp_path: Path
) -> None:
    notes, _ = make(90, 4)
    ids = tuple(coded.note.note_id for coded in notes)
    logits = np.random.default_rng(0).normal(0, 1, (90, len(concepts))).astype(np.float32)
    scores = ConceptScores(ids, concepts.hash, logits, (None,) * 90, out_of_fold=True)
    options = HeadOptions(features="path", folds=3, order="none")
    coder = ConceptCoder.fit(scores, notes, concepts, model=llama, options=options, experts=[recipe])
    coder.save_pretrained(tmp_path / "coder")
    loaded = ConceptCoder.from_pretrained(tmp_path / "coder")
    assert loaded.hash == coder.hash
    own = [coded.note for coded in notes]
    assert np.array_equal(loaded.complete(scores, own).logits, coder.complete(scores, own).logits)
    code = loaded.code(Note("new", "IMPRESSION: Pneumonia.")).codes[0]
    assert code.code == "486"
    assert code.concepts[0].key == "terms:486"


@pytest.mark.parametrize("change", [{"weights": [1.0]}, {"codes": ["486"]}, {"terms": None}, {"bias": ["x"]}])
def test_a_damaged_file_is_said(
    recipe: TermRecipe, concepts: ConceptSet, tmp_path: Path, change: dict[str, object]
) -> None:
    notes, gold = make(30, 5)
    expert, _ = recipe.fit(notes, gold, concepts, np.arange(30) % 2, 0)
    expert.save(tmp_path)
    path = tmp_path / "terms.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=r"terms\.json is damaged"):
        TermExpert.load(tmp_path)
