"""What an expert is, and how its columns come beside those of the concepts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from concept_icd.artifacts import hash_of
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.records import LEVELS, CodedNote, Concept, Level, Note
from concept_icd.scoring.scorer import ConceptScores


class Expert(Protocol):
    """A fitted expert."""

    @property
    def level(self) -> Level:
        """Of its concepts: one of `records.EXPERTS`."""

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes that it knows, one column each."""

    @property
    def hash(self) -> str:
        """Hex digest of everything that decides its answers."""

    def log_odds(self, notes: Sequence[Note]) -> np.ndarray:
        """Float32 (notes, codes); NaN in the row of a note that gives it nothing to read."""

    def save(self, folder: Path) -> None:
        """Writes its files into an existing folder."""


class ExpertRecipe(Protocol):
    """How an expert is fitted."""

    def fit(
        self, notes: Sequence[CodedNote], gold: np.ndarray, concepts: ConceptSet, fold: np.ndarray, seed: int
    ) -> tuple[Expert, np.ndarray]:
        """An expert for new notes, and the log-odds of these notes, each by an expert that did not see its fold.

        Args:
            notes: training notes. gold: bool (notes, codes of the concepts). fold: (notes,), a patient's notes in one.

        Returns:
            The expert, and float32 (notes, codes of the expert) as `Expert.log_odds` would give them.

        Raises:
            InputError: the notes have nothing that the expert reads.
        """


def with_experts(asked: ConceptSet, experts: Sequence[Expert]) -> ConceptSet:
    """The concepts that are asked, then a concept for each code of each expert."""
    said = {code: asked.concepts[row].text for code, row in zip(asked.codes, asked.own_rows.tolist(), strict=True)}
    columns = [(expert.level, code) for expert in experts for code in expert.codes]
    added = [Concept(f"{level}:{code}", level, said[code], (code,)) for level, code in columns]
    return replace(asked, concepts=(*asked.concepts, *added)) if added else asked


def without_experts(concepts: ConceptSet) -> ConceptSet:
    """The concepts that a scorer is asked about."""
    asked = tuple(concept for concept in concepts.concepts if concept.level in LEVELS)
    return concepts if len(asked) == len(concepts) else replace(concepts, concepts=asked)


def join(scores: ConceptScores, concepts: ConceptSet, columns: Sequence[np.ndarray], fill: np.ndarray) -> ConceptScores:
    """Scores of the concepts asked, with the columns of the experts after them.

    Args:
        concepts: what `with_experts` gave. columns: of each expert, float32 (notes, codes of the expert).
        fill: for each of all those columns what stands where a note gave the expert nothing to read.
    """
    added = np.concatenate(columns, axis=1, dtype=np.float32) if columns else np.empty((len(scores), 0), np.float32)
    added = np.where(np.isnan(added), fill.astype(np.float32), added)
    logits: Any = np.concatenate([scores.logits, added], axis=1)
    return replace(scores, concept_hash=concepts.hash, logits=logits, asked=None)


def means(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Of each column over the notes that have it; in place of an unknown value, it adds nothing to a code's log-odds.

    >>> means([np.array([[1.0], [np.nan], [3.0]])]).tolist()
    [2.0]
    """
    wide = np.concatenate(columns, axis=1)
    there = ~np.isnan(wide)
    total: np.ndarray = np.where(there, wide, 0).sum(axis=0, dtype=np.float64)
    return total / np.maximum(there.sum(axis=0), 1)


def experts_hash(experts: Sequence[Expert]) -> str:
    """Hex digest of all of them, in order."""
    return hash_of([[expert.level, expert.hash] for expert in experts])
