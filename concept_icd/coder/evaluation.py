"""Measures a coder on the scored notes of a split: what `report.results.evaluate` makes of its predictions.

Gold codes come in only after every probability and decision is made. Beside the coder stand two rows that are no
systems to compare with: what training frequency alone gives, and what perfect answers would give (the oracle bound).
Published results that look like the second row exist; with its name beside it they can be told apart.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from concept_icd import metrics
from concept_icd.artifacts import write_manifest
from concept_icd.coder.coder import ConceptCoder
from concept_icd.corpora import Corpus
from concept_icd.corpora.gold import gold_matrix, gold_places
from concept_icd.corpora.mimic3.tasks import TASKS
from concept_icd.errors import InputError
from concept_icd.heads.fitting import Heads, fit_heads
from concept_icd.metrics.recall_depth import TARGETS, stops
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.outputs import new_file
from concept_icd.records import CodedNote
from concept_icd.report import EvaluationInputs, Results, evaluate, write_report
from concept_icd.report.order import FREQUENCY, report_order
from concept_icd.report.published import published_rows
from concept_icd.scoring.scorer import ConceptScores

DUMMY = FREQUENCY
ORACLE = "oracle concepts (gold codes answer every question but the codes' own: a bound, not a result)"
BY_PROBABILITY = "the same codes by probability, without the learned order"
#: Above this many codes a line of predictions.jsonl holds the first `FEW` codes of a note.
MANY, FEW = 500, 100


def evaluate_coder(
    coder: ConceptCoder,
    scores: ConceptScores,
    corpus: Corpus,
    folder: Path,
    *,
    title: str,
    split: str = "test",
    seed: int = 0,
    command: str | None = None,
) -> Results:
    """Measures a coder and writes results, report and predictions.

    The label set is the corpus's; where it names none, the codes of the coder. A label that the coder does not know
    (it occurs in no training note) has probability 0.

    Raises:
        InputError: no scored note belongs to the split.
    """
    start = time.monotonic()
    wanted = {note.note.note_id for note in corpus.split(split)}
    chosen = scores.select([note_id for note_id in scores.note_ids if note_id in wanted])
    if not len(chosen):
        raise InputError(f"no scored note belongs to the split {split!r}")
    notes = [coded.note for coded in corpus.notes]
    chosen = coder.complete(chosen, notes)
    probabilities = coder.predict_proba(chosen)
    order = coder.rank(chosen, probabilities, notes=notes)

    given = _inputs(coder, chosen.note_ids, probabilities, order, corpus, split)
    training = corpus.split("train")
    extra = {
        "levels": _levels(coder.concepts, chosen, corpus),
        "systems": _systems(given, coder, corpus, training),
        "coder": dict(coder.versions),
    }
    if corpus.task is not None and corpus.task in TASKS:
        extra["published"] = published_rows(corpus.task, given.codes, len(training), len(chosen)).to_dict()
    results = evaluate(replace(given, extra=extra, command=command), seed=seed)
    write_report(results, folder, title=title, overwrite=True)
    _write_predictions(coder, chosen, order, folder / "predictions.jsonl")
    seconds = time.monotonic() - start
    write_manifest(
        folder, "evaluate", inputs={"coder": coder.hash}, config={"split": split}, seed=seed, seconds=seconds
    )
    return results


def _inputs(
    coder: ConceptCoder,
    note_ids: Sequence[str],
    known: np.ndarray,
    order: np.ndarray,
    corpus: Corpus,
    split: str,
) -> EvaluationInputs:
    """Predictions and gold of the notes over the label set.

    Args:
        known, order: probabilities and order of the coder's own codes, (notes, codes of the coder).
    """
    labels, heads = corpus.label_set or coder.concepts.codes, coder.heads
    probabilities, accepted = _over(labels, heads, known)
    expected = heads.recall_cutoff.expected_recall(known, order)
    gold, patients = gold_matrix(note_ids, corpus.notes, labels)
    billed = all(note.in_billing_order for note in corpus.notes)
    places, principal = gold_places(note_ids, corpus.notes, labels) if billed else (None, None)
    ontology = load_ontology(coder.classification)
    means = {label: corpus.aliases.get(label, label) for label in labels}
    counts = Counter(code for note in corpus.split("train") for code in note.codes)
    return EvaluationInputs(
        gold,
        probabilities,
        labels,
        note_ids,
        patients=patients if any(note.note.patient_id for note in corpus.split(split)) else None,
        scores=None if heads.ranker.learned is None else _as_scores(labels, heads, order),
        decisions=accepted,
        threshold_source=f"{heads.threshold.value:.3f}: {heads.threshold.source}",
        label_set=_label_set(corpus, labels, len(coder.concepts.codes), note_ids),
        places=places,
        principal=principal,
        depths={recall: stops(expected, recall) for recall in TARGETS},
        kinds=[ontology.kind(code) for code in means.values()],
        train_counts={label: counts[label] for label in labels},
        titles={label: ontology.resolve(code).title for label, code in means.items()},
    )


def _over(labels: Sequence[str], heads: Heads, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and decisions of a coder's codes laid out over a label set, (notes, labels) each."""
    place = {label: number for number, label in enumerate(labels)}
    columns = [place[code] for code in heads.codes]
    wide, accepted = np.zeros((2, len(probabilities), len(labels)))
    wide[:, columns], accepted[:, columns] = probabilities, heads.threshold.accept(probabilities)
    return wide, accepted.astype(bool)


