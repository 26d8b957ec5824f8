"""What travels between processes comes out as it went in, bit for bit."""

import json
from pathlib import Path

import numpy as np
import pytest

from concept_icd.errors import InputError
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Note
from concept_icd.scoring.scorer import NoteFailure, NoteScores
from concept_icd.scoring.selection import SelectionRule, TopDownSelection
from concept_icd.scoring.serialization import (
    answer_from_json,
    answer_to_json,
    notes_from_json,
    notes_to_json,
    questions_from_json,
    questions_to_json,
    spec_from_json,
    spec_to_json,
)
from concept_icd.scoring.specs import ScorerSpec


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


def test_a_spec_comes_out_as_it_went_in():
    options = {"max_length": 300, "dtype": None, "load_in_4bit": True, "engine": {"cuda_graph_sizes": [1, 2]}}
    for spec in (
        ScorerSpec("packed", "tiny", None, PromptTemplate.load()),
        ScorerSpec("server", "model", "adapter\ud800", PromptTemplate.load(), options, "http://host:8000"),
    ):
        again = spec_from_json(spec_to_json(spec))
        assert again == spec
        assert again.prompt.hash == spec.prompt.hash
    with pytest.raises(TypeError):
        spec_to_json(ScorerSpec("packed", "tiny", None, PromptTemplate.load(), {"cache": Path("folder")}))


def test_questions_and_their_plan_come_out_as_they_went_in():
    codes = ("66.", "66.0", "486", "428.0", "38.93")
    concepts = ConceptSet.expand(codes, load_ontology(), phrases={"486": ["lung infection"]}, aliases={"66.": "66.0"})
    assert questions_from_json(questions_to_json(concepts.concepts, None)) == (concepts.concepts, None)
    rule = SelectionRule({"chapter": 0.1, "code": 1 / 3}, {"chapter": -1e-7}, 0.3, 12, 2, False, {"kept": 0.9})
    plan = TopDownSelection.over(concepts, load_ontology(), rule)
    sent = questions_to_json(concepts.concepts, plan)
    found, again = questions_from_json(sent)
    assert found == concepts.concepts
    assert again.concepts == concepts
    assert again.rule.hash == rule.hash
    assert again.hash == plan.hash
    for name in ("first", "bars", "fill"):
        assert getattr(again, name).tobytes() == getattr(plan, name).tobytes()
    with pytest.raises(TypeError, match="the plan is a SelectionRule; another process needs a TopDownSelection"):
        questions_to_json(concepts.concepts, rule)
    other = json.loads(sent)
    other["plan"]["rule"]["budget"] = 13
    with pytest.raises(InputError, match="install the same version of concept-icd everywhere"):
        questions_from_json(json.dumps(other).encode())
