"""From the folder of public corpora to what a run takes: the question maker and the streams of running text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from concept_icd.ontology.concepts import node_text
from concept_icd.ontology.nchs import lists_and_indexes
from concept_icd.ontology.tree import load_ontology
from concept_icd.ontology.wordings import read_entries, read_inclusions
from concept_icd.tuning.pretraining_questions import QuestionMaker
from concept_icd.tuning.pretraining_terms import collect_terms
from concept_icd.tuning.pretraining_text import OpenText


def read_question_maker(data_dir: str | Path, text: OpenText, seed: int) -> QuestionMaker:
    """The question maker for the whole classification; the NCHS files are in `data_dir`/icd9cm/nchs_2011.

    Raises:
        InputError: one of the NCHS files is missing or damaged.
    """
    tabular, index = lists_and_indexes(data_dir)
    ontology = load_ontology("icd9cm")
    texts = {code: node_text(ontology, code) for code in ontology.codes(billable=False)}
    said = read_inclusions(tabular), read_entries(index, texts)
    return QuestionMaker(collect_terms(ontology, texts, *said, text.topics, text.notes, seed), text)


def text_streams(text: OpenText, maker: QuestionMaker) -> list[list[str]]:
    """Three streams of running text: clinical notes, medical pages, and the classification itself."""
    notes = set(text.notes)
    return [list(text.notes), [page for page in text.documents if page not in notes], list(_classification(maker))]


def _classification(maker: QuestionMaker) -> Iterator[str]:
    terms = maker.terms
    for code, wordings in terms.wordings.items():
        above = " > ".join(terms.texts[ancestor] for ancestor in terms.paths[code] if ancestor in terms.texts)
        yield f"{above}: {'; '.join(wordings)}"
