r"""Where a note speaks of a code, found by its words: the text features of the learned order.

A *lexicon* has, for each code, terms of one or two word stems: those of the titles and phrases that belong to it, and
those that were learnt from training notes, where term t is one of code c when

    ((n_tc + k b_c) / (n_t + k) - b_c) / (1 - b_c) >= SHARE        b_c: share of notes with c, n: notes, k = SHRINK

so that notes which say t nearly all have c. A sentence with a term of a code mentions the code. It also has, for terms
in and right after the sentences that mention a code, how much later than usual such a code was billed, and how much
oftener first (ridge regressions): "was why she came" and "continued at home" say much about the order.

It finds words, not meanings; sentences that begin with a denial, and what is said of relatives, are passed over.
Reading evidence off the model instead (`evidence`) takes a scoring of the note for every sentence: too dear for this.
It knows gold codes only where a lexicon is learnt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array, vstack

from concept_icd.artifacts import hash_of, read_json, write_json
from concept_icd.concepts import ConceptSet
from concept_icd.errors import InputError
from concept_icd.heads.ranking_features import PairTable
from concept_icd.note_words import GROUPS, Sentences, Vocabulary, keys_of, read_sentences, title_terms

SHARE, SHRINK = 0.3, 5.0
#: Learned terms of a code, at most; notes that hold a learned term, at least.
MOST_TERMS, FEWEST_NOTES = 40, 5
#: A pair of words in the titles of more codes than this names none of them.
MOST_CODES = 3
#: Penalty of the words around mentions; sections that are lists say nothing around a mention.
AROUND_PENALTY = 20.0
_NARRATIVE = [GROUPS.index(name) for name in ("other", "complaint", "present", "course")]
#: Notes whose mentions are looked for at once.
BLOCK = 500

#: The features, and what each is; 0 where the note does not mention the code, 1 is early.
FEATURES = {
    "mentioned": "1 where a sentence mentions the code",
    "mentions": "log(1 + sentences that mention it)",
    "first": "1 - where in the note the first of them begins (0 to 1)",
    **{f"in_{name}": f"1 where the sections of the group {name} mention it" for name in GROUPS[1:]},
    "first_in_present": "1 - place of the first mention among the sentences of the history of present illness (0 to 1)",
    "first_in_course": "1 - the same in the hospital course",
    "discharge_place": "1 / number of the item that mentions it first in the list of discharge diagnoses",
    "before_others": "1 / place by first mention among the codes that the note mentions",
    "around": "how much later than usual (places from 0 to 1) codes with such words around them are billed",
    "around_first": "how much oftener than usual such codes are the first of their kind",
    "likeliest_first": "1 / place by falling `around_first` among the codes that the note mentions",
}


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Terms of codes; see the module.

    Attributes:
        terms: stems, one or two a term. mentions: 0/1, csr (terms, codes).
        around: float64 (terms, 4): what a term adds to the relative place, and to being first; in the sentence, and in
            the next.
    """

    terms: tuple[str, ...]
    mentions: csr_array
    around: np.ndarray

    def features(self, texts: Sequence[str]) -> PairTable:
        """`FEATURES` of the codes that each note mentions."""
        parts = []
        for start in range(0, len(texts), BLOCK):
            found = self.features_of(read_sentences(texts[start : start + BLOCK], self._vocabulary))
            parts.append((found.keys + start * self.mentions.shape[1], found.values))
        keys, values = zip(*parts, strict=True) if parts else ((), ())
        shape = len(texts), self.mentions.shape[1]
        empty = np.zeros(0, dtype=np.int64), np.zeros((0, len(FEATURES)), dtype=np.float32)
        return PairTable(tuple(FEATURES), shape, np.concatenate([empty[0], *keys]), np.concatenate([empty[1], *values]))

    def features_of(self, sentences: Sentences, vocabulary: Vocabulary | None = None) -> PairTable:
        """The same of notes that are read already, with another (open) vocabulary where one is named."""
        keys = self._keys if vocabulary is None else np.array([vocabulary.key(term) for term in self.terms])
        order = np.argsort(keys)
        holds = sentences.matrix(keys[order])
        mentioned = _Mentions.find(sentences, holds, csr_array(self.mentions[order]))
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
            "codes": self.mentions.shape[1],
            "terms": dict(zip(self.terms, codes, strict=True)),
            "around": {term: pair for term, pair in zip(self.terms, self.around.tolist(), strict=True) if any(pair)},
        }

    @classmethod
    def load(cls, path: str | Path) -> Lexicon:
        """Reads what `save` wrote.

        Raises:
            InputError: the file is missing or damaged.
        """
        record = read_json(path)
        try:
            terms = tuple(record["terms"])
            starts = np.cumsum([0, *(len(codes) for codes in record["terms"].values())])
            indices = np.array([code for codes in record["terms"].values() for code in codes], dtype=np.int64)
            ones = np.ones(len(indices), dtype=np.float32)
            around = [record["around"].get(term, [0.0] * 4) for term in terms]
            shape = len(terms), record["codes"]
            return cls(terms, csr_array((ones, indices, starts), shape=shape), np.array(around).reshape(-1, 4))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is no lexicon that concept-icd wrote: fit the coder again") from error


