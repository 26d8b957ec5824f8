"""TF-IDF and one linear SVM a code: the plain baseline that every text model has to beat.

Words (1-2) and characters within words (2-5); the regularisation and one threshold for all codes are chosen by
cross-validated micro-F1 inside the training notes.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion
from sklearn.svm import LinearSVC

from concept_icd.corpora.folds import group_folds
from concept_icd.heads.calibration import Threshold, choose_threshold
from concept_icd.progress import track
from concept_icd.text.normalization import normalize


@dataclass(frozen=True)
class TfidfSvm:
    """A fitted baseline.

    Attributes:
        machines: one a code; a number, +1 or -1, where every or no training note has the code.
    """

    features: FeatureUnion
    machines: tuple[LinearSVC | float, ...]
    c: float
    threshold: Threshold

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        gold: np.ndarray,
        groups: Sequence[Hashable],
        *,
        cs: Sequence[float] = (0.1, 0.3, 1.0, 3.0),
        folds: int = 3,
        seed: int = 0,
    ) -> TfidfSvm:
        """Fits on texts and gold codes, bool (notes, codes); `groups` (patients) stay together in the folds."""
        texts = [normalize(text).text for text in texts]
        fold_of = group_folds(groups, folds, seed)
        held_out = {c: np.zeros(gold.shape) for c in cs}
        for fold in track(range(fold_of.max() + 1), fold_of.max() + 1, "cross-validating SVMs", "folds"):
            train, rest = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
            features = _features()
            x = features.fit_transform([texts[i] for i in train.tolist()])
            x_rest = features.transform([texts[i] for i in rest.tolist()])
            for c in cs:
                held_out[c][rest] = _margins(_machines(x, gold[train], c, seed), x_rest)
        source = f"{fold_of.max() + 1}-fold cross-validated micro-F1 on the training notes"
        choices = {c: choose_threshold(gold, _squash(held_out[c]), at_least_one=None, source=source) for c in cs}
        best = max(cs, key=lambda c: choices[c].micro_f1 or 0.0)
        features = _features()
        x = features.fit_transform(texts)
        return cls(features, tuple(_machines(x, gold, best, seed)), best, choices[best])

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Scores in (0, 1), float64 (notes, codes): the logistic function of the margins, not calibrated."""
        return _squash(_margins(self.machines, self.features.transform([normalize(text).text for text in texts])))


def _features() -> FeatureUnion:
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    return FeatureUnion([("words", words), ("characters", characters)])


def _machines(x: object, gold: np.ndarray, c: float, seed: int) -> list[LinearSVC | float]:
    return [
        LinearSVC(C=c, random_state=seed).fit(x, column) if 0 < column.sum() < len(column) else 2.0 * column[0] - 1.0
        for column in gold.T
    ]


def _margins(machines: Sequence[LinearSVC | float], x: object) -> np.ndarray:
    rows = x.shape[0]  # type: ignore[attr-defined]
    columns = [np.full(rows, m) if isinstance(m, float) else m.decision_function(x) for m in machines]
    return np.column_stack(columns)


def _squash(margins: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-margins))
