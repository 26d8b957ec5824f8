"""Where in a note the evidence of a code stands, and what speaks against it: what changes when a passage is left out.

    loss(s, c) = log-odds(c | note) - log-odds(c | note without passage s)

Sentences are left out first. Evidence of c are the sentence with the largest loss and those that lose at least half as
much; none where leaving out a sentence lowers nothing. Then the parts of such a sentence are left out in turn: those
that alone lose at least half of what the sentence loses stand for it; where none does, it stands whole. So the cost is
one scoring a sentence, and one a part of few sentences, in a long note too.

Against c speak, in the same way, passages without which c gains (a negative loss): at least `RISE`, by which the odds
become e times as large, so that the small shifts of any other text do not count, and to a probability of at least
`LIKELY`, since a change among very small probabilities is of no use to a reader. They are looked for with the accepted
codes and the first `BELOW` suggestions below the threshold.

Passages are looked for in the normalised text (`concept_icd.text.normalization`), also when one is left out; the spans
that are told are of the note as it was given. Of a note that is too long, "note" is the text that was read. A note of
one part is its own evidence. Erasure in place of attention: it says what the answer depends on (Li, Monroe and
Jurafsky, 2016, "Understanding neural networks through representation erasure"). It knows a text and log-odds, never
gold codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from concept_icd.records import CodingResult, Note
from concept_icd.text.sentences import Span, part_spans, sentence_spans

#: Texts and codes -> (texts, codes): the calibrated log-odds of the codes, from one pass over the texts. They are the
#: codes' own, without what the codes that occur together add to or take from them.
LogOdds = Callable[[Sequence[str], Sequence[str]], np.ndarray]
#: Against a code speaks what hides it: log-odds that it gains, and the least probability that it then has.
RISE, LIKELY = 1.0, 0.1
#: Suggestions below the threshold that are looked at.
BELOW = 3


def with_evidence(note: Note, result: CodingResult, read: Sequence[Span], log_odds: LogOdds) -> CodingResult:
    """The result with the evidence of its accepted codes, and with what speaks against them and the next suggestions.

    Args:
        read: the parts of the normalised text that the scorer reads.
    """
    given, text = note.normalized.given, note.normalized.text
    spans = [(start + a, start + b) for start, end in read for a, b in sentence_spans(text[start:end])]
    if len(spans) == 1:
        spans = part_spans(text, spans[0])
    if len(spans) < 2:  # without it nothing is left to score
        return _filled(result, given, {code.code: tuple(spans) for code in result.accepted}, {})
    below = [code for code in result.codes if not code.accepted][:BELOW]
    codes = [code.code for code in (*result.accepted, *below)]

    def without(spans: Sequence[Span]) -> np.ndarray:
        # Leaving out a span of the text that was read lets nothing else of a long note in.
        return log_odds([_text_without(text, read, span) for span in spans], codes)

    odds = without([(0, 0), *spans])
    losses = odds[0] - odds[1:]
    supporting = _standing_out(losses) & (np.arange(len(codes)) < len(result.accepted))
    opposing = _standing_out(-losses) & (losses <= -RISE) & (odds[1:] >= np.log(LIKELY / (1 - LIKELY)))
    parts = {i: part_spans(text, spans[i]) for i in np.flatnonzero((supporting | opposing).any(axis=1)).tolist()}
    smaller = [part for own in parts.values() for part in own if part not in spans]
    loss_of = dict(zip(smaller, odds[0] - without(smaller), strict=True)) if smaller else {}

    def narrowed(chosen: np.ndarray, sign: int) -> dict[str, tuple[Span, ...]]:
        found: dict[str, tuple[Span, ...]] = dict.fromkeys(codes, ())
        for i, c in np.argwhere(chosen).tolist():
            half = sign * losses[i, c] / 2
            alone = tuple(part for part in parts[i] if part in loss_of and sign * loss_of[part][c] >= half)
            found[codes[c]] += _joined(alone, text) or (spans[i],)
        return found

    return _filled(result, given, narrowed(supporting, 1), narrowed(opposing, -1))


def _filled(
    result: CodingResult,
    given: Callable[[int, int], Span],
    evidence: Mapping[str, tuple[Span, ...]],
    against: Mapping[str, tuple[Span, ...]],
) -> CodingResult:
    """The result with these passages of the normalised text as spans of the note as it was given."""

    def of(found: Mapping[str, tuple[Span, ...]], code: str) -> tuple[Span, ...]:
        return tuple(given(*span) for span in found.get(code, ()))

    codes = tuple(
        replace(code, evidence=of(evidence, code.code), against=of(against, code.code)) for code in result.codes
    )
    return replace(result, codes=codes)


def _standing_out(losses: np.ndarray) -> np.ndarray:
    """Which are above 0 and at least half of the largest of their code; bool, (spans, codes) as the losses."""
    found: np.ndarray = (losses > 0) & (losses >= losses.max(axis=0) / 2)
    return found


def _joined(spans: Sequence[Span], text: str) -> tuple[Span, ...]:
    """Neighbours with nothing but blanks between them become one."""
    joined: list[Span] = []
    for start, end in spans:
        if joined and not text[joined[-1][1] : start].strip():
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return tuple(joined)


def _text_without(text: str, read: Sequence[Span], left_out: Span) -> str:
    """The text that was read without one span of it; a part that was cut ends with a line break, as in the prompt."""
    kept = ""
    for start, end in read:
        kept += text[start : max(start, min(end, left_out[0]))] + text[min(end, max(start, left_out[1])) : end]
        if end < read[-1][1] and not text[end - 1].isspace():
            kept += "\n"
    return kept
