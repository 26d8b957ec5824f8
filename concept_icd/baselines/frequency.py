"""`concept-icd baseline frequency`: every note gets each code's share of the training notes, whatever it says.

The floor that any reader of notes has to beat. One threshold for all codes has the highest micro-F1 on the same
training notes; there is nothing that could fit them too closely. No dev or test note decides anything.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from concept_icd.artifacts import sha256, write_manifest
from concept_icd.baselines.corpus import (
    PREDICTIONS,
    Prediction,
    by_probability,
    coded_training_notes,
    kinds_of,
    labels_of,
    notes_to_predict,
    versions_of,
    write_predictions,
)
from concept_icd.corpora import load_corpus
from concept_icd.corpora.gold import gold_matrix
from concept_icd.errors import InputError
from concept_icd.heads.calibration import Threshold, choose_threshold
from concept_icd.outputs import new_folder
from concept_icd.tuning.launch import run_launched


def fit_frequency(gold: np.ndarray) -> tuple[np.ndarray, Threshold]:
    """Each code's share of the notes, float64 (codes,), and the threshold.

    Args:
        gold: bool (notes, codes).

    >>> shares, threshold = fit_frequency(np.array([[True, False], [True, False], [True, True]]))
    >>> shares.round(2).tolist(), threshold.accept(shares[None])[0].tolist()
    ([1.0, 0.33], [True, False])
    """
    shares = gold.mean(axis=0)
    rows = np.broadcast_to(shares, gold.shape)
    return shares, choose_threshold(gold, rows, at_least_one=None, source="micro-F1 on the training notes")


def run(corpus: str | Path, out: str | Path, *, classification: str = "icd9cm", predict_split: str = "test") -> Path:
    """Counts, predicts and writes the folder `out`, whole; returns it.

    Raises:
        InputError: nothing to count or to predict, or `out` exists.
    """
    start, out = time.monotonic(), Path(out)
    if out.exists():
        raise InputError(f"{out} exists already; name another folder")
    read = load_corpus(corpus)
    notes, new = coded_training_notes(read), notes_to_predict(read, predict_split)
    kinds = kinds_of(*labels_of(read, notes, classification)[:2])
    gold, _ = gold_matrix([note.note.note_id for note in notes], notes, list(kinds))
    shares, threshold = fit_frequency(gold)
    accepted, order = threshold.accept(shares[None])[0], by_probability(shares)
    with new_folder(out) as staging:
        predicted = (Prediction(note.note_id, shares, accepted, order) for note in new)
        write_predictions(staging / PREDICTIONS, predicted, kinds, versions_of("frequency", threshold))
        write_manifest(
            staging,
            "frequency",
            inputs={"corpus": sha256(Path(corpus) / "notes.parquet")},
            config={"classification": classification, "predict_split": predict_split},
            seed=None,
            seconds=time.monotonic() - start,
            notes=len(notes),
        )
    return out


def main(argv: Sequence[str]) -> int:
    """Parses options and runs."""
    parser = argparse.ArgumentParser(prog="concept-icd baseline frequency", allow_abbrev=False)
    parser.add_argument("--corpus", required=True, help="folder written by `concept-icd prepare`")
    parser.add_argument("--output_dir", required=True, help="folder of the predictions")
    parser.add_argument("--classification", default="icd9cm", help="ontology of the codes")
    parser.add_argument("--predict_split", default="test", help="split that predictions.jsonl is of")
    options = vars(parser.parse_args(argv))
    return run_launched("frequency", lambda: run(options.pop("corpus"), options.pop("output_dir"), **options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
