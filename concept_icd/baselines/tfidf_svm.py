"""`concept-icd baseline tfidf-svm`: TF-IDF and one linear SVM a code (`baselines.tfidf`) on a prepared corpus.

Learns from the training split, chooses the regularisation and the threshold by cross-validation inside it (patients
stay together), and predicts another split. No dev or test note decides anything.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from concept_icd.artifacts import sha256, write_manifest
from concept_icd.baselines.corpus import coded_training_notes, labels_of, patient_of
from concept_icd.baselines.predictions import PREDICTIONS, by_probability, kinds_of, prediction_line, versions_of
from concept_icd.baselines.tfidf import TfidfSvm
from concept_icd.corpora import load_corpus
from concept_icd.corpora.gold import gold_matrix
from concept_icd.corpora.reading import flaw
from concept_icd.errors import InputError
from concept_icd.outputs import new_folder
from concept_icd.progress import progress_bar
from concept_icd.records import Note
from concept_icd.tuning.launch import run_launched

#: Notes that are predicted at a time.
NOTES = 256


def run(
    corpus: str | Path,
    out: str | Path,
    *,
    classification: str = "icd9cm",
    predict_split: str = "test",
    folds: int = 3,
    seed: int = 0,
) -> Path:
    """Fits, predicts and writes the folder `out`, whole; returns it.

    Args:
        folds: of the cross-validation; more than there are patients counts as one each.

    Raises:
        InputError: nothing to learn from or to predict, one patient alone, an empty note, or `out` exists.
    """
    start, out = time.monotonic(), Path(out)
    if out.exists():
        raise InputError(f"{out} exists already; name another folder")
    if folds < 2:
        raise InputError(f"folds must be at least 2, it is {folds}")
    read = load_corpus(corpus)
    notes = coded_training_notes(read)
    kinds = kinds_of(*labels_of(read, notes, classification)[:2])
    new = [note.note for note in read.split(predict_split)]
    if not new:
        raise InputError(f"the corpus has no notes in the split {predict_split!r} to predict")
    groups = [patient_of(note) for note in notes]
    if len(set(groups)) < 2:
        raise InputError("the training notes are of one patient: cross-validation needs at least two")
    for note in (*(coded.note for coded in notes), *new):
        if reason := flaw(note.text):
            raise InputError(f"note {note.note_id!r}: {reason}")
    gold, _ = gold_matrix([note.note.note_id for note in notes], notes, list(kinds))
    model = TfidfSvm.fit([note.note.text for note in notes], gold, groups, folds=folds, seed=seed)
    with new_folder(out) as staging:
        _predict(model, new, kinds, staging / PREDICTIONS)
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


def _predict(model: TfidfSvm, notes: Sequence[Note], kinds: Mapping[str, str], path: Path) -> None:
    """Writes the predictions of some notes, a few hundred at a time."""
    versions = versions_of("tfidf-svm", model.threshold)
    with path.open("w", encoding="utf-8") as file, progress_bar(len(notes), f"predicting {len(notes)} notes") as bar:
        for first in range(0, len(notes), NOTES):
            part = notes[first : first + NOTES]
            rows = model.predict_proba([note.text for note in part])
            for note, p, accepted in zip(part, rows, model.threshold.accept(rows), strict=True):
                file.write(prediction_line(note.note_id, kinds, p, accepted, by_probability(p), versions))
            bar.advance(len(part))


def main(argv: Sequence[str]) -> int:
    """Parses options and runs."""
    parser = argparse.ArgumentParser(prog="concept-icd baseline tfidf-svm", allow_abbrev=False)
    parser.add_argument("--corpus", required=True, help="folder written by `concept-icd prepare`")
    parser.add_argument("--output_dir", required=True, help="folder of the predictions")
    parser.add_argument("--classification", default="icd9cm", help="ontology of the codes")
    parser.add_argument("--predict_split", default="test", help="split that predictions.jsonl is of")
    parser.add_argument("--folds", type=int, default=3, help="of the cross-validation inside the training notes")
    parser.add_argument("--seed", type=int, default=0, help="of the folds and of the SVMs")
    options = vars(parser.parse_args(argv))
    return run_launched("tfidf-svm", lambda: run(options.pop("corpus"), options.pop("output_dir"), **options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