def _as_scores(labels: Sequence[str], heads: Heads, order: np.ndarray) -> np.ndarray:
    """Minus the ranks of a coder's codes laid out over a label set; labels that it does not know come last."""
    place = {label: number for number, label in enumerate(labels)}
    columns = np.array([place[code] for code in heads.codes])
    wide = np.full((len(order), len(labels)), -float(len(labels)) - 1)
    np.put_along_axis(wide, columns[order], -np.arange(1.0, order.shape[1] + 1)[None, :], axis=1)
    return wide


def _label_set(corpus: Corpus, labels: Sequence[str], known: int, note_ids: Sequence[str]) -> str:
    if corpus.label_set is not None:
        unknown = f"; {len(labels) - known} of them in no training note" if known < len(labels) else ""
        return f"the {len(labels)} labels of {corpus.task or 'the corpus'}{unknown}"
    inside, wanted = set(labels), set(note_ids)
    outside = sum(code not in inside for note in corpus.notes if note.note.note_id in wanted for code in note.codes)
    return f"the {len(labels)} codes of the training notes; {outside} gold codes of the notes measured lie outside"


def _levels(concepts: ConceptSet, scores: ConceptScores, corpus: Corpus) -> Any:
    by_id = {note.note.note_id: note for note in corpus.notes}
    truth = np.stack([concepts.weak_labels(by_id[note_id].codes) for note_id in scores.note_ids])
    return metrics.level_metrics(scores.logits, truth, [concept.level for concept in concepts.concepts])


def _systems(
    given: EvaluationInputs, coder: ConceptCoder, corpus: Corpus, training: Sequence[CodedNote]
) -> dict[str, dict[str, float]]:
    """The rows beside the coder; the last is the coder without its learned order, where it has one."""
    counts = np.array(list((given.train_counts or {}).values()), dtype=float)
    frequency = np.tile(counts / max(1, counts.max()), (len(given.note_ids), 1))
    systems = {DUMMY: _figures(given, frequency, frequency >= 0.5, DUMMY)}
    if oracle := _oracle(coder.asked, training, corpus, given):
        systems[ORACLE] = oracle
    if given.scores is not None:
        probabilities, accepted = np.asarray(given.probabilities), np.asarray(given.decisions)
        systems[BY_PROBABILITY] = _figures(given, probabilities, accepted, BY_PROBABILITY)
    return systems


def _oracle(
    concepts: ConceptSet, training: Sequence[CodedNote], corpus: Corpus, given: EvaluationInputs
) -> dict[str, float]:
    """Heads that are fitted, and measured, on the gold answers to the questions about ancestors and phrases.

    Empty where the set asks about its codes alone.

    The published artefacts of CEC lie close to such a row (Fatemi et al. 2025, released files): their concept answers
    are consistent with gold codes having reached the questions of the test notes.
    """
    asked = [row for row, concept in enumerate(concepts.concepts) if concept.level != "code"]
    if not asked:
        return {}
    by_id = {note.note.note_id: note for note in corpus.notes}

    def answers(notes: Sequence[CodedNote]) -> np.ndarray:
        return np.stack([concepts.weak_labels(note.codes)[asked] for note in notes]) * 20 - 10

    truth, patients = gold_matrix([note.note.note_id for note in training], training, concepts.codes)
    levels = [concepts.concepts[row].level for row in asked]
    heads = fit_heads(answers(training), truth, concepts.cover[asked], levels, concepts.codes, groups=patients)
    probabilities = heads.predict_proba(answers([by_id[note_id] for note_id in given.note_ids]))
    return _figures(given, *_over(given.codes, heads, probabilities))


def _figures(
    given: EvaluationInputs, probabilities: np.ndarray, accepted: np.ndarray, name: str | None = None
) -> dict[str, float]:
    """Another system on the same notes; with a name also its billing order, where the gold has one."""
    figures = metrics.decision_metrics(given.gold, accepted) | metrics.area_metrics(given.gold, probabilities)
    figures |= metrics.ranking_metrics(given.gold, probabilities)
    if name is None or given.places is None or given.kinds is None:
        return figures
    return figures | report_order(given.places, given.principal, given.kinds, probabilities, name).figures


def _write_predictions(coder: ConceptCoder, scores: ConceptScores, order: np.ndarray, path: Path) -> None:
    few = FEW if len(coder.concepts.codes) > MANY else None
    with new_file(path) as staging, staging.open("w", encoding="utf-8") as file:
        for prediction in coder.results(scores, top_codes=few, order=order):
            file.write(json.dumps(prediction.to_dict(), ensure_ascii=False) + "\n")