@dataclass(frozen=True, eq=False)
class _Mentions:
    """Which sentences mention which codes, by note and code, then by sentence.

    Attributes:
        sentence, key: of each, key = note * codes + code. starts: where each new key begins.
    """

    sentences: Sentences
    codes: int
    sentence: np.ndarray
    key: np.ndarray
    starts: np.ndarray

    @classmethod
    def find(cls, sentences: Sentences, holds: csr_array, terms_of: csr_array) -> _Mentions:
        sentence, code = (holds @ terms_of).nonzero()
        key = sentences.note[sentence] * terms_of.shape[1] + code
        order = np.lexsort((sentence, key))
        sentence, key = sentence[order], key[order]
        starts = np.flatnonzero(np.append(True, key[1:] != key[:-1])) if len(key) else np.zeros(0, dtype=np.int64)
        return cls(sentences, terms_of.shape[1], sentence, key, starts)

    @property
    def pairs(self) -> np.ndarray:
        """The keys, each once."""
        return np.asarray(self.key[self.starts])

    def around(self, holds: csr_array) -> csr_array:
        """0/1 (pairs, 2 x terms): terms in the sentences that mention the code, and in those right after them."""
        s, n = self.sentences, len(self.sentences)
        pair = np.repeat(np.arange(len(self.starts)), np.diff(self.starts, append=len(self.key)))
        told = np.isin(s.group[self.sentence], _NARRATIVE)
        after = np.minimum(self.sentence + 1, max(0, n - 1))
        follows = told & (after > self.sentence) & (s.item[after] == s.item[self.sentence] + 1)
        found = []
        for kept, which in ((told, self.sentence), (follows, after)):
            ones = np.ones(int(kept.sum()), dtype=np.float32)
            words = csr_array((ones, (pair[kept], which[kept])), shape=(len(self.starts), n)) @ holds
            words.data = np.minimum(words.data, 1.0)
            found.append(words)
        return csr_array(vstack([part.T for part in found]).T)

    def table(self, around: np.ndarray) -> PairTable:
        s, group = self.sentences, self.sentences.group[self.sentence]
        place = 1 - s.item[self.sentence] / np.maximum(s.items[self.sentence], 1)

        def highest(values: np.ndarray) -> np.ndarray:
            return np.asarray(np.maximum.reduceat(values, self.starts) if len(values) else values)

        def within(name: str, values: np.ndarray) -> np.ndarray:
            return highest(np.where(group == GROUPS.index(name), values, 0.0))

        first = self.sentence[self.starts]
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
            within("discharge", 1 / (1 + s.item[self.sentence])),
            1 / place_in_note(first),
            *around.T,
            1 / place_in_note(-around[:, 1]),
        ]
        values = np.stack(columns, axis=1).astype(np.float32)
        return PairTable(tuple(FEATURES), (s.notes, self.codes), self.pairs, values)


def naming(concepts: ConceptSet) -> dict[int, list[str]]:
    """Column of a code -> the texts of the concepts that are the code, and of the phrases of a few codes alone."""
    column = {code: number for number, code in enumerate(concepts.codes)}
    titles: dict[int, list[str]] = {}
    for concept in concepts.concepts:
        if concept.level == "code" or (concept.level == "phrase" and len(concept.codes) <= MOST_CODES):
            for code in concept.codes:
                titles.setdefault(column[code], []).append(concept.text)
    return titles


def learn_features(
    texts: Sequence[str],
    places: np.ndarray,
    titles: Mapping[int, Iterable[str]],
    procedure: np.ndarray,
    fold: np.ndarray,
) -> tuple[Lexicon, PairTable]:
    """The lexicon of all these notes, and their features by lexicons of the other folds; see `learn_lexicon`."""
    vocabulary = Vocabulary()
    sentences = read_sentences(texts, vocabulary)
    keys, values = [], []
    for f in np.unique(fold):
        others, own = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        lexicon = learn_lexicon(sentences.select(others), vocabulary, places[others], titles, procedure)
        found = lexicon.features_of(sentences.select(own), vocabulary)
        note, code = np.divmod(found.keys, places.shape[1])
        keys.append(own[note] * places.shape[1] + code)
        values.append(found.values)
    every = np.concatenate(keys)
    order = np.argsort(every)
    table = PairTable(tuple(FEATURES), places.shape, every[order], np.concatenate(values)[order])
    return learn_lexicon(sentences, vocabulary, places, titles, procedure), table


