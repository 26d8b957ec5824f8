"""Whoever reads text reads the same of a note and of its copy from a word processor, a PDF file or a web page."""

from __future__ import annotations

import json
import random
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import concept_icd
from concept_icd.baselines.tfidf_svm import TfidfSvm
from concept_icd.cli.main import main
from concept_icd.coder.coder import ConceptCoder
from concept_icd.experts.terms import TermRecipe, said
from concept_icd.experts.words import tagged_words
from concept_icd.llm.prompts import NOTE_TEXTS, PromptTemplate, TokenizedPrompt
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.coverage import check_coverage
from concept_icd.ontology.retrieval import CodeRetriever
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodingResult, Note
from concept_icd.text.clause_words import Vocabulary, read_clauses
from tests.conftest import build_tokenizer

REPORTS = (
    ("HISTORY: Fever and cough.\nIMPRESSION: Right lower lobe pneumonia.", "486"),
    ("HISTORY: Persistent cough.\nIMPRESSION: Normal chest.", "786.2"),
    ("HISTORY: Follow-up of vesicoureteral reflux.\nIMPRESSION: Grade 2 vesicoureteral reflux on the left.", "593.70"),
    ("HISTORY: Urinary tract infection.\nIMPRESSION: No hydronephrosis, normal kidneys.", "599.0"),
    (
        "HISTORY: Three-day history of dry cough and high fever.\nIMPRESSION: Patchy consolidation of the right lower "
        "lobe, consistent with an early lobar pneumonia and not with collapse.",
        "486",
    ),
)
MARKS = "\u00ad\u200b\u200d\u2060\ufeff\u200e\ufe0f"


def scattered(text: str) -> str:
    """Marks that nobody sees within words and at their ends."""
    rng = random.Random(0)
    return "".join(character + (rng.choice(MARKS) if rng.random() < 0.3 else "") for character in text)


#: How copies of a note differ from it.
COPIES: dict[str, Callable[[str], str]] = {
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "narrow no-break spaces beside spaces": lambda text: text.replace(" ", " \u202f"),
    "tabs": lambda text: text.replace(" ", "\t"),
    "wide gaps": lambda text: text.replace(" ", "   "),
    "around it": lambda text: f"\ufeff\r\n\r\n  {text} \n\n",
    "wrapped": lambda text: "\n".join(part for line in text.split("\n") for part in textwrap.wrap(line, 50)),
    "indented": lambda text: text.replace("\n", "  \n    "),
    "CR LF": lambda text: text.replace("\n", "\r\n"),
    "line separators": lambda text: text.replace("\n", "\u2028"),
    "marks": scattered,
    "full width": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "ligatures and dashes": lambda text: text.replace("fi", "\ufb01").replace("fl", "\ufb02").replace("-", "\u2011"),
    "divided": lambda text: text.replace("pneumonia", "pneu-\nmonia").replace("kidneys", "kid-\r\nneys"),
    "divided softly": lambda text: text.replace("pneumonia", "pneu\u00ad\nmonia").replace("tent", "\u00ad\ntent"),
    "a real hyphen at the line's end": lambda text: text.replace("Follow-up", "Follow-\nup"),
}
CHANGED = [(name, text) for name, copy in COPIES.items() for text, _ in REPORTS if copy(text) != text]


@pytest.fixture(scope="module")
def coder() -> ConceptCoder:
    return ConceptCoder.from_pretrained("radiology")


@pytest.fixture(scope="module")
def plain(coder: ConceptCoder) -> dict[str, CodingResult]:
    return {text: coder.code(text) for text, _ in REPORTS}


@pytest.mark.parametrize("code", [code for _, code in REPORTS])
def test_the_reports_have_their_codes(plain: dict[str, CodingResult], code: str) -> None:
    text = next(text for text, own in REPORTS if own == code)
    assert code in {found.code for found in plain[text].accepted}


@pytest.mark.parametrize(("name", "text"), CHANGED)
def test_a_copy_gets_the_same_codes(coder: ConceptCoder, plain: dict[str, CodingResult], name: str, text: str) -> None:
    found, expected = coder.code(COPIES[name](text)), plain[text]
    assert [code.code for code in found.accepted] == [code.code for code in expected.accepted]
    chances = {code.code: code.probability for code in found.codes}
    assert chances == pytest.approx({code.code: code.probability for code in expected.codes}, abs=1e-6)
    assert found.unfamiliar == expected.unfamiliar


@pytest.mark.parametrize("name", ["no-break spaces", "around it", "marks", "divided", "full width"])
def test_evidence_stands_in_the_note_as_it_was_given(
    coder: ConceptCoder, plain: dict[str, CodingResult], name: str
) -> None:
    text = REPORTS[0][0]
    given = COPIES[name](text)
    record = Note("n", given)
    found = coder.code(record, evidence=True).accepted
    expected = coder.code(text, evidence=True).accepted
    assert [code.code for code in found] == [code.code for code in expected]
    for code, plain_code in zip(found, expected, strict=True):
        assert code.evidence
        passages = [given[start:end] for start, end in code.evidence]
        read = [Note("passage", passage).normalized.text for passage in passages]
        assert read == [text[start:end] for start, end in plain_code.evidence]
        assert all(passage == passage.strip() for passage in passages)


