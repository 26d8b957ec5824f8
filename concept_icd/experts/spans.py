"""What annotators marked elsewhere says of a note: a lexicon of marked passages, weighed by trees that all codes share.

Of the passages in which annotators of the training notes saw a code (`CodedNote.evidence`) a lexicon is kept, with
what stood around them (`span_lexicon`); where nobody marked any, passages are guessed (`span_alignment`). In a new note
the lexicon proposes codes, each with numbers (`span_candidates`), and boosted trees say how likely a proposal is right.
They are the same for all codes, and learn from each training note as if the lexicon had not seen it. A code that
nothing in a note proposes is as likely as it was in the training notes in which nothing proposed it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from concept_icd.artifacts import hash_of
from concept_icd.corpora.folds import cross_fit
from concept_icd.errors import InputError
from concept_icd.experts.arrays import loaded_arrays, save_arrays
from concept_icd.experts.forest import Forest, lightgbm_library
from concept_icd.experts.span_alignment import align
from concept_icd.experts.span_candidates import NUMBERS, candidates
from concept_icd.experts.span_lexicon import Marked, SpanLexicon, learn_lexicon, read_marked
from concept_icd.experts.span_reading import ReadNote
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.records import CodedNote, Level, Note, OneLine

NAME = "spans"
ROUNDS = 300
TREES: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.06,
    "num_leaves": 12,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.25,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "max_bin": 63,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


@dataclass(frozen=True, eq=False, repr=False)
class SpanExpert(OneLine):
    """A fitted lexicon and its trees.

    Attributes:
        forest: one ensemble; it asks whether the number in a column of `NUMBERS` is above something. column, above:
            int32 and float64, of each of these questions. rest: float32 (codes,), log-odds where nothing proposes.
    """

    codes: tuple[str, ...]
    lexicon: SpanLexicon
    forest: Forest
    column: np.ndarray
    above: np.ndarray
    rest: np.ndarray
    level: Level = "spans"

    def log_odds(self, notes: Sequence[Note]) -> np.ndarray:
        """See `Expert`."""
        read = [ReadNote.of(note) for note in notes]
        odds = [self.log_odds_of(note) for note in read]
        return np.array(odds, dtype=np.float32).reshape(len(notes), len(self.codes))

    def log_odds_of(self, note: ReadNote) -> np.ndarray:
        """Of one note, float32 (codes,); NaN where it has no words."""
        if not note.words:
            return np.full(len(self.codes), np.nan, dtype=np.float32)
        odds = self.rest.copy()
        codes, numbers, _ = candidates(self.lexicon, note, self._categories, self.lexicon.hits(note))
        if codes:
            odds[codes] = self.forest.sums(numbers[:, self.column] > self.above)[:, 0]
        return odds

    def passages(self, note: Note, code: str, most: int = 5) -> tuple[tuple[int, int], ...]:
        """Character spans (start, end) of the note that propose a code, those that say most first."""
        read = ReadNote.of(note)
        codes, _, places = candidates(self.lexicon, read, self._categories, self.lexicon.hits(read))
        own = dict(zip(codes, places, strict=True)).get(self.codes.index(code), [])
        return tuple((read.span[first][0], read.span[last][1]) for first, last in own[:most])

    @cached_property
    def _categories(self) -> list[str]:
        return categories_of(self.codes)

    # Storage ------------------------------------------------------------------------------------------------------

    @cached_property
    def hash(self) -> str:
        """See `Expert`."""
        return hash_of([self.codes, *(array.tolist() for array in self._arrays().values())])

    def save(self, folder: Path) -> None:
        """See `Expert`."""
        save_arrays(folder, NAME, {"codes": self.codes, "notes": self.lexicon.notes}, self._arrays())

    @classmethod
    def load(cls, folder: Path) -> SpanExpert:
        """Reads what `save` wrote.

        Raises:
            InputError: a file is missing or damaged.
        """
        with loaded_arrays(folder, NAME) as (record, arrays):
            column, above, rest = (arrays.pop(name) for name in ("column", "above", "rest"))
            trees = {name[len("tree ") :]: arrays.pop(name) for name in sorted(arrays) if name.startswith("tree ")}
            lexicon = SpanLexicon.of_arrays(arrays, record["notes"])
            expert = cls(tuple(record["codes"]), lexicon, Forest(**trees), column, above, rest)
            expert.forest.check(len(expert.above), 1)
            if len(expert.rest) != len(expert.codes) or expert.column.max(initial=0) >= len(NUMBERS):
                raise ValueError("numbers are missing")
        return expert

    def _arrays(self) -> dict[str, np.ndarray]:
        trees = {f"tree {name}": array for name, array in vars(self.forest).items()}
        own = {"column": self.column, "above": self.above, "rest": self.rest}
        return {**trees, **own, **self.lexicon.arrays()}


@dataclass(frozen=True)
class SpanRecipe:
    """How lexicon and trees are fitted: the constants of these modules."""

    rounds: int = ROUNDS

    def fit(
        self, notes: Sequence[CodedNote], gold: np.ndarray, concepts: ConceptSet, fold: np.ndarray, seed: int
    ) -> tuple[SpanExpert, np.ndarray]:
        """See `ExpertRecipe`."""
        codes = tuple(concepts.codes)
        columns = {code: column for column, code in enumerate(codes)}
        read = [read_marked(coded, columns, np.flatnonzero(own)) for coded, own in zip(notes, gold, strict=True)]
        titles = None if any(marked.marks for marked in read) else concepts.titles
        held_out = np.full((len(notes), len(codes)), np.nan, dtype=np.float32)

        def fitted(rows: np.ndarray) -> SpanExpert:
            own = [read[row] for row in rows.tolist()]
            return _fit(codes, own if titles is None else align(own, titles), seed, self.rounds)

        for rows, expert in cross_fit(fold, fitted, "fit spans"):
            held_out[rows] = [expert.log_odds_of(read[row].note) for row in rows.tolist()]
        return fitted(np.arange(len(notes))), held_out


def _fit(codes: tuple[str, ...], notes: Sequence[Marked], seed: int, rounds: int) -> SpanExpert:
    lightgbm = lightgbm_library()
    lexicon, own, hits = learn_lexicon(notes)
    categories = categories_of(codes)
    numbers, right = [np.empty((0, len(NUMBERS)))], []
    missed, silent = np.zeros(len(codes)), np.full(len(codes), len(notes) + 1.0)
    for marked, counts, found in zip(notes, own, hits, strict=True):
        proposed, rows, _ = candidates(lexicon, marked.note, categories, found, counts)
        numbers.append(rows)
        right += [code in marked.gold for code in proposed]
        silent[proposed] -= 1
        missed[list(marked.gold - set(proposed))] += 1
    data = lightgbm.Dataset(np.concatenate(numbers), np.array(right, dtype=np.float32), params=TREES)
    if len(set(right)) < 2:
        raise InputError("too few passages to learn from: leave the expert of spans out")
    booster = lightgbm.train(TREES | {"seed": seed}, data, rounds)
    share = (missed + missed.mean() + 0.01) / (silent + 2)  # never 0 or 1
    rest = np.log(share / (1 - share)).astype(np.float32)
    return SpanExpert(codes, lexicon, *Forest.of_numbers(booster), rest)


def categories_of(codes: Sequence[str]) -> list[str]:
    """The first three characters of each: the category, or the table of a procedure."""
    return [code[:3] for code in codes]
