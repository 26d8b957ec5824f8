"""All stages on one corpus: tune, score, fit, evaluate. Each writes its folder and is skipped where it is complete.

    OUT/corpus  OUT/tuned  OUT/scores  OUT/coder  OUT/evaluation/{results.json,report.html,predictions.jsonl}

The heads are fitted on out-of-fold scores of the training notes; the test notes are scored by the adapter that all
training notes tuned, and looked at once, at the end.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from concept_icd import metrics
from concept_icd.artifacts import MANIFEST, new_file, read_manifest, sha256, write_manifest
from concept_icd.coder import ConceptCoder, gold_matrix
from concept_icd.concepts import ConceptSet
from concept_icd.corpora import load_corpus, save_corpus
from concept_icd.errors import InputError
from concept_icd.folds import group_folds
from concept_icd.heads.fitting import HeadOptions
from concept_icd.ontology import load_ontology
from concept_icd.prompts import PromptTemplate
from concept_icd.records import CodedNote
from concept_icd.report import Results, evaluate, write_report
from concept_icd.scoring.scores import ConceptScores
from concept_icd.scoring.store import CONCEPTS, PROMPT, load_scores
from concept_icd.tuning.folder import ADAPTER


def run_pipeline(
    notes: Sequence[CodedNote],
    out: str | Path,
    tuning_options: Sequence[str],
    *,
    title: str,
    seed: int = 0,
    command: str | None = None,
) -> Path:
    """Runs what is not done yet; returns the report's path.

    Args:
        notes: coded notes; without coded notes of a "test" split, a fifth of the patients becomes one.
        tuning_options: as for `scripts/finetune.py`, but for the corpus and the output.
        title: of the report. seed: of the split, the folds and the tuning.

    Raises:
        InputError: whatever a stage says.
    """
    from concept_icd.scoring.adapters import score_corpus
    from concept_icd.tuning.config import parse_options
    from concept_icd.tuning.finetune import changed_options, finetune

    out = Path(out)
    corpus, tuned, scored = out / "corpus", out / "tuned", out / "scores"
    own = ["--corpus", str(corpus), "--output_dir", str(tuned), "--seed", str(seed)]
    options = parse_options([*tuning_options, *own])
    notes = with_test_split(notes, seed)
    if _begin("1/5 corpus", corpus):
        save_corpus(corpus, notes, seed=seed, config={"title": title})
    coded = load_corpus(corpus).notes
    if list(coded) != notes:
        raise InputError(f"{corpus} holds other notes or splits than these; name another folder")
    if _begin("2/5 tune", tuned):
        finetune(options)
    elif changed := changed_options(read_manifest(tuned, "finetune")["config"], options):
        raise InputError(f"{tuned} was tuned with other options ({', '.join(changed)}); name another folder")
    if _begin("3/5 score", scored):
        score_corpus([note.note for note in coded if note.codes], tuned, scored)
    scores = load_scores(scored)
    if _begin("4/5 fit", out / "coder"):
        start = time.monotonic()
        coder = fit_coder(scored, coded, "train")
        inputs = {"scores": sha256(scored / MANIFEST), "corpus": sha256(corpus / MANIFEST)}
        seconds = time.monotonic() - start
        coder.save_pretrained(out / "coder", overwrite=True, inputs=inputs, seed=seed, seconds=seconds)
    if _begin("5/5 evaluate", out / "evaluation"):
        coder = ConceptCoder.from_pretrained(out / "coder")
        evaluate_coder(coder, scores, coded, out / "evaluation", title=title, seed=seed, command=command)
    return out / "evaluation" / "report.html"


def with_test_split(notes: Sequence[CodedNote], seed: int) -> list[CodedNote]:
    """The coded notes with splits: their own, or a fifth of the patients (by seed) as test and the rest as train.

    Raises:
        InputError: no note has codes.
    """
    coded = [note for note in notes if note.codes]
    if not coded:
        raise InputError("none of the notes has codes: there is nothing to learn from")
    if {note.split for note in coded} >= {"train", "test"}:
        return coded
    folds = group_folds([note.note.patient_id or note.note.note_id for note in coded], 5, seed)
    splits = np.where(folds == 0, "test", "train")
    return [dataclasses.replace(note, split=str(split)) for note, split in zip(coded, splits, strict=True)]


def fit_coder(
    scored: str | Path,
    notes: Sequence[CodedNote],
    split: str | None,
    *,
    model: str | None = None,
    adapter: str | Path | None = None,
    options: HeadOptions | None = None,
    allow_in_sample: bool = False,
) -> ConceptCoder:
    """Fits a coder on the scored notes of a split (None: all); what made the scores is read from their folder.

    Args:
        model, adapter: what new notes will be scored with, where it is not what the folder names.

    Raises:
        InputError: no scored note belongs to the split, or what `ConceptCoder.fit` says.
    """
    scored, scores = Path(scored), load_scores(scored)
    settings = read_manifest(scored, "score")["config"]
    wanted = {note.note.note_id for note in notes if split is None or note.split == split}
    chosen = [note_id for note_id in scores.note_ids if note_id in wanted]
    if not chosen:
        raise InputError(f"{scored} holds no score of a note of the split {split or '(any)'}")
    coder = ConceptCoder.fit(
        scores.select(chosen),
        notes,
        ConceptSet.load(scored / CONCEPTS),
        model=model or settings["model"],
        adapter=adapter or settings["adapter"],
        prompt=PromptTemplate.load(scored / PROMPT),
        scorer_settings={name: settings[name] for name in ("max_length", "load_in_4bit")},
        options=options,
        allow_in_sample=allow_in_sample,
    )
    made_by = settings["weights"].get(ADAPTER)
    if model is adapter is None and made_by not in (None, coder.model.hash):
        raise InputError(f"{coder.model.adapter} has changed since {scored} was scored with it: score again")
    return coder


def evaluate_coder(
    coder: ConceptCoder,
    scores: ConceptScores,
    notes: Sequence[CodedNote],
    folder: Path,
    *,
    title: str,
    split: str = "test",
    seed: int = 0,
    command: str | None = None,
) -> Results:
    """Measures a coder on the scored notes of a split and writes results, report and predictions.

    Gold codes come in only after every probability and decision stands.
    """
    start = time.monotonic()
    wanted = {note.note.note_id for note in notes if note.split == split}
    chosen = scores.select([note_id for note_id in scores.note_ids if note_id in wanted])
    if not len(chosen):
        raise InputError(f"no scored note belongs to the split {split!r}")
    probabilities = coder.predict_proba(chosen)
    accepted = coder.heads.threshold.accept(probabilities)
    predictions = list(coder.results(chosen))

    gold, groups = gold_matrix(chosen.note_ids, notes, coder.concepts.codes)
    by_id = {note.note.note_id: note for note in notes}
    outside = sum(code not in coder.concepts.codes for i in chosen.note_ids for code in by_id[i].codes)
    counts = {code: sum(code in note.codes for note in notes if note.split == "train") for code in coder.concepts.codes}
    results = evaluate(
        gold,
        probabilities,
        coder.concepts.codes,
        chosen.note_ids,
        patients=groups if any(by_id[i].note.patient_id for i in chosen.note_ids) else None,
        decisions=accepted,
        threshold_source=f"{coder.heads.threshold.value:.3f}: {coder.heads.threshold.source}",
        label_set=f"the {len(counts)} codes of the training notes; {outside} gold codes of {split} notes lie outside",
        train_counts=counts,
        titles={
            code: load_ontology(coder.classification).resolve(coder.concepts.meaning(code)).title for code in counts
        },
        seed=seed,
        extra={
            "levels": _levels(coder.concepts, chosen, by_id),
            "systems": {"training frequency (dummy)": _dummy(gold, counts, coder.concepts.codes)},
            "coder": dict(coder.versions),
        },
        command=command,
    )
    write_report(results, folder, title=title, overwrite=True)
    with new_file(folder / "predictions.jsonl") as staging, staging.open("w", encoding="utf-8") as file:
        for prediction in predictions:
            file.write(json.dumps(prediction.to_dict(), ensure_ascii=False) + "\n")
    seconds = time.monotonic() - start
    write_manifest(
        folder, "evaluate", inputs={"coder": coder.hash}, config={"split": split}, seed=seed, seconds=seconds
    )
    return results


def _levels(concepts: ConceptSet, scores: ConceptScores, notes: dict[str, CodedNote]) -> Any:
    truth = np.stack([concepts.weak_labels(notes[note_id].codes) for note_id in scores.note_ids])
    return metrics.level_metrics(scores.logits, truth, [concept.level for concept in concepts.concepts])


def _dummy(gold: np.ndarray, counts: dict[str, int], codes: Sequence[str]) -> dict[str, float]:
    """Every note gets the codes' training frequencies."""
    frequency = np.array([counts[code] for code in codes], dtype=float) / max(1, max(counts.values()))
    same = np.tile(frequency, (len(gold), 1))
    return metrics.classification_metrics(gold, same) | metrics.ranking_metrics(gold, same)


def _begin(stage: str, folder: Path) -> bool:
    done = (folder / MANIFEST).is_file()
    print(f"[{stage}] {'complete: ' if done else '-> '}{folder}", file=sys.stderr, flush=True)
    return not done
