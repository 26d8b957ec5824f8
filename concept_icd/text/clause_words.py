"""Notes as clauses of word stems, each with its section and its place, in arrays: what a lexicon looks for codes in.

What a clause denies is marked. What is said of relatives is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array

from concept_icd.errors import OneLine
from concept_icd.text.assertion import denied_from
from concept_icd.text.sections import split_sections
from concept_icd.text.sentences import WORD, clause_spans
from concept_icd.text.words import stems

#: Groups of sections; all others are "other", and what is said of relatives is left out.
GROUPS = ("other", "complaint", "present", "course", "discharge", "past", "drugs")
_GROUP_OF = {
    "Chief Complaint": "complaint",
    "History of Present Illness": "present",
    "Hospital Course": "course",
    "Discharge Diagnosis": "discharge",
    "Past History": "past",
    "Admission Medications": "drugs",
    "Discharge Medications": "drugs",
    "Inpatient Medications": "drugs",
}
_LEFT_OUT = {"Family History", "Allergies", "Signature"}
#: A pair of words is the number first * PAIR + second, a word alone the second.
PAIR = 1 << 31


@dataclass(frozen=True, eq=False, repr=False)
class ClauseWords(OneLine):
    """The clauses of some notes, in order.

    Attributes:
        note, group: row of the note, index into `GROUPS`, shape (clauses,).
        start: where it begins, 0 to 1 of the note. item: its number in its section, from 0. items: of that section.
        grams: words and pairs of neighbours as numbers, each once a clause. at: the clause of each. affirmed: whether
            the clause says it before it denies anything.
        notes: how many there are, also those without a clause.
    """

    note: np.ndarray
    group: np.ndarray
    start: np.ndarray
    item: np.ndarray
    items: np.ndarray
    grams: np.ndarray
    at: np.ndarray
    affirmed: np.ndarray
    notes: int

    def __len__(self) -> int:
        return len(self.note)

    def matrix(self, keys: np.ndarray, affirmed: bool = False) -> csr_array:
        """Which clause holds, or affirms, which of these (rising) grams: 0/1, float32, shape (clauses, keys)."""
        place = np.minimum(np.searchsorted(keys, self.grams), max(0, len(keys) - 1))
        known = keys[place] == self.grams if len(keys) else np.zeros(len(self.grams), dtype=bool)
        known &= self.affirmed | (not affirmed)
        ones = np.ones(int(known.sum()), dtype=np.float32)
        return csr_array((ones, (self.at[known], place[known])), shape=(len(self), len(keys)))

    def select(self, notes: np.ndarray) -> ClauseWords:
        """The clauses of these notes (rising rows), which are numbered anew."""
        number = np.full(self.notes, -1)
        number[notes] = np.arange(len(notes))
        kept = number[self.note] >= 0
        row = np.cumsum(kept) - 1
        grams = kept[self.at]
        return ClauseWords(
            number[self.note[kept]],
            self.group[kept],
            self.start[kept],
            self.item[kept],
            self.items[kept],
            self.grams[grams],
            row[self.at[grams]],
            self.affirmed[grams],
            len(notes),
        )


class Vocabulary:
    """Words and their numbers, from 1; it grows with the notes read unless it is `closed`."""

    def __init__(self, words: Iterable[str] = (), *, closed: bool = False) -> None:
        self.words = ["", *words]
        self._number = {word: number for number, word in enumerate(self.words) if number}
        self._closed = closed

    def number(self, word: str) -> int:
        """0 for a word that a closed vocabulary does not have."""
        found = self._number.get(word, 0)
        if not found and not self._closed:
            found = self._number[word] = len(self.words)
            self.words.append(word)
        return found

    def key(self, term: str) -> int:
        """The gram of one or two stems."""
        first, _, second = term.partition(" ")
        return self.number(first) * PAIR + self.number(second) if second else self.number(first)

    def term(self, key: int) -> str:
        """The stems of a gram."""
        first, second = divmod(key, PAIR)
        return f"{self.words[first]} {self.words[second]}" if first else self.words[second]


def read_clauses(texts: Iterable[str], vocabulary: Vocabulary) -> ClauseWords:
    """The clauses of notes."""
    rows: list[tuple[int, int, float, int, int]] = []
    keys: list[int] = []
    at: list[int] = []
    affirmed: list[bool] = []
    note = -1
    known: dict[str, dict[int, bool] | None] = {}  # lists repeat themselves
    for note, text in enumerate(texts):
        for section in split_sections(text):
            if section.name in _LEFT_OUT:
                continue
            found: list[tuple[int, dict[int, bool]]] = []
            number = None  # of an item: it belongs to what follows
            for start, end in clause_spans(text, section.start, section.end):
                start, number = start if number is None else number, None
                clause = text[start:end]
                if not WORD.search(clause):
                    number = start
                    continue
                if clause.endswith(":"):  # a heading on its own line
                    continue
                if clause not in known:
                    known[clause] = _grams(clause, vocabulary)
                if (told := known[clause]) is not None:
                    found.append((start, told))
            group = GROUPS.index(_GROUP_OF.get(section.name, "other"))
            for item, (start, told) in enumerate(found):
                at.extend([len(rows)] * len(told))
                keys.extend(told)
                affirmed.extend(told.values())
                rows.append((note, group, start / len(text), item, len(found)))
        if len(known) > 100_000:
            known.clear()
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    number, group, item, items = table[:, [0, 1, 3, 4]].astype(np.int64).T
    grams, of = np.array(keys, dtype=np.int64), np.array(at, dtype=np.int64)
    return ClauseWords(number, group, table[:, 2], item, items, grams, of, np.array(affirmed, dtype=bool), note + 1)


def _grams(clause: str, vocabulary: Vocabulary) -> dict[int, bool] | None:
    """Gram of words that the vocabulary has -> whether it is affirmed; None where nothing is said."""
    if not (words := stems(clause)):
        return None
    before = len(stems(clause[: denied_from(clause)]))
    numbers = [vocabulary.number(word) for word in words]
    grams = [(number, place < before) for place, number in enumerate(numbers) if number]
    grams += [(a * PAIR + b, place < before) for place, (a, b) in enumerate(pairwise(numbers), 1) if a and b]
    return dict(reversed(grams))  # of a gram that comes twice, the first place counts


def keys_of(terms: Iterable[str]) -> tuple[Vocabulary, np.ndarray]:
    """A closed vocabulary of the words of some terms, and the terms' grams."""
    listed = list(terms)
    words = dict.fromkeys(word for term in listed for word in term.split())
    vocabulary = Vocabulary(words, closed=True)
    return vocabulary, np.array([vocabulary.key(term) for term in listed], dtype=np.int64)


def title_terms(titles: Mapping[int, Iterable[str]]) -> dict[int, set[str]]:
    """For each code, terms of its titles and phrases: pairs of neighbours, or the word alone of a title with one."""
    found: dict[int, set[str]] = {}
    for code, texts in titles.items():
        terms = found.setdefault(code, set())
        for text in texts:
            words = stems(text)
            terms.update([" ".join(pair) for pair in pairwise(words)] if words[1:] else words)
    return found
