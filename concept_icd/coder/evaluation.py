"""Measures a coder on the scored notes of a split. Gold codes come in only after every probability and decision stands.

Beside the coder stand two rows that are no systems to compare with: what training frequency alone gives, and what
perfect answers would give (the oracle bound). Published results that look like the second row exist; naming it is the
way to tell them apart.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
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
from concept_icd.records import CodedNote, Kind
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
    chosen = coder.complete(chosen, [coded.note for coded in corpus.notes])
    labels = corpus.label_set or coder.concepts.codes
    known = coder.predict_proba(chosen)
    probabilities, accepted = _over(labels, coder.heads, known)
    order = coder.rank(chosen, known, notes=[coded.note for coded in corpus.notes])
    expected = coder.heads.recall_cutoff.expected_recall(known, order)

    gold, patients = gold_matrix(chosen.note_ids, corpus.notes, labels)
    ontology = load_ontology(coder.classification)
    kinds = [ontology.kind(corpus.aliases.get(code, code)) for code in labels]
    billed = all(note.in_billing_order for note in corpus.notes)
    places, principal = gold_places(chosen.note_ids, corpus.notes, labels) if billed else (None, None)
    training = corpus.split("train")
    counts = _counts(training, labels)
    systems = {
        DUMMY: _dummy(gold, counts, labels, places, principal, kinds),
        ORACLE: _oracle(coder.asked, training, corpus, gold, labels, chosen.note_ids),
    }
    learned = coder.heads.ranker.learned is not None
    if learned:
        figures = _figures(gold, probabilities, accepted)
        ordered = (
            {} if places is None else report_order(places, principal, kinds, probabilities, BY_PROBABILITY).figures
        )
        systems[BY_PROBABILITY] = figures | ordered
    given = EvaluationInputs(
        gold,
        probabilities,
        labels,
        chosen.note_ids,
        patients=patients if any(note.note.patient_id for note in corpus.split(split)) else None,
        decisions=accepted,
        threshold_source=f"{coder.heads.threshold.value:.3f}: {coder.heads.threshold.source}",
        label_set=_label_set(corpus, labels, len(coder.concepts.codes), chosen.note_ids),
        scores=_as_scores(labels, coder.heads, order) if learned else None,
        places=places,
        principal=principal,
        reading={recall: stops(expected, recall) for recall in TARGETS},
        kinds=kinds,
        train_counts=counts,
        titles={code: ontology.resolve(corpus.aliases.get(code, code)).title for code in labels},
        extra={
            "levels": _levels(coder.concepts, chosen, corpus),
            "systems": {name: row for name, row in systems.items() if row},
            "coder": dict(coder.versions),
            **_field(corpus, labels, len(training), len(chosen)),
        },
        command=command,
    )
    results = evaluate(given, seed=seed)
    write_report(results, folder, title=title, overwrite=True)
    _write_predictions(coder, chosen, order, folder / "predictions.jsonl")
    seconds = time.monotonic() - start
    write_manifest(
        folder, "evaluate", inputs={"coder": coder.hash}, config={"split": split}, seed=seed, seconds=seconds
    )
    return results


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


def _field(corpus: Corpus, labels: Sequence[str], train: int, test: int) -> dict[str, Any]:
    """Published rows of the corpus's task, or in words why they do not compare."""
    if corpus.task is None or corpus.task not in TASKS:
        return {}
    return {"published": published_rows(corpus.task, labels, train, test).to_dict()}


def _counts(notes: Sequence[CodedNote], labels: Sequence[str]) -> dict[str, int]:
    counts = dict.fromkeys(labels, 0)
    for note in notes:
        for code in note.codes:
            if code in counts:
                counts[code] += 1
    return counts


def _levels(concepts: ConceptSet, scores: ConceptScores, corpus: Corpus) -> Any:
    by_id = {note.note.note_id: note for note in corpus.notes}
    truth = np.stack([concepts.weak_labels(by_id[note_id].codes) for note_id in scores.note_ids])
    return metrics.level_metrics(scores.logits, truth, [concept.level for concept in concepts.concepts])


def _dummy(
    gold: np.ndarray,
    counts: dict[str, int],
    labels: Sequence[str],
    places: np.ndarray | None,
    principal: np.ndarray | None,
    kinds: Sequence[Kind],
) -> dict[str, float]:
    """Every note gets the codes' training frequencies."""
    frequency = np.array([counts[code] for code in labels], dtype=float) / max(1, max(counts.values()))
    same = np.tile(frequency, (len(gold), 1))
    figures = _figures(gold, same, same >= 0.5)
    return figures if places is None else figures | report_order(places, principal, kinds, same, DUMMY).figures


def _oracle(
    concepts: ConceptSet,
    training: Sequence[CodedNote],
    corpus: Corpus,
    gold: np.ndarray,
    labels: Sequence[str],
    note_ids: Sequence[str],
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
    probabilities = heads.predict_proba(answers([by_id[note_id] for note_id in note_ids]))
    return _figures(gold, *_over(labels, heads, probabilities))


def _figures(gold: np.ndarray, probabilities: np.ndarray, accepted: np.ndarray) -> dict[str, float]:
    areas = metrics.area_metrics(gold, probabilities)
    return metrics.decision_metrics(gold, accepted) | areas | metrics.ranking_metrics(gold, probabilities)


def _write_predictions(coder: ConceptCoder, scores: ConceptScores, order: np.ndarray, path: Path) -> None:
    few = FEW if len(coder.concepts.codes) > MANY else None
    with new_file(path) as staging, staging.open("w", encoding="utf-8") as file:
        for prediction in coder.results(scores, top_codes=few, order=order):
            file.write(json.dumps(prediction.to_dict(), ensure_ascii=False) + "\n")
