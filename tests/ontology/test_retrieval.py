"""The retriever: words of a note bring codes, by their own titles, phrases and ancestors."""

import numpy as np
import pytest

pytest.importorskip("bm25s")

from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.retrieval import CodeRetriever
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Note
from concept_icd.scoring.selection import SelectionRule, TopDownSelection, ask_stored
from concept_icd.scoring.serialization import questions_from_json, questions_to_json

CODES = ("250.00", "401.9", "428.0", "486", "493.90", "599.0", "780.6", "786.2", "38.93")
PHRASES = {"486": ["lung infection"]}


@pytest.fixture(scope="module")
def concepts() -> ConceptSet:
    return ConceptSet.expand(CODES, load_ontology(), phrases=PHRASES)


def found(retriever: CodeRetriever, text: str, count: int = 3) -> list[str]:
    return [CODES[column] for column in retriever.best(Note("n", text), count)]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Admitted with congestive heart failure.", "428.0"),
        ("The patient has asthma. Wheezing on the right.", "493.90"),
        ("Treated for a lung infection.", "486"),
        ("Long story. " * 50 + "Urinary tract infection, site unclear. " + "Another story. " * 50, "599.0"),
    ],
)
def test_a_code_is_found_by_its_title_or_phrase(concepts, text, code):
    assert found(CodeRetriever.of(concepts), text)[0] == code


def test_what_shares_no_word_is_not_a_candidate(concepts):
    retriever = CodeRetriever.of(concepts)
    assert found(retriever, "xyzzy plugh") == []
    assert found(retriever, "...") == []
    assert len(found(retriever, "pneumonia, asthma, cough and heart failure", 2)) == 2


def test_ancestors_help_but_a_title_of_its_own_counts_more(concepts):
    scores = CodeRetriever.of(concepts).scores(Note("n", "Fever. Disease of the respiratory system."))
    rank = {code: scores[column] for column, code in enumerate(CODES)}
    assert min(rank["486"], rank["493.90"]) > max(rank["250.00"], rank["401.9"])


def test_a_long_title_is_not_found_for_its_length():
    retriever = CodeRetriever(2, ("renal failure", "chronic kidney disease stage five"), ((0,), (1,)), ("", ""))
    assert retriever.best(Note("n", "chronic kidney disease noted, renal failure"), 1).tolist() == [0]


def test_a_phrase_of_an_inner_node_brings_every_code_below_it():
    codes = ("250.00", "250.02", "486")
    concepts = ConceptSet.expand(codes, load_ontology(), phrases={"250": ["sugar sickness"]})
    best = CodeRetriever.of(concepts).best(Note("n", "known sugar sickness"), 3)
    assert sorted(best) == [0, 1]


def test_codes_without_ancestors_can_be_retrieved():
    flat = ConceptSet.expand(CODES, load_ontology(), levels=["code"])
    assert found(CodeRetriever.of(flat), "asthma") == ["493.90"]


def test_retrieved_codes_are_asked_with_all_that_covers_them(concepts):
    retriever = CodeRetriever.of(concepts)
    note = Note("n", "asthma and cough")
    expected = {row for column in retriever.best(note, 2) for row in concepts.on_path(CODES[column])}
    logits = np.full((1, len(concepts)), -5, dtype=np.float32)
    alone = TopDownSelection.over(concepts, load_ontology(), SelectionRule({}, {}, retrieve=2, descend=False))
    _, travelled = questions_from_json(questions_to_json(concepts.concepts, alone))
    for plan in (alone, travelled):
        assert set(np.flatnonzero(ask_stored(plan, [note], logits)[0])) == expected
    union = TopDownSelection.over(concepts, load_ontology(), SelectionRule({"chapter": 0.0}, {}, retrieve=2))
    assert set(np.flatnonzero(ask_stored(union, [note], logits)[0])) == expected | set(union.first)
    assert union.hash != alone.hash
