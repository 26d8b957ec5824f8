"""The words of a note, each with the section it stands in and whether the sentence affirms, denies or doubts it.

Cues of denial and doubt are general English, after NegEx (Chapman et al. 2001, "A simple algorithm for identifying
negated findings and diseases in discharge summaries"): a cue of denial reaches to the end of its clause, one of doubt
the whole clause. None of them is about a code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

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


def tagged_words(text: str) -> frozenset[str]:
    """The features of a note: words and pairs of neighbours, bare, and with section, status, or both before them.

    >>> sorted(tagged_words("IMPRESSION: No pneumonia."))[:4]
    ['-no', '-no_pneumonia', '-pneumonia', 'impression:-no']
    """
    found = set[str]()
    for section, part in _sections(text):
        for clause in _CLAUSE.split(part.lower()):
            found.update(_of_clause(clause, section))
    return frozenset(found)


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Headings that begin a line, by their last word in lower case ("" before the first), and what follows each."""
    section, start = "", 0
    for heading in _HEADING.finditer(text):
        yield section, text[start : heading.start()]
        section, start = heading[1].split()[-1].lower(), heading.end()
    yield section, text[start:]


def _of_clause(clause: str, section: str) -> Iterator[str]:
    denial, doubt = _DENIAL.search(clause), _DOUBT.search(clause)
    words = list(_WORD.finditer(clause))
    tags = [("-" if denial and word.start() >= denial.start() else "?" if doubt else "+") for word in words]
    for word, status in zip(words, tags, strict=True):
        yield from _tagged(word[0], section, status)
    for (first, _), (second, status) in pairwise(zip(words, tags, strict=True)):
        yield from _tagged(f"{first[0]}_{second[0]}", section, status)


def _tagged(term: str, section: str, status: str) -> tuple[str, ...]:
    return term, f"{section}:{term}", f"{status}{term}", f"{section}:{status}{term}"
