"""concept-icd: a clinical note in; ranked, classified ICD-9-CM codes out, each with the concepts that carried it.

    >>> from concept_icd import ConceptCoder
    >>> coder = ConceptCoder.from_pretrained("radiology")
    >>> result = coder.code("Cough and fever. Right lower lobe pneumonia.")
    >>> [(code.code, code.title) for code in result.accepted]
    [('486', 'Pneumonia, organism unspecified')]

Importing the package imports neither torch nor transformers; the names below load on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

_LAZY = {
    "CodedNote": "concept_icd.records",
    "Concept": "concept_icd.records",
    "ConceptCoder": "concept_icd.coder.coder",
    "ConceptSet": "concept_icd.ontology.concepts",
    "InputError": "concept_icd.errors",
    "Note": "concept_icd.records",
    "Ontology": "concept_icd.ontology.tree",
    "PackedScorer": "concept_icd.scoring.packed",
    "PromptTemplate": "concept_icd.llm.prompts",
    "load_ontology": "concept_icd.ontology.tree",
}
__all__ = ["__version__", *_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from concept_icd.errors import extras

        with extras():
            return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'concept_icd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
