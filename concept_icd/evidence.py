"""Where in a note the evidence of a code stands: the sentences without which the code loses most.

    loss(s, c) = log-odds(c | note) - log-odds(c | note without sentence s)

Evidence of c are the sentence with the largest loss and those that lose at least half as much; none where leaving out
a sentence lowers nothing. Of a note that is too long, "note" is the text that was read. A note of one sentence is its
own evidence. Erasure in place of attention: it says what the answer depends on (Li, Monroe and Jurafsky, 2016,
"Understanding neural networks through representation erasure"). It knows a coder and the text, never gold codes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from concept_icd.errors import InputError
from concept_icd.records import CodingResult, Note
from concept_icd.scoring.scores import ConceptScores, NoteFailure

if TYPE_CHECKING:
    from concept_icd.coder import ConceptCoder

#: A sentence ends at a line's end, or at a stop before a capital or the number of a list ("Jan. 2" stays whole, as does
#: "approx. half"); a piece without two letters in a row ("1.") belongs to what follows.
_END = re.compile(r"\n+|(?<=[.!?;])\s+(?=\d+[.)]\s|[^a-z0-9\s])")
_WORD = re.compile(r"[^\W\d_]{2}")

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


def with_evidence(coder: ConceptCoder, note: Note, result: CodingResult) -> CodingResult:
    """The result with the evidence of its accepted codes, from one more scoring of the note per sentence.

    Only the concepts that weigh on an accepted code are asked again.
    """
    read = coder.scorer.text_read(note, coder.asked.concepts)
    spans = [(start + a, start + b) for start, end in read for a, b in sentence_spans(note.text[start:end])]
    accepted = [coder.concepts.codes.index(code.code) for code in result.accepted]
    if not accepted or not spans:
        return result
    alone = len(spans) == 1
    losses = np.ones((1, len(accepted))) if alone else _losses(coder, note, read, spans, accepted)
    found = {coder.concepts.codes[c]: _evidence(spans, losses[:, i]) for i, c in enumerate(accepted)}
    codes = tuple(replace(code, evidence=found.get(code.code, ())) for code in result.codes)
    return replace(result, codes=codes)


def _losses(
    coder: ConceptCoder, note: Note, read: Sequence[Span], spans: list[Span], accepted: list[int]
) -> np.ndarray:
    """(sentences, accepted codes): log-odds that each code loses without each sentence."""
    weighed = np.unique(coder.heads.aggregator.weights[accepted].indices)
    asked = weighed[weighed < len(coder.asked)]
    # Leaving out a sentence of the text that was read lets nothing else of a long note in.
    texts = [_text_without(note.text, read, left_out) for left_out in [(0, 0), *spans]]
    notes = [replace(note, note_id=str(number), text=text) for number, text in enumerate(texts)]
    logits = np.zeros((len(notes), len(coder.asked)), dtype=np.float32)
    for scores in coder.scorer.iter_scores(notes, [coder.asked.concepts[k] for k in asked]):
        if isinstance(scores, NoteFailure):
            raise InputError(scores.reason)
        logits[int(scores.note_id), asked] = scores.logits
    ids, nothing = tuple(note.note_id for note in notes), (None,) * len(notes)
    whole = coder.complete(ConceptScores(ids, coder.asked.hash, logits, nothing), notes)
    log_odds = np.array([coder.heads.contributions(row)[accepted].sum(axis=1) for row in whole.logits])
    return log_odds[0] - log_odds[1:]


def _text_without(text: str, read: Sequence[Span], left_out: Span) -> str:
    """The text that was read without one span of it; a part that was cut ends with a line break, as in the prompt."""
    kept = ""
    for start, end in read:
        kept += text[start : max(start, min(end, left_out[0]))] + text[min(end, max(start, left_out[1])) : end]
        if end < read[-1][1] and not text[end - 1].isspace():
            kept += "\n"
    return kept


def _evidence(spans: list[Span], losses: np.ndarray) -> tuple[Span, ...]:
    largest = losses.max()
    if largest <= 0:
        return ()
    return tuple(span for span, loss in zip(spans, losses, strict=True) if loss >= largest / 2)
