"""What the words of a note say of its codes: boosted trees over its words, one ensemble a code.

Codes with few notes have no trees and are left to the concepts. Of a word, or of two neighbours, a hash is kept, so
that a coder's folder holds no text of the notes it was fitted on. Hashes keep words from being read, not from being
guessed: whoever hashes a word finds out whether a tree asks for it, and only words of two notes or more are asked for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from concept_icd.artifacts import hash_of
from concept_icd.corpora.folds import cross_fit
from concept_icd.errors import InputError
from concept_icd.experts.arrays import loaded_arrays, save_arrays
from concept_icd.experts.forest import Forest, lightgbm_library
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.records import CodedNote, Level, Note, OneLine
from concept_icd.text.sentences import Clause, clauses

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

NAME = "words"
#: Features of fewer training notes, and codes of fewer, are left out.
FEWEST_NOTES, FEWEST_GOLD = 2, 3
ROUNDS = 80
_WORD = re.compile(r"[a-z0-9/]+")
TREES: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.1,
    "num_leaves": 8,
    "min_data_in_leaf": 3,
    "min_data_in_bin": 1,
    "max_bin": 2,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


@dataclass(frozen=True, eq=False, repr=False)
class WordExpert(OneLine):
    """Fitted trees.

    Attributes:
        features: uint64, rising: the hashes of the tagged words that the trees ask for. forest: an ensemble a code.
    """

    codes: tuple[str, ...]
    features: np.ndarray
    forest: Forest
    level: Level = "words"

    def log_odds(self, notes: Sequence[Note]) -> np.ndarray:
        """See `Expert`."""
        return self.log_odds_of([_hashes(note.normalized.text) for note in notes])

    def log_odds_of(self, words: Sequence[np.ndarray]) -> np.ndarray:
        """The same of notes whose words are hashed already; NaN where a note has none."""
        inputs = np.zeros((len(words), len(self.features)), dtype=bool)
        for row, own in enumerate(words):
            inputs[row] = np.isin(self.features, own)
        there = np.array([len(own) > 0 for own in words], dtype=bool)
        found = self.forest.sums(inputs).astype(np.float32)
        return np.where(there[:, None], found, np.float32(np.nan))

    @cached_property
    def hash(self) -> str:
        """See `Expert`."""
        return hash_of([self.codes, *(numbers.tolist() for numbers in self._numbers().values())])

    def save(self, folder: Path) -> None:
        """See `Expert`."""
        save_arrays(folder, NAME, {"codes": self.codes}, self._numbers())

    @classmethod
    def load(cls, folder: Path) -> WordExpert:
        """Reads what `save` wrote.

        Raises:
            InputError: a file is missing or damaged.
        """
        with loaded_arrays(folder, NAME) as (record, numbers):
            expert = cls(tuple(record["codes"]), numbers.pop("features"), Forest(**numbers))
            expert.forest.check(len(expert.features), len(expert.codes))
        return expert

    def _numbers(self) -> dict[str, np.ndarray]:
        return {"features": self.features, **vars(self.forest)}


@dataclass(frozen=True)
class WordRecipe:
    """How the trees are grown: the constants of this module.

    Attributes:
        rounds: trees a code.
    """

    rounds: int = ROUNDS

    def fit(
        self, notes: Sequence[CodedNote], gold: np.ndarray, concepts: ConceptSet, fold: np.ndarray, seed: int
    ) -> tuple[WordExpert, np.ndarray]:
        """See `ExpertRecipe`."""
        words = [_hashes(coded.note.normalized.text) for coded in notes]
        own = np.flatnonzero(gold.sum(axis=0) >= FEWEST_GOLD)
        codes = tuple(concepts.codes[column] for column in own.tolist())
        if not codes:
            raise InputError(f"no code has {FEWEST_GOLD} notes to learn words from: leave the expert of words out")
        held_out = np.full((len(notes), len(codes)), np.nan, dtype=np.float32)
        for rows, expert in cross_fit(
            fold, lambda rows: _grow(words, gold[:, own], rows, codes, seed, self.rounds), "fit words"
        ):
            held_out[rows] = expert.log_odds_of([words[row] for row in rows.tolist()])
        return _grow(words, gold[:, own], np.arange(len(notes)), codes, seed, self.rounds), held_out


def _grow(
    words: Sequence[np.ndarray], gold: np.ndarray, rows: np.ndarray, codes: tuple[str, ...], seed: int, rounds: int
) -> WordExpert:
    """Trees of these notes; a code that none of them has gets its prior alone."""
    lightgbm = lightgbm_library()
    own = [words[row] for row in rows.tolist()]
    found, count = np.unique(np.concatenate(own), return_counts=True)
    features = found[count >= FEWEST_NOTES]
    inputs = _matrix(own, features)
    boosters, data = [], lightgbm.Dataset(inputs, params=TREES, free_raw_data=False)
    for column in range(len(codes)):
        data.set_label(gold[rows, column].astype(np.float32))  # to sort the columns once is a third of the time
        boosters.append(lightgbm.train(TREES | {"seed": seed}, data, rounds))
    forest = Forest.of(boosters)
    return WordExpert(codes, features[forest.features], forest.over(forest.features))


def tagged_words(text: str) -> frozenset[str]:
    """The features of a note: words and pairs of neighbours, bare, and with section, status, or both before them.

    >>> sorted(tagged_words("IMPRESSION: No pneumonia."))[:4]
    ['-no', '-no_pneumonia', '-pneumonia', 'impression:-no']
    """
    return frozenset(term for clause in clauses(text) for term in _of_clause(clause))


def _of_clause(clause: Clause) -> Iterator[str]:
    words, section = [(word[0], clause.status(word.start())) for word in _WORD.finditer(clause.text)], clause.section
    for word, status in words:
        yield from _tagged(word, section, status)
    for (first, _), (second, status) in pairwise(words):
        yield from _tagged(f"{first}_{second}", section, status)


def _tagged(term: str, section: str, status: str) -> tuple[str, ...]:
    return term, f"{section}:{term}", f"{status}{term}", f"{section}:{status}{term}"


def _hashes(text: str) -> np.ndarray:
    """Of the tagged words of a text: uint64, rising."""
    digests = (hashlib.blake2b(word.encode(), digest_size=8).digest() for word in tagged_words(text))
    return np.unique(np.frombuffer(b"".join(digests), dtype="<u8"))


def _matrix(words: Sequence[np.ndarray], features: np.ndarray) -> csr_matrix:
    """0/1, float32 (notes, features); LightGBM wants SciPy's older class."""
    from scipy.sparse import csr_matrix

    of_note = [np.flatnonzero(np.isin(features, own)) for own in words]
    ends, flat = np.cumsum([0, *map(len, of_note)]), np.concatenate(of_note).astype(np.int32)
    return csr_matrix((np.ones(len(flat), dtype=np.float32), flat, ends), shape=(len(words), len(features)))
