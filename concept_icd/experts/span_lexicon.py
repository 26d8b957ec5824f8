"""What annotators marked as what: the marked phrases of training notes, where they stand, and how often they counted.

A marked passage gives two *keys*: its words in their order, and its *stems* in any order (the beginnings of its words,
without words that most notes hold), so that "carcinoma renal de celulas claras" is found in "carcinoma de celulas
claras renal". A key says how often it occurs in the training notes, how often it was marked there, as which codes,
and in how many of the notes with it the code was given. What stands around it says whether it was marked at all: a
denial, another person's illness or a plan is learnt from the words around marked and unmarked occurrences, in any
language.

Every count can be had without one note (`Counts.of`, `without`), so that training notes are looked at as new ones are.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from concept_icd.experts.span_reading import CONTEXTS, Place, ReadNote
from concept_icd.records import CodedNote

#: Words of more notes than this share tell phrases apart in order only.
COMMON = 0.6
#: Words that may stand between the stems of a key, besides its own.
GAP = 3
#: How many occurrences the mean of all is worth where a context is rare.
_DOUBT = 5.0


@dataclass(frozen=True)
class Hit:
    """A key found in a note, from one word to another. `stems`: by its stems in any order, not word by word."""

    key: int
    place: Place
    stems: bool


@dataclass(eq=False)
class Counts:
    """Of keys, contexts and codes, over some notes or one.

    Attributes:
        occurrences, notes: of each key. marked: (key, code) -> occurrences marked as it. given: (key, code) -> notes
            with the key that have the code. seen, taken: of what stands around an occurrence: all, and where it was
            marked. codes: notes that have the code.
    """

    occurrences: Counter[int] = field(default_factory=Counter)
    notes: Counter[int] = field(default_factory=Counter)
    marked: Counter[tuple[int, int]] = field(default_factory=Counter)
    given: Counter[tuple[int, int]] = field(default_factory=Counter)
    seen: Counter[tuple[str, int]] = field(default_factory=Counter)
    taken: Counter[tuple[str, int]] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)

    def add(self, other: Counts) -> None:
        """Adds those of another note."""
        for name, counter in vars(self).items():
            counter.update(getattr(other, name))


NOTHING = Counts()


@dataclass(frozen=True, eq=False)
class SpanLexicon:
    """The keys of some notes, and their counts.

    Attributes:
        phrases: the words of a key -> its number. bags: the stems of a key, rising -> its number. weights: of each
            key, how much its words or stems tell (`weight`). stem_notes: notes with each stem, of `notes` notes.
            counts: over all notes.
    """

    phrases: Mapping[tuple[int, ...], int]
    bags: Mapping[tuple[int, ...], int]
    weights: Sequence[float]
    stem_notes: Mapping[int, int]
    notes: int
    counts: Counts

    # Storage ------------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, as `of_arrays` reads it."""
        counts = self.counts
        pairs = sorted(counts.marked.keys() | counts.given.keys())
        contexts = sorted(counts.seen)
        return {
            **_ragged("phrase", list(self.phrases)),
            **_ragged("bag", list(self.bags)),
            "weight": np.array(self.weights, np.float64),
            "stem": np.array(list(self.stem_notes), np.int64),
            "stem notes": np.array(list(self.stem_notes.values()), np.int32),
            "key": np.array([[counts.occurrences[k], counts.notes[k]] for k in range(len(self))], np.int32),
            "pair": np.array([[*p, counts.marked[p], counts.given[p]] for p in pairs], np.int32).reshape(-1, 4),
            "context": np.array([[CONTEXTS.index(name), word] for name, word in contexts], np.int64).reshape(-1, 2),
            "context counts": np.array([[counts.seen[c], counts.taken[c]] for c in contexts], np.int32).reshape(-1, 2),
            "code": np.array(sorted(counts.codes.items()), np.int32).reshape(-1, 2),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray], notes: int) -> SpanLexicon:
        """What `arrays` gave.

        Raises:
            KeyError, ValueError, IndexError: they are damaged.
        """
        counts = Counts(codes=Counter(dict(arrays["code"].tolist())))
        for key, (occurrences, of_notes) in enumerate(arrays["key"].tolist()):
            counts.occurrences[key], counts.notes[key] = occurrences, of_notes
        for key, code, marked, given in arrays["pair"].tolist():
            counts.marked[key, code], counts.given[key, code] = marked, given
        both = zip(arrays["context"].tolist(), arrays["context counts"].tolist(), strict=True)
        for (name, word), (seen, taken) in both:
            counts.seen[CONTEXTS[name], word], counts.taken[CONTEXTS[name], word] = seen, taken
        stem_notes = dict(zip(arrays["stem"].tolist(), arrays["stem notes"].tolist(), strict=True))
        phrases = {key: at for at, key in enumerate(_keys_of(arrays, "phrase"))}
        bags = {key: at for at, key in enumerate(_keys_of(arrays, "bag"), len(phrases))}
        lexicon = cls(phrases, bags, arrays["weight"].tolist(), stem_notes, notes, counts)
        last = arrays["pair"][:, 0].max(initial=-1)
        if not len(lexicon) == len(arrays["key"]) == len(lexicon.weights) > last:
            raise ValueError("keys are missing")
        return lexicon

    def __len__(self) -> int:
        """Number of keys."""
        return len(self.phrases) + len(self.bags)

    # Finding ------------------------------------------------------------------------------------------------------

    def hits(self, note: ReadNote) -> list[Hit]:
        """Every place of every key, those found word by word first."""
        found = list(self._phrases_in(note))
        found.extend(self._bags_in(note))
        return found

    def _phrases_in(self, note: ReadNote) -> Iterator[Hit]:
        for start, word in enumerate(note.words):
            for length in self._lengths.get(word, ()):
                last = start + length - 1
                if last < len(note.words) and note.piece[start] == note.piece[last]:
                    key = self.phrases.get(tuple(note.words[start : last + 1]))
                    if key is not None:
                        yield Hit(key, (start, last), False)

    def _bags_in(self, note: ReadNote) -> Iterator[Hit]:
        """The stems of a key within a piece, with at most `GAP` other words that are not common among them."""
        kept = [at for at, stem in enumerate(note.stems) if stem not in self.common]
        where: dict[int, list[int]] = defaultdict(list)
        for order, at in enumerate(kept):
            where[note.stems[at]].append(order)
        for stem, orders in where.items():
            for bag in self._by_rarest.get(stem, ()):
                if not all(other in where for other in bag):
                    continue
                width = len(bag) + GAP
                places = set()
                for order in orders:
                    near = [self._nearest(where[other], order, note, kept) for other in bag]
                    first, last = min(near), max(near)
                    if first >= 0 and last - first <= width:
                        places.add((kept[first], kept[last]))
                for place in sorted(places):
                    yield Hit(self.bags[bag], place, True)

    @staticmethod
    def _nearest(orders: Sequence[int], order: int, note: ReadNote, kept: Sequence[int]) -> int:
        """The nearest of these in the same piece; -1 where there is none."""
        piece = note.piece[kept[order]]
        inside = [other for other in orders if note.piece[kept[other]] == piece]
        return min(inside, key=lambda other: abs(other - order), default=-1)

    def around(self, note: ReadNote, place: Place, without: Counts = NOTHING) -> tuple[float, float]:
        """By how much the words next to a place, and the least likely word before it, change the odds of a mark."""
        taken, seen = (
            whole - own.total() for whole, own in zip(self._totals, (without.taken, without.seen), strict=True)
        )
        base, near, before = max(taken, 1) / max(seen, 1), 0.0, 0.0
        for context in note.around(place):
            seen = self.counts.seen[context] - without.seen[context]
            taken = self.counts.taken[context] - without.taken[context]
            odds = math.log((taken + _DOUBT * base) / (seen + _DOUBT) / base)
            if context[0] == "-":
                before = min(before, odds)
            else:
                near += odds
        return near, before

    def weight(self, stem: int) -> float:
        """How much a stem tells: the log of one over its share of the notes."""
        return weight_of(self.stem_notes.get(stem, 0), self.notes)

    @cached_property
    def codes_of(self) -> dict[int, list[int]]:
        """Key -> the codes that it was marked as, rising."""
        found: dict[int, list[int]] = defaultdict(list)
        for key, code in sorted(self.counts.marked):
            found[key].append(code)
        return found

    @cached_property
    def bags_with(self) -> dict[int, list[int]]:
        """Stem -> the keys that have it."""
        found: dict[int, list[int]] = defaultdict(list)
        for bag, key in self.bags.items():
            for stem in bag:
                found[stem].append(key)
        return found

    @cached_property
    def length(self) -> list[int]:
        """Of each key, in words or stems."""
        return [*map(len, self.phrases), *map(len, self.bags)]

    @cached_property
    def common(self) -> frozenset[int]:
        """Stems of so many notes that no key has them."""
        return _common(self.stem_notes, self.notes)

    @cached_property
    def _totals(self) -> tuple[int, int]:
        return self.counts.taken.total(), self.counts.seen.total()

    @cached_property
    def _lengths(self) -> dict[int, list[int]]:
        found: dict[int, set[int]] = defaultdict(set)
        for phrase in self.phrases:
            found[phrase[0]].add(len(phrase))
        return {word: sorted(lengths) for word, lengths in found.items()}

    @cached_property
    def _by_rarest(self) -> dict[int, list[tuple[int, ...]]]:
        found: dict[int, list[tuple[int, ...]]] = defaultdict(list)
        for bag in self.bags:
            found[min(bag, key=lambda stem: (self.stem_notes.get(stem, 0), stem))].append(bag)
        return found


