"""Questions about a small part of the classification, for all tests of warm-up."""

import pytest

from concept_icd.ontology.tree import load_ontology
from concept_icd.warmup.data import OpenText, Topic, collect_terms
from concept_icd.warmup.questions import QuestionMaker

NOTES = (
    "CLINICAL HISTORY: Cough for two days. Rule out pneumonia.\nIMPRESSION: No pneumonia. Mild hydronephrosis.",
    "The patient has asthma and a cough. She denies fever.",
)
TOPICS = (
    Topic(("Hydronephrosis", "Dilated kidney"), ("The kidney swells when urine cannot drain. Pain may follow.",)),
    Topic(("Scurvy",), ("Gums bleed when the diet lacks vitamin C. Wounds heal slowly.",)),
)


@pytest.fixture(scope="session")
def maker() -> QuestionMaker:
    """Questions about the respiratory and the genitourinary chapter, from titles and a handful of terms."""
    ontology = load_ontology("icd9cm")
    texts = {
        code: ontology.title(code)
        for chapter in ("460-519", "580-629", "780-799", "140-239", "55-59")
        for code in (chapter, *ontology.descendants(chapter))
    }
    inclusions = {"189.0": ["Kidney NOS"], "591": ["Hydrocalycosis"]}
    index = [("Pneumonia", "486"), ("Cough", "786.2"), ("Fever", "780.60"), ("Asthma", "493.90")]
    terms = collect_terms(ontology, texts, inclusions, index, TOPICS, NOTES, seed=1)
    return QuestionMaker(terms, OpenText(NOTES, NOTES, TOPICS, {}))
