"""All stages on one corpus: tune, score, fit, evaluate. Each writes its folder and is skipped where it is complete.

    OUT/corpus  OUT/tuned  OUT/scores  OUT/coder  OUT/evaluation/{results.json,report.html,predictions.jsonl}

A prepared corpus that has training and test notes is read where it lies; there is no OUT/corpus then. The heads are
fitted on scores of training notes by adapters that did not see them; the test notes are scored by the final adapter,
and looked at once, at the end. Dev notes are not needed: thresholds come from cross-validation on training notes. Only
where every adapter saw all training notes (folds and holdout 0) are the heads fitted on the dev notes instead.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from concept_icd.artifacts import read_manifest, sha256
from concept_icd.coder.coder import ConceptCoder
from concept_icd.coder.evaluation import evaluate_coder
from concept_icd.corpora import Corpus, load_corpus, save_corpus
from concept_icd.corpora.folds import group_folds
from concept_icd.errors import InputError, extras
from concept_icd.experts.expert import ExpertRecipe
from concept_icd.heads.fitting import HeadOptions
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.llm.reference import NO_MODEL
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import DEFAULT, load_ontology
from concept_icd.outputs import MANIFEST, require_replaceable
from concept_icd.progress import tell
from concept_icd.records import CodedNote
from concept_icd.scoring.selection import FILE as DESCENT
from concept_icd.scoring.selection import SelectionRule, TopDownSelection
from concept_icd.scoring.silent import silence
from concept_icd.scoring.specs import ADAPTER, precision_of
from concept_icd.scoring.store import CONCEPTS, PROMPT, load_scores


def run_pipeline(
    source: str | Path | Sequence[CodedNote],
    out: str | Path,
    tuning_options: Sequence[str],
    *,
    title: str,
    seed: int = 0,
    classification: str = DEFAULT,
    command: str | None = None,
) -> Path:
    """Runs what is not done yet; returns the report's path.

    Args:
        source: coded notes, or a prepared folder. Without coded notes of a "test" split, a fifth of the patients
            becomes one.
        tuning_options: as for `scripts/finetune.py`, but for the corpus and the output.
        title: of the report. seed: of the split, the folds and the tuning.
        classification: of the codes of notes that lie in no prepared folder.

    Raises:
        InputError: whatever a stage says.
    """
    with extras("train"):
        from concept_icd.scoring.adapters import score_corpus
        from concept_icd.tuning.config import parse_options
        from concept_icd.tuning.finetune import changed_options, finetune

    out = Path(out)
    tuned, scored = out / "tuned", out / "scores"
    for stage, part in (("fit", "coder"), ("evaluate", "evaluation")):  # what the last stages will replace
        if not (out / part / MANIFEST).is_file():
            require_replaceable(out / part, stage, overwrite=True)
    folder, corpus = _corpus(source, out / "corpus", seed, title, classification)
    own = ["--corpus", str(folder), "--output_dir", str(tuned), "--seed", str(seed)]
    options = parse_options([*tuning_options, *own])
    heads = "train" if options[0].folds or options[0].holdout else "dev"
    if not any(note.codes for note in corpus.split(heads)):
        raise InputError("the heads need notes that the adapter does not see: set folds or holdout, or name dev notes")
    if _begin("2/5 tune", tuned):
        finetune(options)
    elif changed := changed_options(read_manifest(tuned, "finetune")["config"], options):
        raise InputError(f"{tuned} was tuned with other options ({', '.join(changed)}); name another folder")
    if _begin("3/5 score", scored):
        notes = [note.note for note in (*corpus.split(heads), *corpus.split("test"))]
        score_corpus(notes, tuned, scored)
    scores = load_scores(scored)
    if _begin("4/5 fit", out / "coder"):
        start = time.monotonic()
        coder = fit_coder(scored, corpus.notes, heads)
        inputs = {"scores": sha256(scored / MANIFEST), "corpus": sha256(folder / MANIFEST)}
        seconds = time.monotonic() - start
        coder.save_pretrained(out / "coder", overwrite=True, inputs=inputs, seed=seed, seconds=seconds)
    if _begin("5/5 evaluate", out / "evaluation"):
        coder = ConceptCoder.from_pretrained(out / "coder")
        evaluate_coder(coder, scores, corpus, out / "evaluation", title=title, seed=seed, command=command)
    return out / "evaluation" / "report.html"


def _corpus(
    source: str | Path | Sequence[CodedNote], folder: Path, seed: int, title: str, classification: str
) -> tuple[Path, Corpus]:
    """The corpus to work on and its folder; `folder` is written where the source is none with the splits needed.

    Raises:
        InputError: the source has no codes or no text, or `folder` holds another corpus.
    """
    if isinstance(source, (str, Path)):
        corpus = load_corpus(source)
        if not any(coded.note.normalized.text for coded in corpus.notes):
            raise InputError(f"the notes of {source} have no text: a model has nothing to read there")
        if all(any(note.codes for note in corpus.split(name)) for name in ("train", "test")):
            _begin("1/5 corpus", Path(source))
            return Path(source), corpus
        if corpus.label_set is not None:
            raise InputError(f"{source} fixes its label set but lacks coded notes to train on or to test on")
        source, classification = corpus.notes, corpus.classification
    notes = with_test_split(source, seed)
    if _begin("1/5 corpus", folder):
        save_corpus(folder, notes, seed=seed, config={"title": title}, classification=classification)
    corpus = load_corpus(folder)
    if list(corpus.notes) != notes:
        raise InputError(f"{folder} holds other notes or splits than these; name another folder")
    return folder, corpus


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


def fit_experts_alone(
    corpus: Corpus,
    splits: Sequence[str] | None,
    experts: Sequence[ExpertRecipe],
    options: HeadOptions | None = None,
) -> ConceptCoder:
    """Fits a coder that asks no language model: experts alone read the notes.

    Args:
        splits: of the notes to learn from; None: all. Its codes are those of these notes.

    Raises:
        InputError: no coded note in these splits, no expert, or what `ConceptCoder.fit` says.
    """
    notes = [note for note in corpus.notes if note.codes and (splits is None or note.split in splits)]
    if not notes:
        raise InputError(f"the corpus has no coded note of the splits {', '.join(splits or ())}")
    if not experts:
        raise InputError("without scores there must be experts that read the notes: name them with --experts")
    codes = tuple(sorted({code for note in notes for code in note.codes}))
    meant = {label: code for label, code in corpus.aliases.items() if label in codes}
    ontology = load_ontology(corpus.classification)
    concepts = ConceptSet.expand(codes, ontology, levels=("code",), aliases=meant)
    return ConceptCoder.fit(
        silence([note.note for note in notes], concepts),
        notes,
        concepts,
        model=NO_MODEL,
        scorer_settings={"scorer": "none"},
        options=options,
        classification=corpus.classification,
        experts=experts,
    )


def fit_coder(
    scored: str | Path,
    notes: Sequence[CodedNote],
    split: str | Sequence[str] | None,
    *,
    model: str | None = None,
    adapter: str | Path | None = None,
    options: HeadOptions | None = None,
    allow_in_sample: bool = False,
    experts: Sequence[ExpertRecipe] = (),
) -> ConceptCoder:
    """Fits a coder on the scored notes of some splits (None: all); what made the scores is read from their folder.

    Args:
        model, adapter: what new notes will be scored with, where it is not what the folder names.
        experts: what is stacked with the scores; see `concept_icd.experts`.

    Raises:
        InputError: no scored note belongs to the split, or what `ConceptCoder.fit` says.
    """
    scored, scores = Path(scored), load_scores(scored)
    settings = read_manifest(scored, "score")["config"]
    splits = (split,) if isinstance(split, str) else split
    wanted = {note.note.note_id for note in notes if splits is None or note.split in splits}
    chosen = [note_id for note_id in scores.note_ids if note_id in wanted]
    if not chosen:
        raise InputError(f"{scored} holds no score of a note of the split {' or '.join(splits or ()) or '(any)'}")
    concepts, rule = ConceptSet.load(scored / CONCEPTS), None
    if settings.get("plan") is not None:
        rule = SelectionRule.load(scored / DESCENT)
        if TopDownSelection.over(concepts, load_ontology(concepts.classification), rule).hash != settings["plan"]:
            raise InputError(f"{scored / DESCENT} is not the selection that {scored} was scored with: score again")
    coder = ConceptCoder.fit(
        scores.select(chosen),
        notes,
        concepts,
        model=model or settings["model"],
        adapter=adapter or settings["adapter"],
        prompt=PromptTemplate.load(scored / PROMPT),
        scorer_settings=_scorer_settings(settings),
        classification=concepts.classification,
        options=options,
        allow_in_sample=allow_in_sample,
        selection=rule,
        experts=experts,
    )
    made_by = settings["weights"].get(ADAPTER)
    if model is adapter is None and made_by not in (None, coder.model.hash):
        raise InputError(f"{coder.model.adapter} has changed since {scored} was scored with it: score again")
    return coder


def _scorer_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a coder keeps of the settings of a store: what scored, how notes are read, and the precision if not full."""
    names = ["scorer", "max_length", "load_in_4bit", "note_text"] + ["dtype"] * (precision_of(settings) != "float32")
    return {name: settings[name] for name in names if name in settings}


def _begin(stage: str, folder: Path) -> bool:
    done = (folder / MANIFEST).is_file()
    tell(f"[{stage}] {'complete: ' if done else '-> '}{folder}")
    return not done
