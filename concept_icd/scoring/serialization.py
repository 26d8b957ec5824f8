"""What travels between processes, as JSON: a scorer's spec, the questions, notes and records.

The same bits come out, and nothing is unpickled.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from concept_icd.errors import InputError
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Concept, Note
from concept_icd.scoring.executors import Record
from concept_icd.scoring.scorer import NoteFailure, NoteScores, QuestionPlan, Scorer
from concept_icd.scoring.selection import SelectionRule, TopDownSelection
from concept_icd.scoring.specs import ScorerSpec


def spec_to_json(make_scorer: Callable[[], Scorer]) -> bytes:
    """Of what makes a scorer.

    Raises:
        TypeError: it is no `ScorerSpec`, or one of its options is no JSON.
    """
    if not isinstance(make_scorer, ScorerSpec):
        raise TypeError(f"what makes the scorer is a {type(make_scorer).__name__}; another process needs a ScorerSpec")
    return json.dumps(asdict(make_scorer)).encode()


def spec_from_json(content: bytes) -> ScorerSpec:
    """What `spec_to_json` was given."""
    fields = json.loads(content)
    prompt = fields["prompt"]
    return ScorerSpec(
        **{**fields, "prompt": PromptTemplate(**{**prompt, "yes": tuple(prompt["yes"]), "no": tuple(prompt["no"])})}
    )


def questions_to_json(concepts: Sequence[Concept], plan: QuestionPlan | None) -> bytes:
    """Of the concepts, in order, and of the plan over them: its rule, and what else it was made from.

    Raises:
        TypeError: the plan is no `TopDownSelection`.
    """
    questions: dict[str, Any] = {"concepts": [asdict(concept) for concept in concepts], "plan": None}
    if plan is not None:
        if not isinstance(plan, TopDownSelection):
            raise TypeError(f"the plan is a {type(plan).__name__}; another process needs a TopDownSelection")
        questions["plan"] = {
            "codes": plan.concepts.codes,
            "aliases": dict(plan.concepts.aliases),
            "classification": plan.classification,
            "rule": {name: value for name, value in vars(plan.rule).items() if name != "fitted"},
            "hash": plan.hash,
        }
    return json.dumps(questions).encode()


def questions_from_json(content: bytes) -> tuple[tuple[Concept, ...], TopDownSelection | None]:
    """What `questions_to_json` was given; of the plan's rule, all but the figures.

    Raises:
        InputError: the plan would ask something else here.
    """
    questions = json.loads(content)
    concepts = tuple(Concept(**{**fields, "codes": tuple(fields["codes"])}) for fields in questions["concepts"])
    if (plan := questions["plan"]) is None:
        return concepts, None
    concept_set = ConceptSet(tuple(plan["codes"]), concepts, plan["aliases"])
    selection = TopDownSelection.over(concept_set, load_ontology(plan["classification"]), SelectionRule(**plan["rule"]))
    if selection.hash != plan["hash"]:
        raise InputError("the selection asks something else here: install the same version of concept-icd everywhere")
    return concepts, selection


def notes_to_json(notes: Sequence[Note]) -> bytes:
    """Of the notes, in order."""
    return json.dumps([asdict(note) for note in notes]).encode()


def notes_from_json(content: bytes) -> list[Note]:
    """What `notes_to_json` was given."""
    return [Note(**{**fields, "drugs": tuple(fields["drugs"])}) for fields in json.loads(content)]


def answer_to_json(answer: Sequence[Record] | str) -> bytes:
    """Of the records of a shard, or of the sentence of what ends the run."""
    return json.dumps(answer if isinstance(answer, str) else [_fields(record) for record in answer]).encode()


def answer_from_json(content: bytes) -> list[Record] | str:
    """What `answer_to_json` was given."""
    answer = json.loads(content)
    return answer if isinstance(answer, str) else [_record(fields) for fields in answer]


def _fields(record: Record) -> dict[str, Any]:
    if isinstance(record, NoteFailure):
        return asdict(record)
    asked = None if record.asked is None else _array(record.asked)
    return {**vars(record), "logits": _array(record.logits), "asked": asked}


def _record(fields: dict[str, Any]) -> Record:
    if "reason" in fields:
        return NoteFailure(**fields)
    asked = None if fields["asked"] is None else _read_array(fields["asked"])
    return NoteScores(**{**fields, "logits": _read_array(fields["logits"]), "asked": asked})


def _array(values: np.ndarray) -> tuple[str, str]:
    """Of one dimension: its type, and its bytes in base 64."""
    return values.dtype.str, base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _read_array(written: Sequence[str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(written[1]), dtype=np.dtype(written[0])).copy()
