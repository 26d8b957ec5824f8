r"""Lexicons learnt from training notes with their billing orders.

Term t becomes one of code c, beside the terms of c's titles and phrases, where

    ((n_tc + k b_c) / (n_t + k) - b_c) / (1 - b_c) >= SHARE        b_c: share of notes with c, n: notes, k = SHRINK

so that notes which say t nearly all have c. What terms around a mention say about the place, a ridge regression learns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy.sparse import csr_array

from concept_icd.corpora.folds import cross_fit
from concept_icd.heads.lexicon import FEATURES, Lexicon, Mentions
from concept_icd.heads.ranking_features import PairTable
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.text.clause_words import ClauseWords, Vocabulary, read_clauses, title_terms

SHARE, SHRINK = 0.3, 5.0
#: Learned terms of a code, at most; notes that hold a learned term, at least.
MOST_TERMS, FEWEST_NOTES = 40, 5
#: A pair of words in the titles of more codes than this names none of them.
MOST_CODES = 3
#: Penalty of the words around mentions.
AROUND_PENALTY = 20.0


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
    clauses = read_clauses(texts, vocabulary)
    keys, values = [], []
    for own, lexicon in cross_fit(
        fold, lambda rows: learn_lexicon(clauses.select(rows), vocabulary, places[rows], titles, procedure)
    ):
        found = lexicon.features_of(clauses.select(own), vocabulary)
        note, code = np.divmod(found.keys, places.shape[1])
        keys.append(own[note] * places.shape[1] + code)
        values.append(found.values)
    every = np.concatenate(keys)
    order = np.argsort(every)
    table = PairTable(tuple(FEATURES), places.shape, every[order], np.concatenate(values)[order])
    return learn_lexicon(clauses, vocabulary, places, titles, procedure), table


def learn_lexicon(
    clauses: ClauseWords,
    vocabulary: Vocabulary,
    places: np.ndarray,
    titles: Mapping[int, Iterable[str]],
    procedure: np.ndarray,
) -> Lexicon:
    """The lexicon of training notes.

    Args:
        clauses: of the notes, read with this vocabulary. places: int (notes, codes), 0 where a code is not gold,
            else its place in the order of its kind.
        titles: column of a code -> texts that name it. procedure: bool (codes,).
    """
    gold = csr_array(places > 0, dtype=np.float32)
    grams = np.unique(clauses.grams)
    notes = csr_array((np.ones(len(clauses)), (clauses.note, np.arange(len(clauses)))))
    notes.resize((clauses.notes, len(clauses)))
    grams = grams[((notes @ clauses.matrix(grams)) > 0).sum(axis=0) >= FEWEST_NOTES]
    in_notes = csr_array(notes @ clauses.matrix(grams, affirmed=True))
    in_notes.data = np.minimum(in_notes.data, 1.0)
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
    holds = clauses.matrix(keys[order])
    found = Mentions.find(clauses, clauses.matrix(keys[order], affirmed=True), csr_array(mentions[order]))
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


def _words_around(found: Mentions, holds: csr_array, places: np.ndarray, procedure: np.ndarray) -> np.ndarray:
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