def learn_lexicon(
    sentences: Sentences,
    vocabulary: Vocabulary,
    places: np.ndarray,
    titles: Mapping[int, Iterable[str]],
    procedure: np.ndarray,
) -> Lexicon:
    """The lexicon of training notes.

    Args:
        sentences: of the notes, read with this vocabulary. places: int (notes, codes), 0 where a code is not gold,
            else its place in the order of its kind.
        titles: column of a code -> texts that name it. procedure: bool (codes,).
    """
    gold = csr_array(places > 0, dtype=np.float32)
    grams = np.unique(sentences.grams)
    in_sentences = sentences.matrix(grams)
    notes = csr_array((np.ones(len(sentences)), (sentences.note, np.arange(len(sentences)))))
    notes.resize((sentences.notes, len(sentences)))
    in_notes = csr_array(notes @ in_sentences)
    in_notes.data = np.minimum(in_notes.data, 1.0)
    count = np.asarray(in_notes.sum(axis=0)).reshape(-1)
    usual = count >= FEWEST_NOTES
    grams, in_notes, in_sentences = grams[usual], csr_array(in_notes[:, usual]), csr_array(in_sentences[:, usual])
    term, code = _learned(in_notes, gold)
    pairs = {(vocabulary.term(int(grams[t])), int(c)) for t, c in zip(term, code, strict=True)}
    named = title_terms(titles)
    owners: dict[str, int] = {}
    for terms in named.values():
        for text in terms:
            owners[text] = owners.get(text, 0) + 1
    pairs |= {(text, c) for c, terms in named.items() for text in terms if owners[text] <= MOST_CODES}
    every = {vocabulary.term(int(gram)): None for gram in grams} | {text: None for text, _ in sorted(pairs)}
    row = {text: number for number, text in enumerate(every)}
    listed = sorted((row[text], c) for text, c in pairs)
    where = (np.array([t for t, _ in listed], dtype=int), np.array([c for _, c in listed], dtype=int))
    shape = len(row), places.shape[1]
    mentions = csr_array((np.ones(len(listed), dtype=np.float32), where), shape=shape)
    mentions.sort_indices()
    keys = np.array([vocabulary.key(text) for text in row])
    order = np.argsort(keys)
    holds = sentences.matrix(keys[order])
    found = _Mentions.find(sentences, holds, csr_array(mentions[order]))
    around = np.zeros((len(row), 4))
    around[order] = _words_around(found, holds, places, procedure)
    kept = (np.diff(mentions.indptr) > 0) | (np.abs(around) > 1e-4).any(axis=1)
    useful = tuple(text for text, keep in zip(row, kept, strict=True) if keep)
    return Lexicon(useful, csr_array(mentions[kept]), around[kept])


def _learned(in_notes: csr_array, gold: csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Terms and codes that belong together, by what training notes say."""
    held = np.asarray(in_notes.sum(axis=0)).reshape(-1)
    base = np.asarray(gold.sum(axis=0)).reshape(-1) / gold.shape[0]
    together = (csr_array(in_notes.T) @ gold).tocoo()
    term, code = together.coords
    share = (together.data + SHRINK * base[code]) / (held[term] + SHRINK)
    share = (share - base[code]) / np.maximum(1 - base[code], 1e-9)
    good = (share >= SHARE) & (together.data >= FEWEST_NOTES)
    term, code, worth = term[good], code[good], (together.data * share)[good]
    order = np.lexsort((-worth, code))
    term, code = term[order], code[order]
    best = np.arange(len(code)) - np.searchsorted(code, code) < MOST_TERMS
    return term[best], code[best]


def _words_around(found: _Mentions, holds: csr_array, places: np.ndarray, procedure: np.ndarray) -> np.ndarray:
    """(terms, 4): `Lexicon.around`, from gold codes of notes with several, both targets less the code's mean."""
    from sklearn.linear_model import Ridge

    note, code = np.divmod(found.pairs, found.codes)
    place = places[note, code]
    size = np.stack([(places[:, procedure == kind] > 0).sum(axis=1) for kind in (False, True)], axis=1)
    of = size[note, procedure[code].astype(int)]
    known = (place > 0) & (of > 1)
    if not known.any():
        return np.zeros((holds.shape[1], 4))
    place, of, code = place[known], of[known], code[known]
    target = np.stack([(place - 1) / (of - 1), (place == 1).astype(float)], axis=1)
    number = np.maximum(np.bincount(code, minlength=found.codes), 1)
    mean = np.stack([np.bincount(code, column, found.codes) / number for column in target.T], axis=1)
    words = csr_array(found.around(holds)[known])
    ridge = Ridge(AROUND_PENALTY, fit_intercept=False, solver="sparse_cg", tol=1e-3)
    weights = ridge.fit(words, target - mean[code]).coef_  # (2, same and next x terms)
    return np.asarray(weights).reshape(2, 2, -1).transpose(2, 1, 0).reshape(-1, 4)
