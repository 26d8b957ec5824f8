"""The medication network stacked with concept scores: text that knows some codes, drugs that know others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from concept_icd.coder.coder import ConceptCoder
from concept_icd.corpora.gold import gold_matrix
from concept_icd.errors import InputError
from concept_icd.experts.drugs import DrugRecipe
from concept_icd.heads.fitting import HeadOptions
from concept_icd.medications.strategy import Strategy
from concept_icd.metrics import area_metrics
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodedNote, Note
from concept_icd.scoring.scorer import ConceptScores
from tests.fitted_coder import Fitted

CODES = ("250.00", "428.0", "486", "599.0", "38.93")
DRUG_OF = {
    "250.00": "Metformin 500 mg Tab",
    "428.0": "Furosemide 40mg",
    "486": "Ceftriaxone",
    "599.0": "Ciprofloxacin HCl",
}
SMALL = DrugRecipe(Strategy(hidden=1, units=32, dropout=0.1, learning_rate=1e-2, batch=32, epochs=25))
OPTIONS = HeadOptions(features="path", order="none", folds=4)


def make(
    count: int, seed: int, told_by_text: set[str], told_by_drugs: set[str]
) -> tuple[ConceptScores, list[CodedNote]]:
    """Notes with random codes; scores and drugs follow those codes that each is to know, and are noise for the rest."""
    rng, concepts = np.random.default_rng(seed), ConceptSet.expand(CODES, load_ontology("icd9cm"))
    notes, logits = [], rng.normal(0, 1, (count, len(concepts))).astype(np.float32)
    for row in range(count):
        codes = [code for code in CODES if rng.random() < 0.3]
        share = {code: 0.9 * (code in codes) if code in told_by_drugs else 0.3 for code in DRUG_OF}
        drugs = {DRUG_OF[code] for code in DRUG_OF if rng.random() < share[code]}
        for code in set(codes) & told_by_text:
            logits[row, concepts.on_path(code)[-1]] += 2.5
        note = Note(f"n{seed}-{row}", "text", f"p{seed}-{row // 2}", age=60, sex="F", drugs=(*sorted(drugs), "Syringe"))
        diagnoses = tuple(code for code in codes if code != "38.93")
        notes.append(CodedNote(note, diagnoses, tuple(set(codes) & {"38.93"})))
    ids = tuple(coded.note.note_id for coded in notes)
    return ConceptScores(ids, concepts.hash, logits, (None,) * count, out_of_fold=True), notes


def fit(scores: ConceptScores, notes: list[CodedNote], experts: list[DrugRecipe], model: Path) -> ConceptCoder:
    concepts = ConceptSet.expand(CODES, load_ontology("icd9cm"))
    return ConceptCoder.fit(scores, notes, concepts, model=model, options=OPTIONS, experts=experts)


def areas(coder: ConceptCoder, scores: ConceptScores, notes: list[CodedNote]) -> dict[str, float]:
    """AUC of each code on these notes."""
    p = coder.predict_proba(coder.complete(scores, [coded.note for coded in notes]))
    gold, _ = gold_matrix(scores.note_ids, notes, CODES)
    return {code: area_metrics(gold[:, [c]], p[:, [c]])["micro_auc"] for c, code in enumerate(CODES)}


@pytest.fixture(scope="module")
def stacked(llama: Path) -> tuple[ConceptCoder, ConceptCoder]:
    """Text knows 486 and 38.93, drugs know 250.00 and 428.0: heads without the drugs, and with them."""
    scores, notes = make(400, 0, {"486", "38.93"}, {"250.00", "428.0"})
    return fit(scores, notes, [], llama), fit(scores, notes, [SMALL], llama)


def test_each_helps_where_the_other_is_weak(stacked: tuple[ConceptCoder, ConceptCoder]) -> None:
    scores, notes = make(300, 1, {"486", "38.93"}, {"250.00", "428.0"})
    alone, both = (areas(coder, scores, notes) for coder in stacked)
    expert = stacked[1].experts[0]
    drugs, (gold, _) = expert.log_odds([coded.note for coded in notes]), gold_matrix(scores.note_ids, notes, CODES)
    by_drugs = {
        code: area_metrics(gold[:, [CODES.index(code)]], drugs[:, [c]])["micro_auc"]
        for c, code in enumerate(expert.codes)
    }
    assert set(expert.codes) == set(CODES) - {"38.93"}  # of procedures the network says nothing
    for code in ("250.00", "428.0"):
        assert alone[code] < 0.6
        assert both[code] > 0.85
    for code, known in (("486", by_drugs["486"]), ("38.93", 0.5)):
        assert known < 0.6
        assert both[code] > 0.85


def test_the_view_is_named_among_the_concepts_of_a_code(stacked: tuple[ConceptCoder, ConceptCoder]) -> None:
    scores, notes = make(300, 1, {"486", "38.93"}, {"250.00", "428.0"})
    row = next(row for row, coded in enumerate(notes) if DRUG_OF["428.0"] in coded.note.drugs)
    part = scores.select([notes[row].note.note_id])
    coder = stacked[1]
    result = next(coder.results(coder.complete(part, [notes[row].note]), top_concepts=20))
    code = next(code for code in result.codes if code.code == "428.0")
    said = next(concept for concept in code.concepts if concept.key == "drugs:428.0")
    assert said.level == "drugs"
    assert said.contribution == max(concept.contribution for concept in code.concepts) > 1


def test_a_note_without_drugs_is_as_the_mean_stay(stacked: tuple[ConceptCoder, ConceptCoder]) -> None:
    coder = stacked[1]
    scores, notes = make(5, 2, set(), set())
    without = [replace(coded.note, drugs=()) for coded in notes]
    joined = coder.complete(scores, without)
    columns = slice(len(coder.asked), None)
    assert np.array_equal(joined.logits[0, columns], coder.heads.aggregator.mean[columns].astype(np.float32))
    added = coder.heads.contributions(joined.logits[0]).toarray()[:, columns]
    assert np.abs(added).max() < 1e-6


def test_a_saved_coder_answers_the_same(stacked: tuple[ConceptCoder, ConceptCoder], tmp_path: Path) -> None:
    coder = stacked[1]
    scores, notes = make(20, 3, {"486"}, {"428.0"})
    coder.save_pretrained(tmp_path / "coder")
    loaded = ConceptCoder.from_pretrained(tmp_path / "coder")
    own = [coded.note for coded in notes]
    assert loaded.hash == coder.hash
    assert np.array_equal(
        loaded.predict_proba(loaded.complete(scores, own)), coder.predict_proba(coder.complete(scores, own))
    )
    weights = tmp_path / "coder" / "drugs" / "networks.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InputError, match=r"networks\.safetensors is missing or damaged"):
        ConceptCoder.from_pretrained(tmp_path / "coder")


def test_scores_without_the_views_are_refused(stacked: tuple[ConceptCoder, ConceptCoder]) -> None:
    scores, notes = make(5, 2, set(), set())
    with pytest.raises(InputError, match="another concept set"):
        stacked[1].predict_proba(scores)
    with pytest.raises(InputError, match="'n2-4' is not among them"):
        stacked[1].complete(scores, [coded.note for coded in notes[:4]])


def test_notes_without_drugs_cannot_train_it(llama: Path) -> None:
    scores, notes = make(40, 0, set(), set())
    bare = [replace(coded, note=replace(coded.note, drugs=())) for coded in notes]
    with pytest.raises(InputError, match="needs notes with `drugs` of at least two patients"):
        fit(scores, bare, [SMALL], llama)


def test_held_out_log_odds_come_from_networks_that_did_not_see_the_note(llama: Path) -> None:
    """With gold codes at random there is nothing to know: in-sample log-odds would follow them."""
    _, notes = make(200, 0, set(), set())
    concepts = ConceptSet.expand(CODES, load_ontology("icd9cm"))
    gold, _ = gold_matrix([coded.note.note_id for coded in notes], notes, CODES)
    fold = np.arange(200) // 2 % 4
    names = [f"drugname{first}{second}" for first in "abcdefghij" for second in "klmnopqrst"]  # each told two notes
    unique = [replace(c, note=replace(c.note, drugs=(names[i % 100],))) for i, c in enumerate(notes)]
    recipe = DrugRecipe(replace(SMALL.strategy, epochs=40, patience=40, dropout=0.0))
    expert, held_out = recipe.fit(unique, gold, concepts, fold, 0)
    known = gold[:, [CODES.index(code) for code in expert.codes]]
    seen = expert.log_odds([coded.note for coded in unique])
    assert area_metrics(known, seen)["micro_auc"] > area_metrics(known, held_out)["micro_auc"] + 0.05


def test_a_real_scorer_reads_the_text_and_the_network_the_drugs(fitted: Fitted) -> None:
    notes = [replace(coded, note=replace(coded.note, drugs=("Furosemide",))) for coded in fitted.train]
    scores = fitted.scores.select([coded.note.note_id for coded in notes])
    concepts = fitted.coder.concepts
    coder = ConceptCoder.fit(scores, notes, concepts, **fitted.arguments, experts=[SMALL], options=HeadOptions(folds=3))
    note = replace(fitted.test[0].note, text="Cough and fever. Chest pain. Urinary infection.", drugs=("Furosemide",))
    result = coder.code(note, evidence=True)
    again = coder.results(coder.complete(coder.scorer.score([note], coder.asked), [note]))
    assert [code.probability for code in next(again).codes] == [code.probability for code in result.codes]
