"""Where a note speaks of a code, found by its words: the text features of the learned order.

A *lexicon* has, for each code, terms of one or two word stems. A clause that affirms a term of a code mentions it. It
also has, for terms in and right after the clauses that mention a code, how much later than usual such a code was
billed, and how much oftener first: "was why she came" and "continued at home" say much about the order.

It finds words, not meanings; what a clause denies is no mention, but counts as words around one, and what is said of
relatives is passed over. Evidence, which is read off the model, would say more, but takes a scoring of the note for
every sentence. It knows no gold codes; how a lexicon is learnt, `lexicon_fitting` knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array, vstack

from concept_icd.artifacts import hash_of, read_json, require_finite, write_json
from concept_icd.errors import InputError
from concept_icd.heads.ranking_features import PairTable
from concept_icd.records import OneLine
from concept_icd.text.clause_words import GROUPS, ClauseWords, Vocabulary, keys_of, read_clauses

#: Sections that are lists say nothing around a mention.
_NARRATIVE = [GROUPS.index(name) for name in ("other", "complaint", "present", "course")]
#: Of `lexicon.json`. A lexicon of format 1 (no number) was learnt from whole sentences, where denials hid all of one.
FORMAT = 2
#: Notes whose mentions are looked for at once.
BLOCK = 500

#: The features, and what each is; 0 where the note does not mention the code, 1 is early.
FEATURES = {
    "mentioned": "1 where a clause mentions the code",
    "mentions": "log(1 + clauses that mention it)",
    "first": "1 - where in the note the first of them begins (0 to 1)",
    **{f"in_{name}": f"1 where the sections of the group {name} mention it" for name in GROUPS[1:]},
    "first_in_present": "1 - place of the first mention among the clauses of the history of present illness (0 to 1)",
    "first_in_course": "1 - the same in the hospital course",
    "discharge_place": "1 / number of the item that mentions it first in the list of discharge diagnoses",
    "before_others": "1 / place by first mention among the codes that the note mentions",
    "around": "how much later than usual (places from 0 to 1) codes with such words around them are billed",
    "around_first": "how much oftener than usual such codes are the first of their kind",
    "likeliest_first": "1 / place by falling `around_first` among the codes that the note mentions",
}


@dataclass(frozen=True, eq=False, repr=False)
class Lexicon(OneLine):
    """Terms of codes; see the module. It travels with the coder: a learned term stood in several training notes.

    Attributes:
        terms: stems, one or two a term. mentions: 0/1, csr (terms, codes).
        around: float64 (terms, 4): what a term adds to the relative place, and to being first; in the clause, and in
            the next.
    """

    terms: tuple[str, ...]
    mentions: csr_array
    around: np.ndarray

    def features(self, texts: Sequence[str]) -> PairTable:
        """`FEATURES` of the codes that each note mentions, given by its normalised text."""
        parts = []
        for start in range(0, len(texts), BLOCK):
            found = self.features_of(read_clauses(texts[start : start + BLOCK], self._vocabulary))
            parts.append((found.keys + start * self.mentions.shape[1], found.values))
        keys, values = zip(*parts, strict=True) if parts else ((), ())
        shape = len(texts), self.mentions.shape[1]
        empty = np.zeros(0, dtype=np.int64), np.zeros((0, len(FEATURES)), dtype=np.float32)
        return PairTable(tuple(FEATURES), shape, np.concatenate([empty[0], *keys]), np.concatenate([empty[1], *values]))

    def features_of(self, clauses: ClauseWords, vocabulary: Vocabulary | None = None) -> PairTable:
        """The same of notes that are read already, with another (open) vocabulary where one is named."""
        keys = self._keys if vocabulary is None else np.array([vocabulary.key(term) for term in self.terms])
        order = np.argsort(keys)
        holds = clauses.matrix(keys[order])
        mentioned = Mentions.find(clauses, clauses.matrix(keys[order], affirmed=True), csr_array(self.mentions[order]))
        weights = self.around[order].reshape(-1, 2, 2).transpose(1, 0, 2).reshape(-1, 2)  # (same or next x terms, both)
        return mentioned.table(np.asarray(mentioned.around(holds) @ weights))

    @cached_property
    def _closed(self) -> tuple[Vocabulary, np.ndarray]:
        return keys_of(self.terms)

    @property
    def _vocabulary(self) -> Vocabulary:
        return self._closed[0]

    @property
    def _keys(self) -> np.ndarray:
        return self._closed[1]

    @cached_property
    def hash(self) -> str:
        """Hex digest of all of it."""
        return hash_of(self._to_dict())

    def save(self, path: str | Path) -> None:
        """Writes the lexicon as JSON."""
        write_json(path, self._to_dict())

    def _to_dict(self) -> dict[str, object]:
        rows = np.split(self.mentions.indices, self.mentions.indptr[1:-1])
        codes = [row.tolist() for row in rows] if self.terms else []
        return {
            "format": FORMAT,
            "codes": self.mentions.shape[1],
            "terms": dict(zip(self.terms, codes, strict=True)),
            "around": {term: pair for term, pair in zip(self.terms, self.around.tolist(), strict=True) if any(pair)},
        }

    @classmethod
    def load(cls, path: str | Path) -> Lexicon:
        """Reads what `save` wrote.

        Raises:
            InputError: the file is missing or damaged, or of another format.
        """
        record = read_json(path)
        try:
            if record.get("format", 1) != FORMAT:
                raise InputError(f"{path} was learnt from notes that were cut in another way: fit the coder again")
            terms = tuple(record["terms"])
            starts = np.cumsum([0, *(len(codes) for codes in record["terms"].values())])
            indices = np.array([code for codes in record["terms"].values() for code in codes], dtype=np.int64)
            ones = np.ones(len(indices), dtype=np.float32)
            around = [record["around"].get(term, [0.0] * 4) for term in terms]
            shape = len(terms), record["codes"]
            require_finite(path, around)
            return cls(terms, csr_array((ones, indices, starts), shape=shape), np.array(around).reshape(-1, 4))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is no lexicon that concept-icd wrote: fit the coder again") from error


@dataclass(frozen=True, eq=False, repr=False)
class Mentions(OneLine):
    """Which clauses mention which codes, by note and code, then by clause.

    Attributes:
        clause, key: of each, key = note * codes + code. starts: where each new key begins.
    """

    clauses: ClauseWords
    codes: int
    clause: np.ndarray
    key: np.ndarray
    starts: np.ndarray

    @classmethod
    def find(cls, clauses: ClauseWords, holds: csr_array, terms_of: csr_array) -> Mentions:
        """From which clause affirms which term, (clauses, terms), and the terms of the codes, (terms, codes)."""
        clause, code = (holds @ terms_of).nonzero()
        key = clauses.note[clause] * terms_of.shape[1] + code
        order = np.lexsort((clause, key))
        clause, key = clause[order], key[order]
        starts = np.flatnonzero(np.append(True, key[1:] != key[:-1])) if len(key) else np.zeros(0, dtype=np.int64)
        return cls(clauses, terms_of.shape[1], clause, key, starts)

    @property
    def pairs(self) -> np.ndarray:
        """The keys, each once."""
        return np.asarray(self.key[self.starts])

    def around(self, holds: csr_array) -> csr_array:
        """0/1 (pairs, 2 x terms): terms in the clauses that mention the code, and in those right after them."""
        s, n = self.clauses, len(self.clauses)
        pair = np.repeat(np.arange(len(self.starts)), np.diff(self.starts, append=len(self.key)))
        told = np.isin(s.group[self.clause], _NARRATIVE)
        after = np.minimum(self.clause + 1, max(0, n - 1))
        follows = told & (after > self.clause) & (s.item[after] == s.item[self.clause] + 1)
        found = []
        for kept, which in ((told, self.clause), (follows, after)):
            ones = np.ones(int(kept.sum()), dtype=np.float32)
            words = csr_array((ones, (pair[kept], which[kept])), shape=(len(self.starts), n)) @ holds
            words.data = np.minimum(words.data, 1.0)
            found.append(words)
        return csr_array(vstack([part.T for part in found]).T)

    def table(self, around: np.ndarray) -> PairTable:
        """`FEATURES` of the pairs, with what the words around them say, (pairs, 2)."""
        s, group = self.clauses, self.clauses.group[self.clause]
        place = 1 - s.item[self.clause] / np.maximum(s.items[self.clause], 1)

        def highest(values: np.ndarray) -> np.ndarray:
            return np.asarray(np.maximum.reduceat(values, self.starts) if len(values) else values)

        def within(name: str, values: np.ndarray) -> np.ndarray:
            return highest(np.where(group == GROUPS.index(name), values, 0.0))

        first = self.clause[self.starts]
        note = self.pairs // self.codes

        def place_in_note(values: np.ndarray) -> np.ndarray:
            """From 1, by rising value; `note` rises."""
            place = np.empty(len(note))
            place[np.lexsort((values, note))] = np.arange(len(note)) - np.searchsorted(note, note) + 1
            return place

        columns = [
            np.ones(len(note)),
            np.log1p(np.diff(self.starts, append=len(self.key))),
            1 - s.start[first],
            *(within(name, np.ones(len(group))) for name in GROUPS[1:]),
            within("present", place),
            within("course", place),
            within("discharge", 1 / (1 + s.item[self.clause])),
            1 / place_in_note(first),
            *around.T,
            1 / place_in_note(-around[:, 1]),
        ]
        values = np.stack(columns, axis=1).astype(np.float32)
        return PairTable(tuple(FEATURES), (s.notes, self.codes), self.pairs, values)
