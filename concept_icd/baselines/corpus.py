"""The notes and the label set of a prepared corpus, as every baseline takes them, and the predictions that it leaves.

predictions.jsonl has one note a line, as `concept-icd evaluate` and `compare` read it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from concept_icd import __version__
from concept_icd.corpora import Corpus
from concept_icd.corpora.folds import group_folds
from concept_icd.corpora.gold import gold_matrix
from concept_icd.corpora.reading import flaw
from concept_icd.errors import InputError
from concept_icd.heads.calibration import Threshold, choose_threshold
from concept_icd.ontology.tree import load_ontology
from concept_icd.outputs import new_file
from concept_icd.progress import track
from concept_icd.records import CodedNote, Note

PREDICTIONS = "predictions.jsonl"


def labels_of(
    corpus: Corpus, notes: Sequence[CodedNote], classification: str
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, str]]:
    """Diagnoses and procedures of the label set (the corpus's, or the codes of the notes, sorted), and its aliases.

    Raises:
        InputError: a label is no code of the classification.
    """
    ontology = load_ontology(classification)
    labels = corpus.label_set or tuple(sorted({code for note in notes for code in note.codes}))
    aliases = {label: code for label, code in corpus.aliases.items() if label in set(labels)}
    kinds = {label: ontology.kind(aliases.get(label, label)) for label in labels}
    diagnoses = tuple(label for label in labels if kinds[label] == "diagnosis")
    return diagnoses, tuple(label for label in labels if kinds[label] == "procedure"), aliases


def kinds_of(diagnoses: Sequence[str], procedures: Sequence[str]) -> dict[str, str]:
    """Label -> kind, diagnoses first.

    >>> kinds_of(["428.0"], ["36.01"])
    {'428.0': 'diagnosis', '36.01': 'procedure'}
    """
    return dict.fromkeys(diagnoses, "diagnosis") | dict.fromkeys(procedures, "procedure")


def coded_training_notes(corpus: Corpus) -> list[CodedNote]:
    """The coded notes of the training split, and those without a split.

    Raises:
        InputError: there is none.
    """
    train = [note for note in corpus.notes if note.codes and note.split in (None, "train")]
    if not train:
        raise InputError("the corpus has no coded training notes")
    return train


def training_notes(corpus: Corpus, holdout: float, seed: int) -> tuple[list[CodedNote], list[CodedNote]]:
    """Coded notes to learn from, and those that choose the threshold: dev's, or a share of the training patients.

    A note without a split counts as a training note; test notes are neither.

    Raises:
        InputError: there is nothing to learn from, or one patient alone and no dev split.
    """
    train = coded_training_notes(corpus)
    dev = [note for note in corpus.split("dev") if note.codes]
    if dev or not holdout:
        return train, dev
    patients = [patient_of(note) for note in train]
    if len(set(patients)) < 2:
        raise InputError("the training notes are of one patient, so none can be held out: set holdout to 0")
    fold_of = group_folds(patients, max(2, round(1 / holdout)), seed)
    chosen = [note for note, fold in zip(train, fold_of, strict=True) if fold == 0]
    return [note for note, fold in zip(train, fold_of, strict=True) if fold != 0], chosen


def require_held_out_codes(held_out: Sequence[CodedNote], labels: Iterable[str]) -> None:
    """Raises InputError where notes are held out for the threshold, and none has a code of the label set."""
    known = set(labels)
    if held_out and not any(code in known for note in held_out for code in note.codes):
        raise InputError("no note that is held out for the threshold has a code of the label set: hold out more")


def notes_to_predict(corpus: Corpus, split: str) -> list[Note]:
    """The notes of a split, without their codes.

    Raises:
        InputError: there is none.
    """
    notes = [note.note for note in corpus.split(split)]
    if not notes:
        raise InputError(f"the corpus has no notes in the split {split!r} to predict")
    return notes


def require_text(note: Note) -> None:
    """Raises InputError where a note is empty or no text."""
    if reason := flaw(note.text):
        raise InputError(f"note {note.note_id!r}: {reason}")


def patient_of(note: CodedNote) -> str:
    """The patient, or the note itself where no patient is named."""
    return note.note.patient_id or f"note {note.note.note_id}"


def threshold_of(
    corpus: Corpus,
    held_out: Sequence[CodedNote],
    labels: Sequence[str],
    probabilities: Callable[[Sequence[Note]], Iterable[np.ndarray]],
) -> Threshold:
    """The threshold with the highest micro-F1 on the notes that were held out; 0.5 where none was.

    Args:
        probabilities: of some notes, one float64 (labels,) a note; called only where notes are held out.
    """
    if not held_out:
        return Threshold(0.5, source="no notes were held out")
    where = "dev split" if corpus.split("dev") else f"{len(held_out)} held-out training notes"
    notes = [note.note for note in held_out]
    rows = list(track(probabilities(notes), len(notes), "predicting held-out notes"))
    gold, _ = gold_matrix([note.note_id for note in notes], held_out, labels)
    return choose_threshold(gold, np.stack(rows), at_least_one=None, source=f"micro-F1 on the {where}")


class Prediction(NamedTuple):
    """What a model says of one note, over the columns of the label set.

    Attributes:
        probabilities: float64 (labels,). accepted: bool (labels,). order: int64 (labels,), first-ranked first.
        truncated: what was not read of the note.
    """

    note_id: str
    probabilities: np.ndarray
    accepted: np.ndarray
    order: np.ndarray
    truncated: str | None = None


def by_probability(probabilities: np.ndarray) -> np.ndarray:
    """Columns (labels,) by falling probability (labels,), equals in the label set's order.

    >>> by_probability(np.array([0.2, 0.9, 0.2])).tolist()
    [1, 0, 2]
    """
    return np.argsort(-probabilities, kind="stable")


def versions_of(model: str, threshold: Threshold) -> dict[str, str]:
    """What produced a prediction.

    >>> versions_of("cec", Threshold(0.5, source="Yes was written"))["threshold"]
    '0.500: Yes was written'
    """
    return {"concept-icd": __version__, "model": model, "threshold": f"{threshold.value:.3f}: {threshold.source}"}


def write_predictions(
    path: Path,
    predictions: Iterable[Prediction],
    kinds: Mapping[str, str],
    versions: Mapping[str, str],
    top_codes: int = 0,
) -> None:
    """Writes predictions.jsonl, by rename.

    Args:
        kinds: label -> "diagnosis" or "procedure", in the order of the columns. versions: see `versions_of`.
        top_codes: codes of a line, the first-ranked; 0: all.
    """
    codes = list(kinds)
    with new_file(path) as staging, staging.open("w", encoding="utf-8") as file:
        for note_id, probabilities, accepted, order, truncated in predictions:
            ranked = [
                {
                    "rank": rank,
                    "code": codes[column],
                    "kind": kinds[codes[column]],
                    "probability": float(probabilities[column]),
                    "accepted": bool(accepted[column]),
                }
                for rank, column in enumerate(order[: top_codes or None].tolist(), start=1)
            ]
            line = {"note_id": note_id, "codes": ranked, "truncated": truncated, "versions": dict(versions)}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
