"""`concept-icd baseline tfidf-svm`: TF-IDF and one linear SVM a code, the plain baseline that text models have to beat.

Words (1-2) and characters within words (2-5). It learns from the training split, chooses the regularisation and one
threshold for all codes by cross-validated micro-F1 inside it (patients stay together), and predicts another split. No
dev or test note decides anything.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion
from sklearn.svm import LinearSVC

from concept_icd.artifacts import sha256, write_manifest
from concept_icd.baselines.corpus import (
    PREDICTIONS,
    Prediction,
    by_probability,
    coded_training_notes,
    kinds_of,
    labels_of,
    notes_to_predict,
    patient_of,
    require_text,
    versions_of,
    write_predictions,
)
from concept_icd.corpora import load_corpus
from concept_icd.corpora.folds import cross_fit, group_folds
from concept_icd.corpora.gold import gold_matrix
from concept_icd.errors import InputError
from concept_icd.heads.calibration import Threshold, choose_threshold
from concept_icd.outputs import new_folder
from concept_icd.progress import progress_bar
from concept_icd.records import Note
from concept_icd.text.normalization import normalize
from concept_icd.tuning.launch import run_launched

#: Notes that are predicted at a time.
NOTES = 256
#: Inverse strengths of the regularisation, of which one is chosen.
CS = (0.1, 0.3, 1.0, 3.0)


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
        cs: Sequence[float] = CS,
        folds: int = 3,
        seed: int = 0,
    ) -> TfidfSvm:
        """Fits on texts and gold codes, bool (notes, codes); `groups` (patients) stay together in the folds."""
        texts = [normalize(text).text for text in texts]
        fold_of = group_folds(groups, folds, seed)
        held_out = {c: np.zeros(gold.shape) for c in cs}

        def fit(rows: np.ndarray) -> tuple[FeatureUnion, list[list[LinearSVC | float]]]:
            features = _features()
            x = features.fit_transform([texts[i] for i in rows.tolist()])
            return features, [_machines(x, gold[rows], c, seed) for c in cs]

        for rest, (features, machines) in cross_fit(fold_of, fit, "cross-validating SVMs"):
            x = features.transform([texts[i] for i in rest.tolist()])
            for c, own in zip(cs, machines, strict=True):
                held_out[c][rest] = _margins(own, x)
        source = f"{fold_of.max() + 1}-fold cross-validated micro-F1 on the training notes"
        choices = {c: choose_threshold(gold, _squash(held_out[c]), at_least_one=None, source=source) for c in cs}
        best = max(cs, key=lambda c: choices[c].micro_f1 or 0.0)
        features = _features()
        x = features.fit_transform(texts)
        return cls(features, tuple(_machines(x, gold, best, seed)), best, choices[best])

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Scores in (0, 1), float64 (notes, codes): the logistic function of the margins, not calibrated."""
        return _squash(_margins(self.machines, self.features.transform([normalize(text).text for text in texts])))


def run(
    corpus: str | Path,
    out: str | Path,
    *,
    classification: str = "icd9cm",
    predict_split: str = "test",
    folds: int = 3,
    cs: Sequence[float] = CS,
    seed: int = 0,
) -> Path:
    """Fits, predicts and writes the folder `out`, whole; returns it.

    Args:
        cs: inverse strengths of the regularisation to choose from.
        folds: of the cross-validation; more than there are patients counts as one each.

    Raises:
        InputError: nothing to learn from or to predict, one patient alone, an empty note, or `out` exists.
    """
    start, out = time.monotonic(), Path(out)
    if out.exists():
        raise InputError(f"{out} exists already; name another folder")
    if folds < 2:
        raise InputError(f"folds must be at least 2, it is {folds}")
    if not cs or min(cs) <= 0:
        raise InputError("cs must be positive numbers")
    read = load_corpus(corpus)
    notes = coded_training_notes(read)
    kinds = kinds_of(*labels_of(read, notes, classification)[:2])
    new = notes_to_predict(read, predict_split)
    groups = [patient_of(note) for note in notes]
    if len(set(groups)) < 2:
        raise InputError("the training notes are of one patient: cross-validation needs at least two")
    for note in (*(coded.note for coded in notes), *new):
        require_text(note)
    gold, _ = gold_matrix([note.note.note_id for note in notes], notes, list(kinds))
    model = TfidfSvm.fit([note.note.text for note in notes], gold, groups, cs=cs, folds=folds, seed=seed)
    with new_folder(out) as staging:
        predicted = _predict(model, new)
        write_predictions(staging / PREDICTIONS, predicted, kinds, versions_of("tfidf-svm", model.threshold))
        write_manifest(
            staging,
            "tfidf-svm",
            inputs={"corpus": sha256(Path(corpus) / "notes.parquet")},
            config={"classification": classification, "predict_split": predict_split, "folds": folds, "c": model.c},
            seed=seed,
            seconds=time.monotonic() - start,
            notes=len(notes),
        )
    return out


def main(argv: Sequence[str]) -> int:
    """Parses options and runs."""
    parser = argparse.ArgumentParser(prog="concept-icd baseline tfidf-svm", allow_abbrev=False)
    parser.add_argument("--corpus", required=True, help="folder written by `concept-icd prepare`")
    parser.add_argument("--output_dir", required=True, help="folder of the predictions")
    parser.add_argument("--classification", default="icd9cm", help="ontology of the codes")
    parser.add_argument("--predict_split", default="test", help="split that predictions.jsonl is of")
    parser.add_argument("--folds", type=int, default=3, help="of the cross-validation inside the training notes")
    parser.add_argument(
        "--cs", type=float, nargs="+", default=CS, help="the SVMs' C to choose from (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the folds and of the SVMs")
    options = vars(parser.parse_args(argv))
    return run_launched("tfidf-svm", lambda: run(options.pop("corpus"), options.pop("output_dir"), **options))


def _predict(model: TfidfSvm, notes: Sequence[Note]) -> Iterator[Prediction]:
    with progress_bar(len(notes), f"predicting {len(notes)} notes") as bar:
        for first in range(0, len(notes), NOTES):
            part = notes[first : first + NOTES]
            rows = model.predict_proba([note.text for note in part])
            for note, p, accepted in zip(part, rows, model.threshold.accept(rows), strict=True):
                yield Prediction(note.note_id, p, accepted, by_probability(p))
            bar.advance(len(part))


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