@pytest.mark.parametrize("name", ["no-break spaces", "tabs", "divided softly", "marks"])
def test_the_command_and_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    file = tmp_path / "report.txt"
    file.write_bytes(COPIES[name](REPORTS[1][0]).encode() + b"\n")
    assert main(["code", str(file), "--json", "--top", "2"]) == 0
    first = json.loads(capsys.readouterr().out)["codes"][0]
    assert (first["code"], first["accepted"]) == ("786.2", True)


def test_a_note_of_marks_alone_is_empty(coder: ConceptCoder) -> None:
    with pytest.raises(Exception, match="empty"):
        coder.code("\u200b\u00a0\ufeff\n")


# Whoever reads ------------------------------------------------------------------------------------------------------

NOTE = REPORTS[2][0] + "\nFINDINGS: Crohn's disease, 5-mm stone; no cough."
COPY = scattered(
    NOTE.replace(" ", "\u00a0\t").replace("\n", "\r\n").replace("'", "\u2019").replace("5-mm", "5\u2013mm")
)


def _tokens(note: Note) -> Any:
    tokenizer = build_tokenizer()
    return [
        TokenizedPrompt(PromptTemplate.load(), tokenizer, length, note_text).encode_note(note, 8).ids
        for length in (180, 400)
        for note_text in NOTE_TEXTS
    ]


def _ltr_icd(note: Note) -> Any:
    pytest.importorskip("torch")
    from concept_icd.baselines.ltr_icd.data import NoteEncoder

    return NoteEncoder(build_tokenizer(), 400).encode(note)[0].tolist()


def _retrieved(note: Note) -> Any:
    pytest.importorskip("bm25s")
    return CodeRetriever.of(ConceptSet.expand(("486", "593.70", "599.0"), load_ontology())).scores(note).tolist()


def _terms(note: Note) -> Any:
    concepts = ConceptSet.expand(("486", "786.2", "386.0"), load_ontology())
    found = said(note.normalized.text, TermRecipe.read().terms_of(concepts))
    assert found
    return found


def _words(note: Note) -> Any:
    return tagged_words(note.normalized.text)


def _clauses(note: Note) -> Any:
    vocabulary = Vocabulary()
    return read_clauses([note.normalized.text], vocabulary).grams.tolist(), vocabulary.words


def _coverage(note: Note) -> Any:
    pytest.importorskip("bm25s")
    return check_coverage(["vesicoureteral reflux", "crohn disease", "stone"], [note])


def _svm(note: Note) -> Any:
    texts = ["reflux on the left", "no fever", "Crohn's disease", "a normal chest"] * 3
    gold = np.array([[i % 4 < 2, i % 4 == 2] for i in range(12)])
    return TfidfSvm.fit(texts, gold, list(range(12)), cs=(1.0,)).predict_proba([note.text]).tolist()


@pytest.mark.parametrize("read", [_tokens, _ltr_icd, _retrieved, _terms, _words, _clauses, _coverage, _svm])
def test_every_reader_reads_the_same(read: Callable[[Note], Any]) -> None:
    assert read(Note("n", COPY)) == read(Note("n", NOTE))


def test_no_reader_of_words_takes_the_text_as_it_was_given() -> None:
    """The authors' own words of `ltr_icd` are theirs to the letter."""
    cut = "sentence_spans|sentence_windows|clauses|split_sections"
    readers = rf"tokenizer|_hashes|said|{cut}|read_clauses|tagged_words|stems|words_of"
    raw = re.compile(rf"\b(?:{readers})\((?:\w+\.)*note\.text\b")
    package = Path(concept_icd.__file__).parent
    found = [path.name for path in package.rglob("*.py") if raw.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_views_read_the_same(coder: ConceptCoder) -> None:
    assert [expert.level for expert in coder.experts] == ["words", "terms"]
    for expert in coder.experts:
        of_copy, of_note = expert.log_odds([Note("n", COPY), Note("n", NOTE)])
        assert np.array_equal(of_copy, of_note, equal_nan=True)


def test_what_was_not_read_is_told_in_characters_of_the_note_as_it_was_given() -> None:
    text = "Cough.\u00a0\u00a0 Fever\u00ad. " * 60
    found = TokenizedPrompt(PromptTemplate.load(), build_tokenizer(), 120, "whole").encode_note(Note("n", text), 8)
    ((start, end),) = found.read
    assert found.truncated is not None
    assert f"(characters 0 to {end:,} of {len(text):,})" in found.truncated
    assert start == 0
    kept = Note("kept", text[:end])
    again = TokenizedPrompt(PromptTemplate.load(), build_tokenizer(), 4000, "whole").encode_note(kept, 8)
    assert again.ids == found.ids


def test_accents_are_no_difference_between_words() -> None:
    assert tagged_words(
        "Sj\u00f6gren; Me\u0301nie\u0300re".replace("e\u0301", "\u00e9").replace("e\u0300", "\u00e8")
    ) == tagged_words("Sjogren; Meniere")
    concepts = ConceptSet.expand(("386.0",), load_ontology())
    terms = TermRecipe.read().terms_of(concepts)
    assert said("M\u00e9ni\u00e8re's disease.", terms) == said("Meniere's disease.", terms) == [(0, "", "+")]
