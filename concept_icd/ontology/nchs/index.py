"""Reads an alphabetic index: which terms lead to which code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from concept_icd.errors import InputError
from concept_icd.ontology.nchs.files import CODE, read_text, tidy
from concept_icd.ontology.nchs.rtf import read_paragraphs
from concept_icd.ontology.phrases import plain_phrases


@dataclass(frozen=True)
class IndexEntry:
    """One line of the alphabetic index that ends in a code.

    Attributes:
        terms: main term, subterm, ...; without cross-references, morphology numbers and nonessential modifiers
            (which stand in parentheses).
        code: dotted, as printed; it may need a further digit.
        manifestation: the second code, printed in brackets.
    """

    terms: tuple[str, ...]
    code: str
    manifestation: str | None = None

    @property
    def phrase(self) -> str:
        """The terms in natural word order: ("Failure", "heart", "congestive") -> "congestive heart failure".

        Subterms stand before the main term, the narrowest first, until one begins with a preposition; from there they
        follow: ("Failure", "dental implant", "due to", "infection") -> "dental implant failure due to infection". A
        main term that ends in a preposition comes first: ("History of", "allergy", "latex") -> "history of latex
        allergy".
        """
        main, before, after = self.terms[0], list[str](), list[str]()
        for term in self.terms[1:]:
            (after if after or _PREPOSITION.match(term) else before).append(term)
        if before and main[1:2].islower() and "'" not in main:
            main = main[0].lower() + main[1:]
        if before and _OPEN.search(main):
            before.append(main)
        else:
            before.insert(0, main)
        words = " ".join([*reversed(before), *after])
        return re.sub(r"\s+", " ", re.sub(r"\b(NEC|NOS)\b|,(?= |$)", " ", words)).strip()


_PREPOSITION = re.compile(
    r"(with|without|due|in|of|following|affecting|by|during|from|to|for|complicating|associated|involving|causing|as|at|"
    r"after|on|secondary to|resulting|through|under|or|and|requiring|when|via|using)\b"
)
_OPEN = re.compile(r" (of|to|for|from|with|by|in)$")
#: The columns of the two tables inside the index of diseases.
_TABLES = {
    "Neoplasm": (
        "Primary malignant neoplasm",
        "Secondary malignant neoplasm",
        "Carcinoma in situ",
        "Benign neoplasm",
        "Neoplasm of uncertain behavior",
        "Neoplasm of unspecified nature",
    ),
    "Hypertension": ("Malignant hypertension", "Benign hypertension", "Hypertension"),
}


def read_index(path: str | Path) -> list[IndexEntry]:
    """The entries of an alphabetic index that end in a code, in the order of the index.

    Of the neoplasm and hypertension tables, each cell is an entry, its column named in the main term.

    Raises:
        InputError: the file is missing, damaged or no index in RTF (plain conversions lose the indents).
    """
    text = read_text(Path(path))
    entries: list[IndexEntry] = []
    terms: list[str] = []
    paragraphs = read_paragraphs(text) if text.startswith("{\\rtf") else ()
    for paragraph in paragraphs:
        if not re.fullmatch(r"H[2-9]", paragraph.style):  # H2 is a main term, H3 to H9 its subterms
            continue
        depth = int(paragraph.style[1]) - 2
        words, *cells = re.split(r"\s*\t\s*", paragraph.text)
        code = None
        if not cells:
            code = re.search(rf"(?:^|\s)({CODE})(?:\s*\[({CODE})\])?\W*$", words)
            words = words[: code.start()] if code else words
        terms[depth:] = [_term(words)]
        if code:
            entries.append(IndexEntry(tuple(filter(None, terms)), code[1], code[2]))
        elif cells and (columns := _TABLES.get(terms[0])):
            for column, cell in zip(columns, cells, strict=False):
                if re.fullmatch(CODE, cell.rstrip("*").strip()):
                    entries.append(IndexEntry(_table_terms(column, terms[1:]), cell.rstrip("*").strip()))
    if not entries:
        raise InputError(f"{path} does not read as an alphabetic index of ICD-9-CM; give Dindex12.zip or Pindex12.zip")
    return entries


def _table_terms(column: str, terms: list[str]) -> tuple[str, ...]:
    if "ypertension" in column or not terms:
        return (column, *filter(None, terms))
    return (column, f"of {terms[0]}", *filter(None, terms[1:]))


def _term(words: str) -> str:
    words = re.sub(r"\s*-+\s*see\b.*|\s*-+\s*omit code.*", "", tidy(words))
    while (shorter := re.sub(r"\([^()]*\)|\[[^\[\]]*\]", "", words)) != words:
        words = shorter
    words = re.sub(r"[\s,]*,", ",", re.sub(r"\s+", " ", words)).strip(" ,;-*")
    first, comma, rest = words.partition(", ")
    # "Failure, failed", "abdomen, abdominal": forms of one word, of which the first is enough.
    return first if comma and rest[:3].lower() == first[:3].lower() else words


def index_phrases(path: str | Path, codes: Iterable[str]) -> dict[str, list[str]]:
    """Code -> the index terms that lead to exactly this code, in natural word order."""
    phrases: dict[str, list[str]] = {code: [] for code in codes}
    for entry in read_index(path):
        if entry.code in phrases:
            phrases[entry.code].append(entry.phrase)
    return {code: list(plain_phrases(found)) for code, found in phrases.items()}
