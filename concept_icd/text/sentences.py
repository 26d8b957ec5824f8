"""Where the sentences and clauses of a note begin and end."""

from __future__ import annotations

import re
from itertools import pairwise

from concept_icd.text.assertion import DENYING

#: A sentence ends at a line's end, or at a stop before a capital or the number of a list ("Jan. 2" stays whole, as does
#: "approx. half"); a piece without two letters in a row ("1.") belongs to what follows.
_END = re.compile(r"\n+|(?<=[.!?;])\s+(?=\d+[.)]\s|[^a-z0-9\s])")
_WORD = re.compile(r"[^\W\d_]{2}")
#: A clause ends at a comma, a semicolon or a colon, or before a word that joins on another.
_JOINT = re.compile(r"[,;:]\s+|\s+(?=(?:and|but|however|although|with|without|which|who|rule out)\b)", re.IGNORECASE)
#: A heading says where something stands, not what.
_HEADING = re.compile(r"[A-Za-z][A-Za-z /&-]{1,40}:\s+(?=\S)")
#: What is denied goes on over commas and "and" up to one of these: "No pneumonia, effusion or scar" is one clause.
_DENIAL = re.compile(rf"\b(?:{DENYING}|negative)\b", re.IGNORECASE)
_TURN = re.compile(r"[;:]|,?\s+(?:but|however|although|with)\b", re.IGNORECASE)
#: A sentence of more clauses is a list without end, which stays whole.
_MOST = 32
Span = tuple[int, int]


def sentence_spans(text: str) -> list[Span]:
    """Spans (start, end) of the sentences, without the blanks around them; end is exclusive."""
    cuts = [0, *(match.end() for match in _END.finditer(text)), len(text)]
    spans: list[Span] = []
    start: int | None = None
    for left, right in pairwise(cuts):
        piece = text[left:right]
        if not piece.strip():
            continue
        begin = left + len(piece) - len(piece.lstrip()) if start is None else start
        end = left + len(piece.rstrip())
        if _WORD.search(text[begin:end]):
            spans.append((begin, end))
            start = None
        else:  # "1." and the like: the number of what follows
            start = begin
    if start is not None and spans:
        spans[-1] = (spans[-1][0], len(text.rstrip()))
    return spans


def clause_spans(text: str, sentence: Span) -> list[Span]:
    """Spans (start, end) of the clauses of a sentence, without its heading and blanks around them; end is exclusive."""
    spans: list[Span] = []
    heading = _HEADING.match(text, *sentence)
    start = heading.end() if heading else sentence[0]
    for match in _JOINT.finditer(text, start, sentence[1]):
        denied = _DENIAL.search(text, start, match.end()) and not _TURN.match(text, match.start())
        if denied or not _WORD.search(text, start, match.end()) or not _WORD.search(text, match.end(), sentence[1]):
            continue
        spans.append((start, start + len(text[start : match.end()].rstrip())))
        start = match.end()
    return [*spans, (start, sentence[1])] if len(spans) < _MOST else [sentence]


WINDOW, STRIDE = 3, 2  # sentences


def sentence_windows(text: str) -> list[str]:
    """Windows of 3 sentences, each beginning 2 sentences after the one before; a line break may end a sentence too."""
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+(?=[A-Z0-9])|\n\s*\n|\n(?=\s*[-*•])", text)]
    sentences = [sentence for sentence in sentences if sentence]
    starts = range(0, max(1, len(sentences) - WINDOW + STRIDE), STRIDE)
    return [" ".join(sentences[start : start + WINDOW]) for start in starts] if sentences else []
