"""The notes and the label set of a prepared corpus, as every baseline takes them."""

from __future__ import annotations

from collections.abc import Sequence

from concept_icd.corpora import Corpus
from concept_icd.corpora.folds import group_folds
from concept_icd.errors import InputError
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodedNote


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


def patient_of(note: CodedNote) -> str:
    """The patient, or the note itself where no patient is named."""
    return note.note.patient_id or f"note {note.note.note_id}"
