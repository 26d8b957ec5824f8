"""Trains a model on a prepared corpus and predicts its test notes.

    OUT/model/              config.json, model.safetensors, the tokenizer
    OUT/predictions.jsonl   of the test split
    OUT/manifest.json       when all is done
    OUT/run.json, base/, checkpoints/   until then

The same command goes on after a kill. The threshold is chosen on the dev split, or on held-out training patients;
test notes are read once, at the end, without their codes.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, PartialState

from concept_icd.artifacts import sha256, write_json, write_manifest
from concept_icd.baselines.corpus import labels_of, training_notes
from concept_icd.baselines.ltr_icd.backbones import load_backbone, make_tiny
from concept_icd.baselines.ltr_icd.config import LtrIcdConfig, Options
from concept_icd.baselines.ltr_icd.data import Collator, NoteEncoder, training_example
from concept_icd.baselines.ltr_icd.decoding import FIRST_CODE
from concept_icd.baselines.ltr_icd.model import CONFIG, LtrIcd
from concept_icd.baselines.ltr_icd.predicting import load, predict_notes, write_predictions
from concept_icd.baselines.options import TrainingOptions
from concept_icd.baselines.predictions import PREDICTIONS
from concept_icd.baselines.runs import RUN, is_new_run
from concept_icd.corpora import Corpus, load_corpus
from concept_icd.corpora.gold import gold_matrix
from concept_icd.errors import InputError
from concept_icd.heads.calibration import Threshold, choose_threshold
from concept_icd.llm.reference import fingerprint_of
from concept_icd.ontology.tree import load_ontology
from concept_icd.outputs import MANIFEST, begun_folder, new_folder, writing
from concept_icd.progress import track
from concept_icd.records import CodedNote
from concept_icd.tuning.runs import DECISIVE, StepProgress, full_disk_is_an_os_error, last_checkpoint, on_main

MODEL = "model"


def train(options: Options) -> Path:
    """Runs the stage; returns the folder OUT.

    Raises:
        InputError: the corpus has no notes to learn from, the base model does not fit, or OUT belongs to a run with
            other options.
    """
    model, choices, training = options
    start = time.monotonic()
    out = Path(str(training.output_dir))
    corpus = load_corpus(choices.corpus)
    notes, held_out = training_notes(corpus, choices.holdout, training.seed)
    diagnoses, procedures, aliases = labels_of(corpus, notes, choices.classification)
    labels = set(diagnoses + procedures)
    if held_out and not any(code in labels for note in held_out for code in note.codes):
        raise InputError("no note that is held out for the threshold has a code of the label set: hold out more")
    corpus_hash = sha256(Path(choices.corpus) / "notes.parquet")
    with begun_folder(out, lambda: _holds_work(out), (MANIFEST, RUN, "base")):
        on_main(lambda: _begin(out, options, notes, corpus_hash))
        if not (out / MODEL / CONFIG).is_file():
            base = str(out / "base") if model.base == "tiny" else model.base
            config = LtrIcdConfig(model, diagnoses, procedures, {}, aliases, choices.classification)
            fit(notes, config, training, base, out / MODEL)
        if PartialState().is_main_process:  # the others are done
            _finish(out, options, corpus, held_out)
            write_manifest(
                out,
                model.system,
                inputs={"corpus": corpus_hash},
                config=_decisive(options),
                seed=training.seed,
                seconds=time.monotonic() - start,
                notes=len(notes),
                held_out=[note.note.note_id for note in held_out],
            )
            for part in ("checkpoints", "base"):
                shutil.rmtree(out / part, ignore_errors=True)
            (out / RUN).unlink(missing_ok=True)
    return out


def fit(notes: Sequence[CodedNote], config: LtrIcdConfig, training: TrainingOptions, base: str, out: Path) -> None:
    """Trains on `notes` and writes the model to `out` by rename; resumes from `out/../checkpoints`."""
    from transformers import PrinterCallback, ProgressCallback, Trainer, set_seed

    set_seed(training.seed)
    encoder, decoder, backbone, tokenizer = load_backbone(base, ranking=config.options.ranking)
    config = dataclasses.replace(config, backbone=backbone)
    model = LtrIcd(config, encoder, decoder)
    reader = NoteEncoder(tokenizer, config.options.max_tokens, config.options.text)
    columns = {code: column for column, code in enumerate(config.codes)}
    examples = [
        training_example(note, reader, columns, model.grammar) for note in track(notes, len(notes), "reading notes")
    ]
    begin_from_training_notes(model, examples, tokenizer)
    progress = StepProgress(f"training {config.options.system}")
    folder = out.parent / "checkpoints"
    trainer = Trainer(
        model=model,
        args=dataclasses.replace(training, output_dir=str(folder)),
        train_dataset=examples,
        data_collator=Collator(len(config.codes), tokenizer.pad_token_id or 0),
        callbacks=[progress],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    checkpoint = last_checkpoint(folder)
    if checkpoint and PartialState().is_main_process:
        print(f"resuming from {checkpoint}", file=sys.stderr, flush=True)
    with writing(folder), full_disk_is_an_os_error(), progress:
        trainer.train(resume_from_checkpoint=checkpoint)
    save(trainer.accelerator, trainer.model, tokenizer, out)


def save(accelerator: Accelerator, model: LtrIcd, tokenizer: Any, out: Path) -> None:
    """Writes the model to `out` by rename. Every process takes part in gathering the weights; the main one writes."""
    weights = accelerator.get_state_dict(model)
    if accelerator.is_main_process:
        with new_folder(out) as staging:
            accelerator.unwrap_model(model).save_pretrained(staging, weights)
            tokenizer.save_pretrained(staging)
    accelerator.wait_for_everyone()


@torch.no_grad()
def begin_from_training_notes(model: LtrIcd, examples: Sequence[dict[str, Any]], tokenizer: Any) -> None:
    """What is known before the first step: each code's frequency, and the words of its title.

    The classifier's biases begin at the log-odds of the frequencies, and each code's token at the mean of the encoder's
    word embeddings of its title. With `initializer_range` the classifier begins as PLM-ICD's instead.
    """
    settings = model.settings
    if settings.options.initializer_range is None:
        _biases_from_frequencies(model, examples)
    else:
        for block in model.label_attentions:
            for weights in (block.first, block.second, block.weight):
                torch.nn.init.normal_(weights, std=settings.options.initializer_range)
            torch.nn.init.zeros_(block.bias)
    if model.decoder is None:
        return
    ontology = load_ontology(settings.classification)
    words = model.encoder.embed_tokens.weight
    for column, label in enumerate(settings.codes):
        title = ontology.resolve(settings.aliases.get(label, label)).title
        ids = tokenizer(title, add_special_tokens=False)["input_ids"]
        if ids:
            model.decoder.embed_tokens.weight[FIRST_CODE + column] = words[ids].mean(dim=0)


def _biases_from_frequencies(model: LtrIcd, examples: Sequence[dict[str, Any]]) -> None:
    settings = model.settings
    counts = np.full(len(settings.codes), 0.5)
    for example in examples:
        counts[example["codes"]] += 1
    odds = torch.tensor(np.log(counts / (len(examples) + 1 - counts)), dtype=torch.float32)
    biases = [attention.bias for attention in model.label_attentions]
    for bias, values in zip(biases, odds.split([len(bias) for bias in biases]), strict=True):
        bias.copy_(values)


def _finish(out: Path, options: Options, corpus: Corpus, held_out: Sequence[CodedNote]) -> None:
    """Threshold, then the predictions of the test notes."""
    _, choices, training = options
    batch = training.per_device_eval_batch_size
    config = LtrIcdConfig.load(out / MODEL / CONFIG)
    if config.threshold is None:
        where = "dev split" if corpus.split("dev") else f"{len(held_out)} held-out training notes"
        threshold = Threshold(0.5, source="no notes were held out")
        if held_out:
            model, reader = load(out / MODEL)
            found = predict_notes(model, reader, [note.note for note in held_out], batch)
            rows = [p.probabilities for p in track(found, len(held_out), "predicting held-out notes")]
            gold, _ = gold_matrix([note.note.note_id for note in held_out], held_out, config.codes)
            threshold = choose_threshold(gold, np.stack(rows), at_least_one=None, source=f"micro-F1 on the {where}")
        chosen = dataclasses.replace(config, threshold=dataclasses.asdict(threshold))
        write_json(out / MODEL / CONFIG, chosen.to_dict())
    notes = [note.note for note in corpus.split(choices.predict_split)]
    if notes:
        write_predictions(out / MODEL, notes, out / PREDICTIONS, top_codes=choices.top_codes, batch_size=batch)
    else:
        print(f"the corpus has no notes in the split {choices.predict_split!r}: no predictions", file=sys.stderr)


def _begin(out: Path, options: Options, notes: Sequence[CodedNote], corpus_hash: str) -> None:
    """Checks that a run which is resumed has the same options; makes the tiny base model."""
    model, config = options[0], _decisive(options)
    made_of = {"corpus": corpus_hash, "base model": None if model.base == "tiny" else fingerprint_of(model.base)}
    if not is_new_run(out, config, made_of, _holds_work(out)):
        return
    if model.base == "tiny":
        torch.manual_seed(options[2].seed)
        with new_folder(out / "base", "model", overwrite=True) as staging:
            make_tiny(staging, (note.note.normalized.text for note in notes), model)
    write_json(out / RUN, {"config": config, "made_of": made_of})


def _decisive(options: Options) -> dict[str, Any]:
    """The options that decide the result, as plain values."""
    model, choices, training = options
    config = dataclasses.asdict(model) | dataclasses.asdict(choices)
    return config | {name: getattr(training, name) for name in DECISIVE}


def _holds_work(out: Path) -> bool:
    return (out / MODEL).is_dir() or any(out.glob("checkpoints/checkpoint-*"))
