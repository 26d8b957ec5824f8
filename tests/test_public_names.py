"""The names that the README of version 0.1 showed in Python go on working, wherever their modules lie."""

import dataclasses
import importlib

import pytest

import concept_icd

README = [
    ("concept_icd", "ConceptCoder"),
    ("concept_icd.metrics", "classification_metrics"),
    ("concept_icd.metrics", "rank_errors_at_recall"),
]
#: Also the modules that kept their names when others moved.
MODULES = [
    ("concept_icd.coder", "ConceptCoder"),
    ("concept_icd.corpora", "load_corpus"),
    ("concept_icd.corpora", "synthetic_notes"),
    ("concept_icd.ontology", "load_ontology"),
    ("concept_icd.pipeline", "run_pipeline"),
    ("concept_icd.records", "Note"),
]


@pytest.mark.parametrize(("module", "name"), README + MODULES)
def test_a_shown_name_imports(module, name):
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("name", [name for name in concept_icd.__all__ if name != "__version__"])
def test_a_name_of_the_package_is_the_one_of_its_module(name):
    found = getattr(concept_icd, name)
    assert found is getattr(importlib.import_module(found.__module__), name)


def test_a_result_has_what_was_shown():
    from concept_icd.records import CodingResult, RankedCode

    result, code = ({field.name for field in dataclasses.fields(kind)} for kind in (CodingResult, RankedCode))
    assert result >= {"truncated", "read_first"}
    assert all(hasattr(CodingResult, name) for name in ("principal", "accepted", "top", "read_for"))
    shown = {"rank", "code", "title", "probability", "accepted", "path", "concepts", "evidence", "expected_recall"}
    assert code >= shown
