"""What the words of a note say of its codes: boosted trees over tagged words (`tagged_words`), one ensemble a code.

The strongest lexical system of our trials on short reports. Codes with few notes are left to the concepts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from concept_icd.artifacts import hash_of, read_json, write_json
from concept_icd.concepts import ConceptSet
from concept_icd.errors import InputError, MissingExtraError
from concept_icd.progress import track
from concept_icd.records import CodedNote, Level, Note
from concept_icd.views.tagged_words import tagged_words

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FILE = "words.json"
#: Features of fewer training notes, and codes of fewer, are left out.
FEWEST_NOTES, FEWEST_GOLD = 2, 3
ROUNDS = 80
TREES: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.1,
    "num_leaves": 8,
    "min_data_in_leaf": 3,
    "min_data_in_bin": 1,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


@dataclass(frozen=True, eq=False)
class WordView:
    """Fitted trees.

    Attributes:
        features: columns of the trees' input. trees: of each code LightGBM's text form of its ensemble.
    """

    codes: tuple[str, ...]
    features: tuple[str, ...]
    trees: tuple[str, ...]
    level: Level = "words"

    def log_odds(self, notes: Sequence[Note]) -> np.ndarray:
        """See `View`."""
        inputs = _matrix([tagged_words(note.text) for note in notes], self.features)
        columns = [booster.predict(inputs, raw_score=True) for booster in self._boosters]
        found = np.stack(columns, axis=1).astype(np.float32) if columns else np.empty((len(notes), 0), np.float32)
        there = np.array([bool(note.text.strip()) for note in notes], dtype=bool)
        return np.where(there[:, None], found, np.float32(np.nan))

    @cached_property
    def hash(self) -> str:
        """See `View`."""
        return hash_of([self.codes, self.features, self.trees])

    def save(self, folder: Path) -> None:
        """See `View`."""
        write_json(folder / FILE, {"codes": self.codes, "features": self.features, "trees": self.trees})

    @classmethod
    def load(cls, folder: Path) -> WordView:
        """Reads what `save` wrote.

        Raises:
            InputError: the file is missing or damaged.
        """
        record = read_json(folder / FILE)
        try:
            return cls(tuple(record["codes"]), tuple(record["features"]), tuple(record["trees"]))
        except (KeyError, TypeError) as error:
            raise InputError(f"{folder / FILE} is damaged: fit the coder again") from error

    @cached_property
    def _boosters(self) -> list[Any]:
        lightgbm = _lightgbm()
        return [lightgbm.Booster(model_str=tree) for tree in self.trees]


@dataclass(frozen=True)
class WordRecipe:
    """How the trees are grown: the constants of this module."""

    def fit(
        self, notes: Sequence[CodedNote], gold: np.ndarray, concepts: ConceptSet, fold: np.ndarray, seed: int
    ) -> tuple[WordView, np.ndarray]:
        """See `Recipe`."""
        words = [tagged_words(coded.note.text) for coded in notes]
        own = np.flatnonzero(gold.sum(axis=0) >= FEWEST_GOLD)
        codes = tuple(concepts.codes[column] for column in own.tolist())
        if not codes:
            raise InputError(f"no code has {FEWEST_GOLD} notes to learn words from: leave the view of words out")
        held_out = np.full((len(notes), len(codes)), np.nan, dtype=np.float32)
        for number in track(np.unique(fold).tolist(), len(np.unique(fold)), "fit words", "folds"):
            rest = np.flatnonzero(fold == number)
            view = _grow(words, gold[:, own], np.flatnonzero(fold != number), codes, seed)
            held_out[rest] = view.log_odds([notes[row].note for row in rest.tolist()])
        return _grow(words, gold[:, own], np.arange(len(notes)), codes, seed), held_out


def _grow(
    words: Sequence[frozenset[str]], gold: np.ndarray, rows: np.ndarray, codes: tuple[str, ...], seed: int
) -> WordView:
    """Trees of these notes; a code that none of them has gets its prior alone."""
    lightgbm = _lightgbm()
    own = [words[row] for row in rows.tolist()]
    count = Counter(word for note in own for word in note)
    features = tuple(sorted(word for word, notes in count.items() if notes >= FEWEST_NOTES))
    inputs = _matrix(own, features)
    trees = []
    for column in range(len(codes)):
        data = lightgbm.Dataset(inputs, gold[rows, column].astype(np.float32), params=TREES)
        trees.append(lightgbm.train(TREES | {"seed": seed}, data, ROUNDS).model_to_string())
    return WordView(codes, features, tuple(trees))


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise MissingExtraError("lightgbm", "words") from error
    return lightgbm


def _matrix(words: Sequence[frozenset[str]], features: Sequence[str]) -> csr_matrix:
    """0/1, float32 (notes, features); LightGBM wants SciPy's older class."""
    from scipy.sparse import csr_matrix

    column = {feature: number for number, feature in enumerate(features)}
    of_note = [sorted(column[word] for word in note if word in column) for note in words]
    ends = np.cumsum([0, *map(len, of_note)])
    flat = np.fromiter((place for own in of_note for place in own), dtype=np.int32, count=int(ends[-1]))
    return csr_matrix((np.ones(len(flat), dtype=np.float32), flat, ends), shape=(len(words), len(features)))
