"""Runs CEC on a prepared corpus: three adapters, the answers and scores of the test notes, predictions.

    OUT/parent/  leaf/  code/                       PEFT adapters: stage 1 for each kind of phrases, stage 2
    OUT/answers-parent.jsonl  answers-leaf.jsonl    phrases answered yes, a line a test note
    OUT/scores.jsonl  predictions.jsonl             of the test notes
    OUT/manifest.json                               when all is done
    OUT/run.json, checkpoints/                      until then

The same command goes on after a kill: finished adapters and notes stay, an adapter at work resumes. Nothing is chosen
on dev or test notes; a code is accepted where stage 2 wrote Yes.
"""

from __future__ import annotations

import functools
import gc
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from concept_icd.artifacts import sha256
from concept_icd.baselines.cec.examples import (
    code_examples,
    code_questions,
    collate,
    concept_examples,
    concept_questions,
)
from concept_icd.baselines.cec.options import CecOptions, CecTraining, Options
from concept_icd.baselines.cec.predicting import answer_phrases, read_lines, score_codes
from concept_icd.baselines.cec.prompts import CodePrompt, all_phrases, read_phrases
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
from concept_icd.baselines.training import CHECKPOINTS, decisive_options, fit_lora, run_baseline, with_lora
from concept_icd.corpora import load_corpus
from concept_icd.errors import InputError
from concept_icd.heads.calibration import Threshold
from concept_icd.llm.base_model import LoadedModel, load_model
from concept_icd.llm.prompts import PromptTemplate, TokenizedPrompt
from concept_icd.llm.reference import fingerprint_of
from concept_icd.ontology.phrases import KINDS
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodedNote, Note

CODE = "code"


def run(options: Options) -> Path:
    """Runs all of it; returns the folder OUT.

    Raises:
        InputError: nothing to learn from or to predict, phrases or base models that do not fit, or OUT belongs to a run
            with other options.
    """
    cec, choices, training = options
    out = Path(str(training.output_dir))
    corpus = load_corpus(choices.corpus)
    notes = coded_training_notes(corpus)
    diagnoses, procedures, aliases = labels_of(corpus, notes, choices.classification)
    kinds, ontology = kinds_of(diagnoses, procedures), load_ontology(choices.classification)
    titles = {label: ontology.resolve(aliases.get(label, label)).title for label in kinds}
    most = {"parent": cec.parent_phrases, "leaf": cec.leaf_phrases}
    phrases = read_phrases(cec.phrases, list(kinds), ontology, aliases, most)
    new = notes_to_predict(corpus, choices.predict_split)
    inputs = {"corpus": sha256(Path(choices.corpus) / "notes.parquet"), "phrases": sha256(cec.phrases)}
    models = (cec.concept_model, cec.code_model)

    def finish() -> None:
        _predict(new, phrases, titles, cec, training.seed, out)
        said = versions_of("cec", Threshold(0.0, source="Yes was written"))
        write_predictions(out / PREDICTIONS, _predictions(new, out), kinds, said, choices.top_codes)

    return run_baseline(
        "cec",
        training,
        config=decisive_options(cec, choices, training, without=("max_steps",)),
        made_of=lambda: {**inputs, **{f"base model {name}": fingerprint_of(name) for name in models}},
        holds_work=_holds_work,
        learn=lambda: _learn(notes, phrases, titles, cec, training, out),
        finish=finish,
        manifest={"inputs": inputs, "notes": len(notes)},
        prepare=lambda: _tell_what_is_missing(phrases),
    )


def both_kinds(phrases: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, tuple[str, ...]]:
    """Label -> its parent phrases and then its leaf phrases."""
    parent, leaf = phrases["parent"], phrases["leaf"]
    return {label: tuple(dict.fromkeys((*parent[label], *leaf[label]))) for label in parent}


def _learn(
    notes: Sequence[CodedNote],
    phrases: Mapping[str, Mapping[str, Sequence[str]]],
    titles: Mapping[str, str],
    cec: CecOptions,
    training: CecTraining,
    out: Path,
) -> None:
    """Tunes what is missing of the three adapters."""
    state = PartialState()
    step = training.per_device_train_batch_size * training.gradient_accumulation_steps * state.num_processes
    for kind, share in zip(KINDS, (cec.parent_negative_share, cec.leaf_negative_share), strict=True):
        if _is_done(out / kind):
            continue
        draws = random.Random(f"{training.seed} {kind}")
        questions = concept_questions(notes, phrases[kind], share, cec.note_share, draws)
        loaded = _load(cec.concept_model, out / kind, tune=True, four_bit=cec.concept_4bit)
        examples = concept_examples(questions, _concept_prompt(loaded, cec), step * cec.concept_steps)
        # The release trains stage 1 in mixed half precision, stage 2 in plain float16.
        changes = {"max_steps": cec.concept_steps, "fp16": torch.cuda.is_available() and not training.bf16}
        _tune(loaded, examples, cec, cec.concept_alpha, cec.concept_modules, training, changes, out / kind)
    if not _is_done(out / CODE):
        draws, words = random.Random(f"{training.seed} {CODE}"), CodePrompt.load()
        loaded = _load(cec.code_model, out / CODE, tune=True, dtype=cec.code_dtype)
        prompt = words.tokenized(loaded.tokenizer, min(cec.max_length, loaded.max_length))
        asked, most = code_questions(notes, both_kinds(phrases), draws), step * cec.code_steps
        examples = code_examples(asked, prompt, words, titles, most, state_truth=cec.state_truth)
        changes = {"max_steps": cec.code_steps}
        _tune(loaded, examples, cec, cec.code_alpha, cec.code_modules, training, changes, out / CODE)


