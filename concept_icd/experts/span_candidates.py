"""The codes that the words of a note may carry, by what annotators marked elsewhere; each with what speaks for it.

Nothing here is of a single code: the numbers say how often a phrase meant a code, where it stands and what stands
beside it, so that what is learnt from them holds for a code that was marked once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from concept_icd.experts.span_lexicon import NOTHING, Counts, Hit, SpanLexicon
from concept_icd.experts.span_reading import Place, ReadNote

#: Least share of a key's weight that the words of one piece have, where it is not found whole; and least weight.
SHARE, LEAST = 0.5, 2.5
#: In the place of a number that there is none of; below every other.
NONE = -1e3
_KIND = (
    "share of notes with the phrase that have the code",
    "log notes with the phrase",
    "log notes with the phrase and the code",
    "words of the phrase",
    "weight of the phrase",
    "share, beside that of the phrase's best code",
    "words around",
    "least likely word before",
    "inside a longer phrase",
    "share of occurrences marked as the code",
    "log marked occurrences",
    "phrases",
    "places",
    "words around and before, at best",
    "always inside a longer phrase",
)
#: Of a candidate, in the order of the columns.
NUMBERS: tuple[str, ...] = (
    "log notes with the code",
    *(f"{name} (word by word)" for name in _KIND),
    *(f"{name} (by stems)" for name in _KIND),
    "all word by word together",
    "first place",
    "last place",
    "words of the note",
    "codes of the category",
    "best other code of the category",
    "best other code of the place",
    "codes of the place",
    "codes of the note",
    "share of a phrase's weight found in one piece",
    "weight found",
    "occurrences of that phrase",
    "stems of that phrase",
    "weight of that phrase",
    "phrases found in part",
)


@dataclass(frozen=True)
class _Sign:
    """One hit as it speaks for one code."""

    hit: Hit
    inside: bool
    length: int
    weight: float
    notes: int
    given: int
    best: int
    occurrences: int
    marks: int
    marked: int
    near: float
    before: float

    @property
    def share(self) -> float:
        return (self.given + 0.3) / (self.notes + 1)

    @property
    def marked_share(self) -> float:
        return (self.marked + 0.1) / (self.occurrences + 0.5)


def candidates(
    lexicon: SpanLexicon, note: ReadNote, categories: Sequence[str], hits: Sequence[Hit], without: Counts = NOTHING
) -> tuple[list[int], np.ndarray, list[list[Place]]]:
    """The codes, their numbers and the places that carry them.

    Args:
        categories: of the codes. hits: those of the lexicon in the note. without: the note's own counts, where the
            lexicon was learnt from it too.

    Returns:
        Columns of the codes, rising; float64 (codes, `NUMBERS`); of each code its places, the best first, as words.
    """
    signs = _signs(lexicon, note, hits, without)
    parts = _parts(lexicon, note, without)
    codes = sorted(signs.keys() | parts.keys())
    together = {code: _together(signs.get(code, ())) for code in codes}
    of_category, of_place = defaultdict(list), defaultdict(set)
    for code in codes:
        of_category[categories[code]].append(together[code])
        for sign in signs.get(code, ()):
            of_place[sign.hit.place].add(code)
    rows, places = [], []
    for code in codes:
        own = signs.get(code, [])
        best = sorted(own, key=lambda sign: (-sign.share, sign.hit.place))
        rivals = of_place[best[0].hit.place] - {code} if best else set()
        rows.append(
            [
                math.log(lexicon.counts.codes[code] - without.codes[code] + 0.5),
                *_of_kind([sign for sign in own if not sign.hit.stems]),
                *_of_kind([sign for sign in own if sign.hit.stems]),
                together[code],
                min((sign.hit.place[0] / len(note.words) for sign in own), default=NONE),
                max((sign.hit.place[1] / len(note.words) for sign in own), default=NONE),
                len(note.words),
                len(of_category[categories[code]]),
                max((value for value in of_category[categories[code]] if value != together[code]), default=0.0),
                max((together[rival] for rival in rivals), default=0.0),
                len(rivals),
                len(signs),
                *parts.get(code, [NONE] * 6),
            ]
        )
        places.append(list(dict.fromkeys(sign.hit.place for sign in best)))
    return codes, np.array(rows, dtype=np.float64).reshape(len(codes), len(NUMBERS)), places


def _signs(lexicon: SpanLexicon, note: ReadNote, hits: Sequence[Hit], without: Counts) -> dict[int, list[_Sign]]:
    """Code -> what speaks for it."""
    found: dict[int, list[_Sign]] = defaultdict(list)
    longest = sorted({hit.place for hit in hits if not hit.stems}, key=lambda place: place[0] - place[1])
    around: dict[Place, tuple[bool, float, float]] = {}
    counts = lexicon.counts
    for hit in hits:
        notes = counts.notes[hit.key] - without.notes[hit.key]
        if notes <= 0:
            continue
        if hit.place not in around:
            around[hit.place] = (_inside(hit.place, longest), *lexicon.around(note, hit.place, without))
        inside, near, before = around[hit.place]
        occurrences = counts.occurrences[hit.key] - without.occurrences[hit.key]
        own = {
            code: (
                counts.given[hit.key, code] - without.given[hit.key, code],
                counts.marked[hit.key, code] - without.marked[hit.key, code],
            )
            for code in lexicon.codes_of[hit.key]
        }
        best, marks = max(given for given, _ in own.values()), sum(marked for _, marked in own.values())
        length, weight = lexicon.length[hit.key], lexicon.weights[hit.key]
        for code, (given, marked) in own.items():
            if given > 0 or marked > 0:
                found[code].append(
                    _Sign(hit, inside, length, weight, notes, given, best, occurrences, marks, marked, near, before)
                )
    return found


def _inside(place: Place, longest_first: Sequence[Place]) -> bool:
    """Whether a longer phrase holds the place."""
    length = place[1] - place[0]
    for first, last in longest_first:
        if last - first <= length:
            return False
        if first <= place[0] and last >= place[1]:
            return True
    return False


def _together(signs: Collection[_Sign]) -> float:
    """The chance that one of the places carries the code, as if they were independent; inside a longer phrase less."""
    word_by_word = [sign for sign in signs if not sign.hit.stems] or signs
    chance = {
        sign.hit.place: min(0.98, (sign.given + 0.1) / (sign.notes + 0.5)) * (0.4 if sign.inside else 1.0)
        for sign in word_by_word
    }
    return 1.0 - math.prod(1.0 - value for value in chance.values())


def _of_kind(signs: Sequence[_Sign]) -> list[float]:
    """The numbers of `_KIND`."""
    if not signs:
        return [NONE] * len(_KIND)
    best = max(signs, key=lambda sign: (sign.share * (0.3 if sign.inside else 1.0), sign.weight))
    marked = max(signs, key=lambda sign: sign.marked_share)
    return [
        best.share,
        math.log(best.notes),
        math.log(best.given + 0.5),
        best.length,
        best.weight,
        best.given / best.best if best.best else 0.0,
        best.near,
        best.before,
        best.inside,
        marked.marked_share,
        math.log(marked.marks + 0.5),
        len({sign.hit.key for sign in signs}),
        len({sign.hit.place for sign in signs}),
        max(sign.near + sign.before for sign in signs),
        all(sign.inside for sign in signs),
    ]


def _parts(lexicon: SpanLexicon, note: ReadNote, without: Counts) -> dict[int, list[float]]:
    """Code -> the numbers of the phrase of which one piece of the note has the most."""
    best: dict[int, tuple[float, float, int, int, float]] = {}
    number: dict[int, int] = defaultdict(int)
    for stems in _pieces(note):
        found: dict[int, float] = defaultdict(float)
        for stem in sorted(stems):
            for key in lexicon.bags_with.get(stem, ()):
                found[key] += lexicon.weight(stem)
        for key, weight in found.items():
            whole = lexicon.weights[key]
            if weight < LEAST or weight < SHARE * whole:
                continue
            for code in lexicon.codes_of[key]:
                marked = lexicon.counts.marked[key, code] - without.marked[key, code]
                if marked > 0:
                    number[code] += 1
                    own = (weight / whole, weight, marked, lexicon.length[key], whole)
                    best[code] = max(best.get(code, own), own)
    return {code: [*own, number[code]] for code, own in best.items()}


def _pieces(note: ReadNote) -> Iterator[set[int]]:
    pieces: dict[int, set[int]] = defaultdict(set)
    for stem, piece in zip(note.stems, note.piece, strict=True):
        pieces[piece].add(stem)
    return iter(pieces.values())
