"""Records as logs and tracebacks print them: one line, and nothing of a note's text."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re

import numpy as np

import concept_icd
from concept_icd.records import CodedNote, CodingResult, Note, OneLine, RankedCode

SECRET = "zebrafish"


def records() -> list[object]:
    from concept_icd.corpora.store import Corpus
    from concept_icd.llm.prompts import EncodedNote
    from concept_icd.scoring.executors import Shard
    from concept_icd.scoring.scorer import ConceptScores, NoteFailure
    from concept_icd.scoring.store import Job
    from concept_icd.text.clause_words import Vocabulary, read_clauses
    from concept_icd.text.sentences import clauses

    note = Note(SECRET[:4], f"{SECRET} and cough. " * 50, SECRET, 54.123456789, "F", (SECRET,) * 90)
    coded = CodedNote(note, ("428.0",) * 300, ("38.93",) * 300, {SECRET: ("486",)}, "train", "486")
    ranked = RankedCode(1, "428.0", "diagnosis", "Heart failure" * 9, 1 / 3, True, ("a",) * 9, (), ((0, 4),) * 99)
    logits = np.zeros((1, 3), dtype=np.float32)
    return [
        note,
        coded,
        ranked,
        CodingResult("n" * 500, (ranked,) * 900, SECRET, {"model": SECRET * 9}, 3, 1 / 3, False),
        Corpus((coded,) * 500, {"task": "x" * 500}),
        EncodedNote("n", tuple(range(5000)), None, ((0, 5000),)),
        Job("adapter", [note] * 500, lambda: None),  # type: ignore[arg-type, return-value]
        Shard(0, None, (note,) * 500, "adapter", None),  # type: ignore[arg-type]
        ConceptScores(("n",) * 1, "0" * 64, logits, (None,), True),
        NoteFailure("n", f"the note is too long {SECRET}"),
        read_clauses([note.text], Vocabulary()),
        next(iter(clauses(note.text))),
    ]


def test_a_record_is_one_line_without_text():
    for record in records():
        line = repr(record)
        assert "\n" not in line
        assert len(line) <= 120
        assert SECRET not in line
        assert line.startswith(f"{type(record).__name__}(")


def test_a_coder_and_its_parts_are_one_line_each(fitted):
    coder = fitted.coder
    for record in (coder, coder.heads, coder.concepts, coder.prompt, coder.model, fitted.scores):
        assert len(repr(record)) <= 120
        assert "\n" not in repr(record)
    result = coder.code(f"{SECRET} and cough")
    assert SECRET not in repr(result)
    assert repr(Note("n1", "Cough and fever.", age=54)) == (
        "Note(note_id='n1', text=<16 characters>, patient_id=None, age=54, sex=None, drugs=<0 items>)"
    )


def test_every_dataclass_that_holds_notes_or_text_is_such_a_record():
    """By the names and types of their fields, so that a new one is not forgotten."""
    told = {"text", "texts", "passages", "documents"}
    # Words of the classification, of open pages, or of a setting's name; none is of a note.
    whole = {
        "Finding",
        "Paragraph",
        "_Line",
        "LearnedOrder",
        "CodeTerms",
        "Category",
        "Term",
        "ModelOptions",
        "NoteEncoder",
    }
    found = []
    for module in pkgutil.walk_packages(concept_icd.__path__, "concept_icd."):
        if module.name.rpartition(".")[2] == "__main__" or ".migrations" in module.name:
            continue
        try:
            content = importlib.import_module(module.name)
        except ImportError:  # an optional package is not here
            continue
        for name, kind in vars(content).items():
            if not dataclasses.is_dataclass(kind) or getattr(kind, "__module__", "") != module.name:
                continue
            fields = dataclasses.fields(kind)
            holds = any(field.name in told or re.search(r"\b(Coded)?Note\b", str(field.type)) for field in fields)
            if holds and not issubclass(kind, OneLine) and name not in whole:  # type: ignore[arg-type]
                found.append(f"{module.name}.{name}")
    assert not found
