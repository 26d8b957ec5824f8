r"""The model that all codes share: one logistic regression over (note, code) pairs (see `aggregator`).

The features of the pair \((n, c)\) are, for each level \(l\), the means over the concepts of that level which cover
\(c\) of \(x_{nk}\) and of \(s_{nk}\) in units of the deviation of all scores; the log-odds of the code's training
frequency; and 1. It knows nothing of a code's own weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from concept_icd.heads.newton import logistic, minimise

if TYPE_CHECKING:
    from scipy.sparse import csr_array

#: Penalty of each weight of the shared model but its intercept. Pairs are many, so that it hardly matters.
SHARED_PENALTY = 1.0
#: With more pairs than this, all positive ones are used, and so many negative ones, drawn at random and weighted to
#: stand for all: a dozen numbers need no more.
MAX_PAIRS = 2_000_000
#: Notes that are looked at together: bounds the memory that float64 takes.
BLOCK = 256


@dataclass(frozen=True, eq=False)
class ScoreStatistics:
    """Mean and deviation of each concept's score, float64, shape (concepts,), and the deviation of all scores."""

    mean: np.ndarray
    scale: np.ndarray
    unit: float

    @classmethod
    def of(cls, logits: np.ndarray, rows: np.ndarray) -> ScoreStatistics:
        """Over these rows of the scores (notes, concepts)."""
        mean = sum(part.sum(axis=0) for part in _blocks(logits, rows)) / len(rows)
        variance = sum(((part - mean) ** 2).sum(axis=0) for part in _blocks(logits, rows)) / len(rows)
        unit = float(np.sqrt(np.mean(variance + (mean - mean.mean()) ** 2)))
        scale = np.sqrt(variance)
        scale[scale < 1e-6] = 1.0  # a constant concept says nothing: x = 0
        return cls(mean, scale, max(unit, 1e-6))


def fit_shared(
    logits: np.ndarray,
    gold: np.ndarray,
    rows: np.ndarray,
    statistics: ScoreStatistics,
    cover: csr_array,
    levels: Sequence[str],
    tolerance: float = 1e-8,
) -> tuple[np.ndarray, np.ndarray]:
    """The weights of the concepts that cover each code, in the order of `cover.data`, and the intercepts (codes,).

    Args:
        rows: the notes to fit on, indices into `logits` (notes, concepts) and `gold` (notes, codes).
        cover: (codes, concepts). levels: of the concepts.
    """
    mean, scale, unit = statistics.mean, statistics.scale, statistics.unit
    codes = cover.shape[0]
    code = np.repeat(np.arange(codes), np.diff(cover.indptr))  # the code and the concept of each entry of the cover
    concept = cover.indices
    at_level = np.array(levels)[concept]
    entries = [np.flatnonzero(at_level == level) for level in dict.fromkeys(levels)]
    entries = [found for found in entries if len(found)]
    note, column, weight = _pairs(gold, rows)
    count = gold[rows].sum(axis=0)
    frequency = np.log((count + 0.5) / (len(rows) - count + 0.5))
    features, shares = np.zeros((2 * len(entries) + 2, len(note))), []
    for place, found in enumerate(entries):
        members = np.bincount(code[found], minlength=codes)
        shares.append(1 / members[code[found]])
        # The first members of all codes at once, then the second ones.
        first = np.concatenate([[0], np.cumsum(members)[:-1]])
        for nth in range(members.max()):
            pairs = np.flatnonzero(members[column] > nth)
            k = concept[found[first[column[pairs]] + nth]]
            s = logits[note[pairs], k].astype(np.float64)
            share = 1 / members[column[pairs]]
            features[2 * place, pairs] += share * (s - mean[k]) / scale[k]
            features[2 * place + 1, pairs] += share * s / unit
    features[-2], features[-1] = frequency[column], 1.0
    penalty = np.full((1, len(features)), SHARED_PENALTY)
    penalty[0, -1] = 0.0  # the intercept is free
    target = gold[note, column].astype(np.float64)[None]
    objective = logistic(features[None], np.zeros((1, len(note))), target, penalty, weight)
    v = minimise(objective, np.zeros((1, len(features))), tolerance)[0]
    weights, bias = np.zeros(len(concept)), v[-2] * frequency + v[-1]
    for place, (found, share) in enumerate(zip(entries, shares, strict=True)):
        k = concept[found]
        weights[found] = share * (v[2 * place] + v[2 * place + 1] * scale[k] / unit)
        np.add.at(bias, code[found], share * v[2 * place + 1] * mean[k] / unit)
    return weights, bias


def _pairs(gold: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | float]:
    """The notes, the codes and the weights of the pairs to fit on; see `MAX_PAIRS`."""
    codes = gold.shape[1]
    pairs = len(rows) * codes
    if pairs <= MAX_PAIRS:
        return np.repeat(rows, codes), np.tile(np.arange(codes), len(rows)), 1.0
    note, column = np.nonzero(gold[rows])
    positive = len(note)
    drawn = np.sort(np.random.default_rng(0).integers(pairs, size=MAX_PAIRS))
    drawn = drawn[~gold[rows[drawn // codes], drawn % codes]]
    weight = np.ones(positive + len(drawn))
    weight[positive:] = (pairs - positive) / max(1, len(drawn))
    return np.append(rows[note], rows[drawn // codes]), np.append(column, drawn % codes), weight


def _blocks(logits: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), BLOCK):
        yield logits[rows[start : start + BLOCK]].astype(np.float64)