def weight_of(notes_with: int, notes: int) -> float:
    """How much a word tells that stands in so many of the notes."""
    return math.log((notes + 1) / (notes_with + 0.5))


def _ragged(name: str, keys: Sequence[tuple[int, ...]]) -> dict[str, np.ndarray]:
    flat = [word for key in keys for word in key]
    return {f"{name} words": np.array(flat, np.int64), f"{name} lengths": np.array([len(k) for k in keys], np.int32)}


def _keys_of(arrays: Mapping[str, np.ndarray], name: str) -> list[tuple[int, ...]]:
    words, ends = arrays[f"{name} words"].tolist(), np.cumsum(arrays[f"{name} lengths"]).tolist()
    return [tuple(words[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def _common(stem_notes: Mapping[int, int], notes: int) -> frozenset[int]:
    return frozenset(stem for stem, number in stem_notes.items() if number > COMMON * notes)


@dataclass(frozen=True, eq=False)
class Marked:
    """A training note as it was read: its marks (code, words of the passage) and the columns of its gold codes."""

    note: ReadNote
    marks: list[tuple[int, list[int]]]
    gold: frozenset[int]


def read_marked(coded: CodedNote, columns: Mapping[str, int], gold: Iterable[int]) -> Marked:
    """A note with its passages as words; a passage between two words, or of a code without a column, is left out."""
    note, marks = ReadNote.of(coded.note), []
    for mention in coded.evidence:
        inside = [
            at for at, (left, right) in enumerate(note.span) if any(left < e and right > s for s, e in mention.spans)
        ]
        if inside and mention.code in columns:
            marks.append((columns[mention.code], inside))
    return Marked(note, marks, frozenset(gold))


def learn_lexicon(notes: Sequence[Marked]) -> tuple[SpanLexicon, list[Counts], list[list[Hit]]]:
    """The lexicon of these notes; the counts and the hits of each note."""
    stem_notes = Counter(stem for marked in notes for stem in set(marked.note.stems))
    common = _common(stem_notes, len(notes))
    marks = [list(_keys(marked, common)) for marked in notes]
    phrases, bags = (
        {
            key: number
            for number, key in enumerate(dict.fromkeys(k for own in marks for k, _, _, by in own if by == stems))
        }
        for stems in (False, True)
    )
    bags = {key: len(phrases) + number for key, number in bags.items()}
    word_notes = Counter(word for marked in notes for word in set(marked.note.words))
    weights = [
        sum(weight_of(of_notes[part], len(notes)) for part in key)
        for keys, of_notes in ((phrases, word_notes), (bags, stem_notes))
        for key in keys
    ]
    lexicon = SpanLexicon(phrases, bags, weights, stem_notes, len(notes), Counts())
    numbered = [
        [((bags if by_stems else phrases)[key], code, place) for key, code, place, by_stems in own] for own in marks
    ]
    codes_of: dict[int, set[int]] = defaultdict(set)
    for key, code, _ in (mark for own in numbered for mark in own):
        codes_of[key].add(code)
    hits = [lexicon.hits(marked.note) for marked in notes]
    each = [_counts(*of, codes_of) for of in zip(notes, numbered, hits, strict=True)]
    for own in each:
        lexicon.counts.add(own)
    return lexicon, each, hits


def _keys(marked: Marked, common: frozenset[int]) -> Iterator[tuple[tuple[int, ...], int, Place, bool]]:
    """(Key, code, place, whether by stems) of each mark."""
    for code, inside in marked.marks:
        if inside[-1] - inside[0] + 1 == len(inside):
            yield tuple(marked.note.words[at] for at in inside), code, (inside[0], inside[-1]), False
        if kept := [at for at in inside if marked.note.stems[at] not in common]:
            yield tuple(sorted({marked.note.stems[at] for at in kept})), code, (kept[0], kept[-1]), True


def _counts(
    marked: Marked, marks: Sequence[tuple[int, int, Place]], hits: Sequence[Hit], codes_of: Mapping[int, set[int]]
) -> Counts:
    """Of one note. A key need not be found where it was marked: its stems may lie too far apart."""
    own = Counts(codes=Counter(marked.gold), marked=Counter((key, code) for key, code, _ in marks))
    taken = {(key, place) for key, _, place in marks}
    for hit in hits:
        own.occurrences[hit.key] += 1
        own.notes[hit.key] = 1
        for code in codes_of[hit.key] & marked.gold:
            own.given[hit.key, code] = 1
        if not hit.stems:
            for context in marked.note.around(hit.place):
                own.seen[context] += 1
                own.taken[context] += (hit.key, hit.place) in taken
    return own
