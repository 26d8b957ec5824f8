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
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from concept_icd.artifacts import sha256, write_json
from concept_icd.baselines.corpus import (
    PREDICTIONS,
    kinds_of,
    labels_of,
    require_held_out_codes,
    threshold_of,
    training_notes,
    write_predictions,
)
from concept_icd.baselines.ltr_icd.backbones import load_backbone, make_tiny
from concept_icd.baselines.ltr_icd.config import LtrIcdConfig, Options
from concept_icd.baselines.ltr_icd.data import Collator, NoteEncoder, training_example
from concept_icd.baselines.ltr_icd.decoding import FIRST_CODE
from concept_icd.baselines.ltr_icd.model import CONFIG, LtrIcd
from concept_icd.baselines.ltr_icd.predicting import load, predict_notes, versions
from concept_icd.baselines.training import (
    CHECKPOINTS,
    TrainingOptions,
    decisive_options,
    run_baseline,
    run_trainer,
    save_whole,
)
from concept_icd.corpora import Corpus, load_corpus
from concept_icd.llm.reference import fingerprint_of
from concept_icd.ontology.tree import load_ontology
from concept_icd.outputs import new_folder
from concept_icd.progress import track
from concept_icd.records import CodedNote

MODEL, BASE = "model", "base"


def train(options: Options) -> Path:
    """Runs the stage; returns the folder OUT.

    Raises:
        InputError: the corpus has no notes to learn from, the base model does not fit, or OUT belongs to a run with
            other options.
    """
    model, choices, training = options
    out = Path(str(training.output_dir))
    tiny = model.base == "tiny"
    corpus = load_corpus(choices.corpus)
    notes, held_out = training_notes(corpus, choices.holdout, training.seed)
    diagnoses, procedures, aliases = labels_of(corpus, notes, choices.classification)
    require_held_out_codes(held_out, diagnoses + procedures)
    corpus_hash = sha256(Path(choices.corpus) / "notes.parquet")

    def prepare() -> None:
        if tiny:
            torch.manual_seed(training.seed)
            with new_folder(out / BASE, "model", overwrite=True) as staging:
                make_tiny(staging, (note.note.normalized.text for note in notes), model)

    def learn() -> None:
        if not (out / MODEL / CONFIG).is_file():
            config = LtrIcdConfig(model, diagnoses, procedures, {}, aliases, choices.classification)
            fit(notes, config, training, str(out / BASE) if tiny else model.base, out / MODEL)

    return run_baseline(
        model.system,
        training,
        config=decisive_options(model, choices, training),
        made_of=lambda: {"corpus": corpus_hash, "base model": None if tiny else fingerprint_of(model.base)},
        holds_work=lambda folder: (folder / MODEL).is_dir() or any(folder.glob(f"{CHECKPOINTS}/checkpoint-*")),
        learn=learn,
        finish=lambda: _finish(out, options, corpus, held_out),
        manifest={
            "inputs": {"corpus": corpus_hash},
            "notes": len(notes),
            "held_out": [note.note.note_id for note in held_out],
        },
        prepare=prepare,
        temporary=(BASE,),
    )


def fit(notes: Sequence[CodedNote], config: LtrIcdConfig, training: TrainingOptions, base: str, out: Path) -> None:
    """Trains on `notes` and writes the model to `out` by rename; resumes from `out/../checkpoints`."""
    from transformers import set_seed

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
    collate = Collator(len(config.codes), tokenizer.pad_token_id or 0)
    trainer = run_trainer(model, examples, collate, training, out.parent / CHECKPOINTS, config.options.system)
    save(trainer.accelerator, trainer.model, tokenizer, out)


def save(accelerator: Accelerator, model: LtrIcd, tokenizer: Any, out: Path) -> None:
    """Writes the model and its tokenizer to `out` by rename; see `save_whole`."""

    def write(staging: Path, trained: LtrIcd, weights: Mapping[str, torch.Tensor]) -> None:
        trained.save_pretrained(staging, weights)
        tokenizer.save_pretrained(staging)

    save_whole(accelerator, model, out, write)


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
        threshold = threshold_of(
            corpus,
            held_out,
            config.codes,
            lambda own: (p.probabilities for p in predict_notes(*load(out / MODEL), own, batch)),
        )
        chosen = dataclasses.replace(config, threshold=dataclasses.asdict(threshold))
        write_json(out / MODEL / CONFIG, chosen.to_dict())
    notes = [note.note for note in corpus.split(choices.predict_split)]
    if not notes:
        print(f"the corpus has no notes in the split {choices.predict_split!r}: no predictions", file=sys.stderr)
        return
    model, reader = load(out / MODEL)
    found = track(predict_notes(model, reader, notes, batch), len(notes), f"predicting {len(notes)} notes")
    kinds, said = kinds_of(config.diagnoses, config.procedures), versions(out / MODEL, model)
    write_predictions(out / PREDICTIONS, found, kinds, said, choices.top_codes)
