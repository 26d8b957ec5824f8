"""Where in a note the evidence of a code stands, and what speaks against it: what changes when a passage is left out.

    loss(s, c) = log-odds(c | note) - log-odds(c | note without passage s)

Sentences are left out first. Evidence of c are the sentence with the largest loss and those that lose at least half as
much; none where leaving out a sentence lowers nothing. Then the clauses of such a sentence are left out in turn: those
that alone lose at least half of what the sentence loses stand for it; where none does, it stands whole. So the cost is
one scoring a sentence, and one a clause of few sentences, in a long note too.

Against c speak, in the same way, passages without which c gains (a negative loss): at least `RISE`, by which the odds
become e times as large, so that the small shifts of any other text do not count, and to a probability of at least
`LIKELY`, since whether a code has one chance in a thousand or in three hundred is nobody's question. They are looked
for with the accepted codes and the first `BELOW` suggestions below the threshold.

Passages are looked for in the normalised text (`concept_icd.text.normalization`), also when one is left out; the spans
that are told are of the note as it was given. Of a note that is too long, "note" is the text that was read. A note of
one clause is its own evidence. Erasure in place of attention: it says what the answer depends on (Li, Monroe and
Jurafsky, 2016, "Understanding neural networks through representation erasure"). It knows a coder and the text, never
gold codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from concept_icd.errors import InputError
from concept_icd.records import CodingResult, Note
from concept_icd.scoring.scorer import ConceptScores, NoteFailure
from concept_icd.text.sentences import Span, clause_spans, sentence_spans

if TYPE_CHECKING:
    from concept_icd.coder.coder import ConceptCoder


#: Against a code speaks what hides it: log-odds that it gains, and the least probability that it then has.
RISE, LIKELY = 1.0, 0.1
#: Suggestions below the threshold that are looked at.
BELOW = 3


def with_evidence(
    coder: ConceptCoder, note: Note, result: CodingResult, go_on: Callable[[], None] = lambda: None
) -> CodingResult:
    """The result with the evidence of its accepted codes, and with what speaks against them and the next suggestions.

    Only the concepts that weigh on one of these codes are asked again.

    Args:
        go_on: is called between scorings; what it raises ends the search.
    """
    given, note = note.normalized.given, replace(note, text=note.normalized.text)
    read = coder.scorer.text_read(note, coder.asked.concepts)
    spans = [(start + a, start + b) for start, end in read for a, b in sentence_spans(note.text[start:end])]
    if len(spans) == 1:
        spans = clause_spans(note.text, spans[0])
    if len(spans) < 2:  # without it nothing is left to score
        return _filled(result, given, {code.code: tuple(spans) for code in result.accepted}, {})
    below = [code for code in result.codes if not code.accepted][:BELOW]
    codes = [code.code for code in (*result.accepted, *below)]
    columns = [coder.concepts.codes.index(code) for code in codes]
    log_odds = _log_odds(coder, note, read, [(0, 0), *spans], columns, go_on)
    losses = log_odds[0] - log_odds[1:]
    supporting = _standing_out(losses) & (np.arange(len(codes)) < len(result.accepted))
    opposing = _standing_out(-losses) & (losses <= -RISE) & (log_odds[1:] >= np.log(LIKELY / (1 - LIKELY)))
    parts = {i: clause_spans(note.text, spans[i]) for i in np.flatnonzero((supporting | opposing).any(axis=1)).tolist()}
    clauses = [clause for part in parts.values() for clause in part if clause not in spans]
    lost = log_odds[0] - _log_odds(coder, note, read, clauses, columns, go_on)
    loss_of = dict(zip(clauses, lost, strict=True))

    def narrowed(chosen: np.ndarray, sign: int) -> dict[str, tuple[Span, ...]]:
        found: dict[str, tuple[Span, ...]] = dict.fromkeys(codes, ())
        for i, c in np.argwhere(chosen).tolist():
            half = sign * losses[i, c] / 2
            alone = tuple(part for part in parts[i] if part in loss_of and sign * loss_of[part][c] >= half)
            found[codes[c]] += _joined(alone, note.text) or (spans[i],)
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


def _log_odds(
    coder: ConceptCoder,
    note: Note,
    read: Sequence[Span],
    left_out: Sequence[Span],
    columns: Sequence[int],
    go_on: Callable[[], None],
) -> np.ndarray:
    """(spans left out, codes): the log-odds of the codes without each span, from one pass over these versions.

    They are the codes' own, calibrated, without what the codes that occur together add to or take from them.
    """
    if not left_out:
        return np.zeros((0, len(columns)))
    aggregator, calibration = coder.heads.aggregator, coder.heads.calibration
    weights = aggregator.weights[columns]
    weighed = np.unique(weights.indices)
    asked = weighed[weighed < len(coder.asked)]
    # Leaving out a span of the text that was read lets nothing else of a long note in.
    texts = [_text_without(note.text, read, span) for span in left_out]
    notes = [replace(note, note_id=str(number), text=text) for number, text in enumerate(texts)]
    logits = np.zeros((len(notes), len(coder.asked)), dtype=np.float32)
    for scores in coder.scorer.iter_scores(notes, [coder.asked.concepts[k] for k in asked]):
        go_on()
        if isinstance(scores, NoteFailure):
            raise InputError(scores.reason)
        logits[int(scores.note_id), asked] = scores.logits
    ids, nothing = tuple(note.note_id for note in notes), (None,) * len(notes)
    whole = coder.complete(ConceptScores(ids, coder.asked.hash, logits, nothing), notes)
    own = (weights @ aggregator.standardise(whole.logits).T).T + aggregator.bias[columns]
    log_odds: np.ndarray = calibration.slope * own + calibration.intercept
    return log_odds


def _text_without(text: str, read: Sequence[Span], left_out: Span) -> str:
    """The text that was read without one span of it; a part that was cut ends with a line break, as in the prompt."""
    kept = ""
    for start, end in read:
        kept += text[start : max(start, min(end, left_out[0]))] + text[min(end, max(start, left_out[1])) : end]
        if end < read[-1][1] and not text[end - 1].isspace():
            kept += "\n"
    return kept