def _tune(
    loaded: LoadedModel,
    examples: Sequence[Mapping[str, Any]],
    cec: CecOptions,
    alpha: int,
    modules: Sequence[str],
    training: CecTraining,
    changes: Mapping[str, Any],
    out: Path,
) -> None:
    from transformers import set_seed

    set_seed(training.seed)
    tuned = with_lora(
        loaded.model,
        training,
        r=cec.lora_r,
        alpha=alpha,
        dropout=cec.lora_dropout,
        modules=modules,
        task="CAUSAL_LM",
    )
    folder = Path(str(training.output_dir)) / CHECKPOINTS / out.name
    padded = functools.partial(collate, padding_id=0)  # masked: any token
    fit_lora(tuned, examples, padded, training, folder, out, **changes)
    _free()


def _predict(
    notes: Sequence[Note],
    phrases: Mapping[str, Mapping[str, Sequence[str]]],
    titles: Mapping[str, str],
    cec: CecOptions,
    seed: int,
    out: Path,
) -> None:
    """Answers and scores of the notes that are missing."""
    answered: dict[str, set[str]] = {note.note_id: set() for note in notes}
    for kind in KINDS:
        path = out / f"answers-{kind}.jsonl"
        if len(read_lines(path)) < len(notes):
            loaded = _load(cec.concept_model, out / kind, four_bit=cec.concept_4bit)
            prompt = _concept_prompt(loaded, cec)
            answer_phrases(notes, all_phrases(phrases[kind]), loaded, prompt, path, cec.answer_batch_size)
            del loaded, prompt
            _free()
        for note_id, line in read_lines(path).items():
            answered[note_id].update(line["yes"])
    path = out / "scores.jsonl"
    if len(read_lines(path)) < len(notes):
        loaded = _load(cec.code_model, out / CODE, dtype=cec.code_dtype)
        score_codes(
            notes,
            {note_id: frozenset(yes) for note_id, yes in answered.items()},
            both_kinds(phrases),
            titles,
            CodePrompt.load(),
            loaded,
            min(cec.max_length, loaded.max_length),
            path,
            seed=seed,
            batch_size=cec.answer_batch_size,
        )


def _predictions(notes: Sequence[Note], out: Path) -> Iterator[Prediction]:
    """Codes by score, from scores.jsonl; accepted where Yes was written."""
    scores = read_lines(out / "scores.jsonl")
    for note in notes:
        line = scores[note.note_id]
        p = np.array(line["scores"])
        yield Prediction(note.note_id, p, p > 0, by_probability(p), line["truncated"])


def _concept_prompt(loaded: LoadedModel, cec: CecOptions) -> TokenizedPrompt:
    limit = min(cec.max_length, loaded.max_length)
    return TokenizedPrompt(PromptTemplate.load("cec-concept"), loaded.tokenizer, limit)


def _load(
    base: str, adapter: Path, *, tune: bool = False, four_bit: bool = False, dtype: str | None = None
) -> LoadedModel:
    """A base model to be tuned, or with its adapter; in float32 and unquantised where there is no GPU."""
    gpu = torch.cuda.is_available()
    if four_bit and not gpu:
        raise InputError("NF4 needs a GPU: set concept_4bit to false to run without")
    return load_model(
        base,
        None if tune else adapter,
        dtype=dtype if gpu else "float32",
        device=str(PartialState().device),
        load_in_4bit=four_bit,
    )


def _tell_what_is_missing(phrases: Mapping[str, Mapping[str, Any]]) -> None:
    """Says which labels lack phrases."""
    for kind in KINDS:
        without = [label for label, found in phrases[kind].items() if not found]
        if without:
            print(
                f"{len(without)} of {len(phrases[kind])} labels have no {kind} phrase ({', '.join(without[:5])}, ...): "
                "the release has some of each",
                file=sys.stderr,
            )


def _is_done(adapter: Path) -> bool:
    return (adapter / "adapter_config.json").is_file()


def _holds_work(out: Path) -> bool:
    return any(_is_done(out / name) for name in (*KINDS, CODE)) or any(out.glob(f"{CHECKPOINTS}/*/checkpoint-*"))


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
