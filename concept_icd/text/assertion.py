"""The words of a note, each with the section it stands in and whether the sentence affirms, denies or doubts it.

Cues of denial and doubt are general English, after NegEx (Chapman et al. 2001, "A simple algorithm for identifying
negated findings and diseases in discharge summaries"): a cue of denial reaches to the end of its clause, one of doubt
the whole clause. None of them is about a code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from concept_icd.errors import OneLine
from concept_icd.text.folding import fold

_HEADING = re.compile(r"^[ \t]*([A-Za-z][A-Za-z /&-]{1,40}):", re.MULTILINE)
_CLAUSE = re.compile(r"(?<=[.;])\s+|\n+|\b(?:but|however|although|except)\b")
#: Words that deny whatever comes after them, as alternatives of a pattern.
DENYING = "no|not|without|denies|denied|never"
_DENIAL = re.compile(
    rf"\b(?:{DENYING}|nor|neither|absent|absence of|negative for|free of|rather than|"
    r"ruled out|resolved|resolution of)\b"
)
_DOUBT = re.compile(
    r"\b(?:possibl[ey]|probabl[ey]|likely|may|might|could|cannot|suspect\w*|suggest\w*|question\w*|concern\w*|"
    r"appears?|versus|vs|or|consistent with|compatible with|evaluate|rule out|r/o)\b"
)
_WORD = re.compile(r"[a-z0-9/]+")
Status = Literal["+", "?", "-"]


@dataclass(frozen=True, repr=False)
class Clause(OneLine):
    """A clause of a note.

    Attributes:
        heading: what stands above it, in lower case; "" before the first heading.
        text: in lower case, without accents. denied_from: where in it a denial begins. doubted: whether it holds a cue
            of doubt.
    """

    heading: str
    text: str
    denied_from: int | None
    doubted: bool

    @property
    def section(self) -> str:
        """The last word of the heading."""
        return self.heading.split()[-1] if self.heading else ""

    def status(self, place: int) -> Status:
        """Whether what begins there is affirmed (+), doubted (?) or denied (-)."""
        if self.denied_from is not None and place >= self.denied_from:
            return "-"
        return "?" if self.doubted else "+"


def tagged_words(text: str) -> frozenset[str]:
    """The features of a note: words and pairs of neighbours, bare, and with section, status, or both before them.

    >>> sorted(tagged_words("IMPRESSION: No pneumonia."))[:4]
    ['-no', '-no_pneumonia', '-pneumonia', 'impression:-no']
    """
    return frozenset(term for clause in clauses(text) for term in _of_clause(clause))


def clauses(text: str) -> Iterator[Clause]:
    """The clauses of a normalised text, in order."""
    for heading, part in _sections(text):
        for clause in _CLAUSE.split(fold(part)):
            denial = _DENIAL.search(clause)
            yield Clause(heading, clause, denial.start() if denial else None, bool(_DOUBT.search(clause)))


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Headings that begin a line, in lower case ("" before the first), and what follows each."""
    name, start = "", 0
    for heading in _HEADING.finditer(text):
        yield name, text[start : heading.start()]
        name, start = heading[1].lower(), heading.end()
    yield name, text[start:]


def _of_clause(clause: Clause) -> Iterator[str]:
    words, section = [(word[0], clause.status(word.start())) for word in _WORD.finditer(clause.text)], clause.section
    for word, status in words:
        yield from _tagged(word, section, status)
    for (first, _), (second, status) in pairwise(words):
        yield from _tagged(f"{first}_{second}", section, status)


def _tagged(term: str, section: str, status: str) -> tuple[str, ...]:
    return term, f"{section}:{term}", f"{status}{term}", f"{section}:{status}{term}"
