"""A head with the hierarchy in it: a code's weights held to those of its category, chapter and of all codes.

`levels.py` compares it with one whose weights are held to those of all codes alone, as the package's are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import expit

from concept_icd.corpora.folds import group_folds
from concept_icd.heads.calibration import choose_threshold
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology

#: How strongly a block's weights are held to those above it; those tried.
PENALTIES = (3.0, 10.0, 30.0, 100.0)


def pair_features(scores: np.ndarray, concepts: ConceptSet, levels: Sequence[str]) -> np.ndarray:
    """(notes, codes, levels + 1): the scores of each code's concepts by level, and 1.

    A level that a code's path lacks repeats the next narrower one, so that all codes share the meaning of a column.
    """
    columns = []
    for path in concepts.rows.values():
        by_level = {concepts.concepts[row].level: row for row in path}
        own = by_level["code"]
        columns.append([own := by_level.get(level, own) for level in reversed(levels)])
    features = scores[:, np.array(columns)].astype(np.float64)
    return np.concatenate([features, np.ones((*features.shape[:2], 1))], axis=2)


def design(features: np.ndarray, codes: Sequence[str], blocks: Sequence[str], penalty: float) -> sparse.csr_array:
    """(notes x codes, weights): a copy of a pair's features for each block that its code is in.

    Ridge regression on these columns holds the weights of a block to the sum of those of the blocks above it; "all" is
    held by next to nothing.
    """
    ontology, (notes, labels, size) = load_ontology("icd9cm"), features.shape
    parts = []
    for block in blocks:
        names = [_block_of(ontology.path(code), code, block) for code in codes]
        place = {name: number for number, name in enumerate(dict.fromkeys(names))}
        column = np.array([place[name] for name in names])[:, None] * size + np.arange(size)
        indices = np.broadcast_to(column, features.shape).reshape(-1)
        scale = 10.0 if block == "all" else penalty**-0.5
        starts = np.arange(notes * labels + 1) * size
        parts.append(
            sparse.csr_array((features.reshape(-1) * scale, indices, starts), (notes * labels, len(place) * size))
        )
    return sparse.csr_array(sparse.hstack(parts))


def _block_of(path: Sequence[str], code: str, block: str) -> str:
    return {"all": "", "chapter": path[0], "category": code.split(".")[0], "code": code}[block]


def fit_blocks(x: np.ndarray, gold: np.ndarray, codes: Sequence[str], blocks: Sequence[str]) -> Any:
    """Logistic regression over all pairs, its penalty cross-validated by log loss, and the threshold.

    The first is a function of features, (notes, codes, levels + 1), and the codes that they are of, to log-odds.
    """
    from sklearn.linear_model import LogisticRegression

    scale = x[..., :-1].std()  # of all scores, one number: what is unseen has none of its own

    def columns(part: np.ndarray, of: Sequence[str], penalty: float) -> sparse.csr_array:
        return design(np.concatenate([part[..., :-1] / scale, part[..., -1:]], axis=2), of, blocks, penalty)

    def fitted(rows: np.ndarray, penalty: float) -> Callable[[np.ndarray, Sequence[str]], np.ndarray]:
        model = LogisticRegression(C=1.0, fit_intercept=False, max_iter=300)
        model.fit(columns(x[rows], codes, penalty), gold[rows].reshape(-1))
        return lambda part, of: (columns(part, of, penalty) @ model.coef_[0]).reshape(part.shape[:2])

    fold = group_folds(range(len(gold)), 3, 0)
    tried = []
    for penalty in PENALTIES if len(blocks) > 1 else PENALTIES[:1]:
        odds = np.zeros(gold.shape)
        for number in range(3):
            odds[fold == number] = fitted(np.flatnonzero(fold != number), penalty)(x[fold == number], codes)
        tried.append((float(np.logaddexp(0, np.where(gold, -odds, odds)).mean()), penalty, odds))
    _, penalty, odds = min(tried, key=lambda entry: entry[:2])
    return fitted(np.arange(len(gold)), penalty), choose_threshold(gold, expit(odds), at_least_one=None)
