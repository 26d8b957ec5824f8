"""Where a note is cut: into sentences, clauses and parts. Spans are (start, end) in the text, end exclusive.

- A *sentence* ends at a line's end, or at a stop before a capital or the number of a list.
- A *clause* is as far as a cue of denial or doubt reaches (`assertion`). It ends at every line's end, stop and
  semicolon, so an item of a list is a clause, and at words such as "but".
- A *part* of a sentence is the least that is shown as evidence: it ends at commas and joining words, but what a clause
  denies stays together.

`sections` cuts a note at its headings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from concept_icd.errors import OneLine
from concept_icd.text.assertion import Status, denied_from, is_doubted
from concept_icd.text.sections import HEADING, headed_parts
from concept_icd.text.words import fold

Span = tuple[int, int]

#: "Jan. 2" and "approx. half" stay in one sentence.
_SENTENCE_END = re.compile(r"\n+|(?<=[.!?;])\s+(?=\d+[.)]\s|[^a-z0-9\s])")
_CLAUSE_END = re.compile(r"(?<=[.;])\s+|\n+|\b(?:but|however|although|except)\b", re.IGNORECASE)
_PART_END = re.compile(
    r"[,;:]\s+|\s+(?=(?:and|but|however|although|except|with|without|which|who|rule out)\b)", re.IGNORECASE
)
#: A piece without two letters in a row ("1.") belongs to what follows.
WORD = re.compile(r"[^\W\d_]{2}")
#: A sentence of more parts is a list without end, which stays whole.
_MOST_PARTS = 32
#: Sentences of a window, and from the beginning of one window to that of the next.
WINDOW, STRIDE = 3, 2


def sentence_spans(text: str) -> list[Span]:
    """Spans of the sentences, without the blanks around them.

    >>> text = "Seen on Jan. 2 at home. No fever! 1. Gout. 2. Asthma"
    >>> [text[start:end] for start, end in sentence_spans(text)]
    ['Seen on Jan. 2 at home.', 'No fever!', '1. Gout.', '2. Asthma']
    """
    return _pieces(text, 0, len(text), (match.end() for match in _SENTENCE_END.finditer(text)))


def sentence_windows(text: str) -> list[str]:
    """Windows of 3 sentences, each beginning 2 sentences after the one before.

    >>> sentence_windows("One. Two. Three. Four.")
    ['One. Two. Three.', 'Three. Four.']
    """
    sentences = [text[start:end] for start, end in sentence_spans(text)]
    starts = range(0, max(1, len(sentences) - WINDOW + STRIDE), STRIDE) if sentences else ()
    return [" ".join(sentences[start : start + WINDOW]) for start in starts]


def clause_spans(text: str, start: int, end: int) -> Iterator[Span]:
    """Spans of the clauses between two places, without the blanks around them and the "but" between them."""
    begin = start
    for left, right in [*(match.span() for match in _CLAUSE_END.finditer(text, start, end)), (end, end)]:
        if stripped := text[begin:left].strip():
            begin = text.index(stripped, begin)
            yield begin, begin + len(stripped)
        begin = right


def part_spans(text: str, sentence: Span) -> list[Span]:
    """Spans of the parts of a sentence, without its heading and the blanks around them.

    >>> text = "HISTORY: Fever and cough, no edema, effusion or scar, but pain."
    >>> [text[start:end] for start, end in part_spans(text, (0, len(text)))]
    ['Fever', 'and cough,', 'no edema, effusion or scar,', 'but pain.']
    """
    start, end = sentence
    if heading := HEADING.match(text, start, end):
        start = end - len(text[heading.end() : end].lstrip()) if text[heading.end() : end].strip() else start
    denials = [
        (left + cue, right)
        for left, right in clause_spans(text, start, end)
        if (cue := denied_from(text[left:right])) is not None
    ]
    cuts = [match.end() for match in _PART_END.finditer(text, start, end)]
    cuts = [cut for cut in cuts if not any(left < cut < right for left, right in denials)]
    parts = _pieces(text, start, end, cuts) or [(start, end)]
    return parts if len(parts) <= _MOST_PARTS else [sentence]


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


def clauses(text: str) -> Iterator[Clause]:
    """The clauses of a normalised text, in order.

    >>> [(clause.heading, clause.text, clause.status(0)) for clause in clauses("FINDINGS: No edema; a scar")]
    [('findings', 'no edema;', '-'), ('findings', 'a scar', '+')]
    """
    for heading, start, end in headed_parts(text):
        for left, right in clause_spans(text, start, end):
            folded = fold(text[left:right])
            yield Clause(heading, folded, denied_from(folded), is_doubted(folded))


def _pieces(text: str, start: int, end: int, cuts: Iterable[int]) -> list[Span]:
    """The pieces between rising cuts, stripped; one without a word joins the next, the last one that before it."""
    pieces: list[Span] = []
    begin: int | None = None  # of what has no word yet
    for left, right in pairwise([start, *cuts, end]):
        if not (stripped := text[left:right].strip()):
            continue
        place = text.index(stripped, left)
        begin = place if begin is None else begin
        if WORD.search(stripped):
            pieces.append((begin, place + len(stripped)))
            begin = None
    if begin is not None and pieces:
        pieces[-1] = (pieces[-1][0], start + len(text[start:end].rstrip()))
    return pieces
