"""Tunes LoRA adapters on a prepared corpus: the final one, and those that never saw a fold of the notes.

    OUT/concepts.json  prompt.yaml  folds.json   what was asked, how, and which adapter is blind to which note
    OUT/adapter/       OUT/fold-0/ ...           PEFT adapters
    OUT/checkpoints/                             until each adapter is done
    OUT/manifest.json                            when all are done

The same command goes on after a kill: finished adapters stay, the one at work resumes from its last checkpoint.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, parse_flag_from_env
from accelerate.utils.memory import clear_device_cache

from concept_icd.artifacts import read_manifest, read_record, sha256, write_json, write_manifest
from concept_icd.corpora import Corpus, load_corpus
from concept_icd.corpora.folds import group_folds
from concept_icd.errors import InputError
from concept_icd.llm.base_model import load_model, with_adapter
from concept_icd.llm.concept_head import ConceptHead, start_from_titles
from concept_icd.llm.prompts import PromptTemplate, TokenizedPrompt
from concept_icd.llm.question_embedding import start_from_words
from concept_icd.llm.question_tokens import QuestionTokens
from concept_icd.llm.reference import ModelReference, fingerprint_of
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.phrases import read_phrase_file
from concept_icd.ontology.tree import load_ontology
from concept_icd.outputs import MANIFEST, new_folder, writing
from concept_icd.progress import tell
from concept_icd.readers.label_sets import read_codes
from concept_icd.records import CodedNote, Note
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.specs import ADAPTER, CONCEPTS, FOLDS, PROMPT
from concept_icd.tuning.arguments import ConceptArguments
from concept_icd.tuning.config import LoraModelConfig, Options, TuningConfig
from concept_icd.tuning.distillation import TaughtNote, taught_notes
from concept_icd.tuning.examples import PackedCollator, training_rows
from concept_icd.tuning.publishing import begin_publishing, publish
from concept_icd.tuning.runs import DECISIVE, begun_together, last_checkpoint, on_main
from concept_icd.tuning.trainer import ConceptTrainer

#: Of TRL's options, those that decide the result.
_DECISIVE = (*DECISIVE, "max_length")


def finetune(options: Options) -> Path:
    """Runs the stage; returns the folder OUT.

    Raises:
        InputError: the corpus has no notes to learn from, or OUT belongs to a run with other options.
    """
    arguments, training, model = options
    start = time.monotonic()
    out = Path(str(training.output_dir))
    corpus = load_corpus(arguments.corpus)
    notes = notes_to_learn_from(corpus.notes, arguments.splits)
    arguments.classification = arguments.classification or corpus.classification
    concepts, prompt = concepts_of(arguments, notes, corpus), PromptTemplate.load(arguments.prompt)
    folds = _folds(notes, arguments, training.seed)
    corpus_hash = sha256(Path(arguments.corpus) / "notes.parquet")
    taught: list[TaughtNote] = []
    inputs = {"corpus": corpus_hash, "concepts": concepts.hash, "prompt": prompt.hash}
    if arguments.distil_corpus and arguments.distil_scores:
        own_ids = {note.note.note_id for note in corpus.notes}
        taught = taught_notes(arguments.distil_corpus, arguments.distil_scores, concepts, own_ids)
        inputs["distilled scores"] = sha256(Path(arguments.distil_scores) / MANIFEST)
        _log(f"learned from a teacher beside the coded notes: {len(taught)} notes")
    with begun_together(out, lambda: _holds_work(out), (MANIFEST, FOLDS)):
        on_main(lambda: _begin(out, options, concepts, prompt, folds, inputs))
        on_main(lambda: begin_publishing(training))
        for name, kept_out in _adapters(folds):
            if not (out / name / "adapter_config.json").is_file():
                _log(f"adapter {name}: {sum(note.note.note_id not in kept_out for note in notes)} notes")
                own = dataclasses.replace(training, output_dir=str(out / "checkpoints" / name))
                own.push_to_hub = False  # the trainer would push checkpoints; the finished adapter is uploaded below
                tune_adapter(
                    [note for note in notes if note.note.note_id not in kept_out],
                    concepts,
                    prompt,
                    own,
                    model,
                    arguments,
                    out / name,
                    taught,
                )
                clear_device_cache(garbage_collection=True)  # two large models do not fit at once
        if PartialState().is_main_process:
            shutil.rmtree(out / "checkpoints", ignore_errors=True)
            publish(out, training)
            write_manifest(
                out,
                "finetune",
                inputs=inputs,
                config=decisive_options(options),
                seed=training.seed,
                seconds=time.monotonic() - start,
                notes=len(notes),
                seen=[note.note.note_id for note in notes if folds.get(note.note.note_id) != ADAPTER],
            )
    PartialState().wait_for_everyone()
    return out


def tune_adapter(
    notes: Sequence[CodedNote],
    concepts: ConceptSet,
    prompt: PromptTemplate,
    training: TuningConfig,
    model: LoraModelConfig,
    arguments: ConceptArguments,
    out: Path,
    taught: Sequence[TaughtNote] = (),
) -> None:
    """Tunes one adapter on `notes`, and on what a teacher said of `taught`.

    It is written to `out` by rename; a run that was killed goes on from its checkpoint in `training.output_dir`.

    Raises:
        InputError: no notes, or options that do not fit the model.
    """
    from datasets import Dataset
    from transformers import set_seed
    from trl import get_peft_config

    if not notes:
        raise InputError("there are no notes to tune an adapter on")
    set_seed(training.seed)  # before LoRA draws its first weights: they must not hang on the adapter tuned before
    # A base that FSDP or DeepSpeed cuts up waits in main memory, whole on the main process alone under FSDP
    # (fsdp_cpu_ram_efficient_loading: the others hold zeros until they are given their parts).
    cut_up = any(parse_flag_from_env(f"ACCELERATE_USE_{way}") for way in ("FSDP", "DEEPSPEED"))
    on_gpu = "bfloat16" if training.device.type == "cuda" else None
    dtype = model.dtype if model.dtype not in (None, "auto") else on_gpu
    loaded = load_model(
        str(model.model_name_or_path),
        dtype=dtype,
        device="cpu" if cut_up and not model.load_in_4bit else str(training.device),  # of this process
        load_in_4bit=model.load_in_4bit,
        attention=model.attn_implementation,
    )
    limit = min(training.max_length or loaded.max_length, loaded.max_length)
    tokens = TokenizedPrompt(prompt, loaded.tokenizer, limit, arguments.note_text)

    def refuse_what_cannot_be_packed() -> None:
        PackedScorer(loaded, tokens)

    on_main(refuse_what_cannot_be_packed)
    checkpoint = last_checkpoint(Path(str(training.output_dir)))
    learner, peft_config = loaded.model, get_peft_config(model)
    if model.start_from:
        learner, peft_config = with_adapter(learner, str(model.model_name_or_path), model.start_from, learns=True), None
    questions: QuestionTokens | ConceptHead | None = None
    unit = 1.0
    if arguments.question_tokens:
        words = loaded.model.get_input_embeddings()
        asked = [tokens.encode_question(concept.text) for concept in concepts.concepts]
        keys = [concept.key for concept in concepts.concepts]
        started = [start_from_words(words, asked, keys, arguments.question_tokens)]
        start, unit = broadcast_object_list(started)[0]  # the main process has the words
        tokens.learned = start.ids(words.num_embeddings)
        questions = QuestionTokens.load(checkpoint) if checkpoint else start
    elif arguments.asking == "head":
        kept = ConceptHead.load(checkpoint) if checkpoint else None
        questions = kept or _started_head(learner.eval(), tokens, concepts, notes)
        tokens.learned = questions.rows
    collator = PackedCollator(
        [tokens.encode_concept(concept) for concept in concepts.concepts],
        0,  # any token: nobody sees it, and a pad token may be missing, or have no row in the embedding
        arguments.positive_share,
        arguments.negative_share,
        arguments.note_dropout,
        tokens.around,
    )
    rows = training_rows(notes, concepts, tokens, arguments.soft_targets, taught)
    if cut := sum(rows.pop("truncated")):
        why = "max_length" if limit < loaded.max_length else "the model's positions"
        count = len(notes) + len(taught)
        _log(f"{cut} of {count} notes are not read to their end: the longest prompt is {limit:,} tokens ({why})")
    try:
        trainer = ConceptTrainer(
            model=learner,
            args=training,
            train_dataset=Dataset.from_dict(rows),
            data_collator=collator,
            processing_class=loaded.tokenizer,
            peft_config=peft_config,
            yes_id=tokens.yes_id,
            no_id=tokens.no_id,
            offset=collator.sampling_offset,
            label=f"tuning {out.name}",
            questions=questions,
            unit=unit,
        )
    except ValueError as error:  # such as LoRA modules that the model lacks
        raise InputError(f"the options do not fit the model: {' '.join(str(error).split())}") from error
    if checkpoint:
        _log(f"resuming from {checkpoint}")
    with writing(Path(str(training.output_dir))):
        trainer.train(resume_from_checkpoint=checkpoint)
    # Every process takes part in gathering the weights; only the main one writes. Not `save_model`: that would leave a
    # pickle of the training options beside the adapter.
    weights = trainer.accelerator.get_state_dict(trainer.model)
    if trainer.accelerator.is_main_process:
        tuned = trainer.accelerator.unwrap_model(trainer.model)
        with new_folder(out) as staging:
            tuned.save_pretrained(str(staging), state_dict=weights, safe_serialization=True)
            (staging / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
            if learned := trainer.learned_questions(weights):
                learned.save(staging)
    trainer.accelerator.wait_for_everyone()


def _started_head(model: Any, tokens: TokenizedPrompt, concepts: ConceptSet, notes: Sequence[CodedNote]) -> ConceptHead:
    """The head to begin with, which the main process makes: it has the whole model."""
    started: list[ConceptHead | None] = [None]
    if PartialState().is_main_process:
        titles = [tokens.encode_note(Note(concept.key, concept.text), 1).ids for concept in concepts.concepts]
        true = sum((concepts.weak_labels(note.codes) for note in notes), np.zeros(len(concepts)))
        log_odds = np.log((true + 0.5) / (len(notes) - true + 0.5))
        keys = [concept.key for concept in concepts.concepts]
        started = [start_from_titles(model, titles, tokens.around, keys, log_odds)]
    head: ConceptHead = broadcast_object_list(started)[0]
    return head


def notes_to_learn_from(notes: Sequence[CodedNote], splits: Sequence[str]) -> list[CodedNote]:
    """The coded notes of the splits; a note without a split belongs to all.

    Raises:
        InputError: there is none.
    """
    chosen = [note for note in notes if note.codes and (note.split is None or note.split in splits)]
    if not chosen:
        raise InputError(f"the corpus has no coded notes in the splits {', '.join(splits)}")
    return chosen


def concepts_of(arguments: ConceptArguments, notes: Sequence[CodedNote], corpus: Corpus) -> ConceptSet:
    """The concept set of the label set: the codes of a file, or those of the notes, sorted.

    Raises:
        InputError: the corpus is of another classification than the options name.
    """
    if arguments.classification not in (None, corpus.classification):
        raise InputError(f"the corpus is coded in {corpus.classification}, not in {arguments.classification}")
    ontology, aliases = load_ontology(corpus.classification), corpus.aliases
    if arguments.codes:
        codes = read_codes(arguments.codes, ontology.name, must_exist=True)
    else:
        codes = tuple(sorted({code for note in notes for code in note.codes}))
    phrases = read_phrase_file(arguments.phrases) if arguments.phrases else None
    meant = {label: code for label, code in aliases.items() if label in codes}
    return ConceptSet.expand(codes, ontology, levels=tuple(arguments.levels), phrases=phrases, aliases=meant)


def _folds(notes: Sequence[CodedNote], arguments: ConceptArguments, seed: int) -> dict[str, str]:
    """Note id -> the adapter that has not seen it; notes that every adapter saw are left out."""
    groups = [note.note.patient_id or note.note.note_id for note in notes]
    if (arguments.folds or arguments.holdout) and len(set(groups)) < 2:
        raise InputError("the notes are of one patient, so none can be kept from an adapter: set folds to 0")
    if arguments.folds:
        fold_of = group_folds(groups, arguments.folds, seed)
        return {note.note.note_id: f"fold-{fold}" for note, fold in zip(notes, fold_of, strict=True)}
    if arguments.holdout:
        names = sorted(set(groups))
        count = min(max(1, round(arguments.holdout * len(names))), len(names) - 1)
        kept = set(np.random.default_rng(seed).permutation(names)[:count])
        return {note.note.note_id: ADAPTER for note, group in zip(notes, groups, strict=True) if group in kept}
    return {}


def _adapters(folds: dict[str, str]) -> list[tuple[str, set[str]]]:
    """Name of each adapter and the ids it must not see; the final one first, so that it can be used early."""
    names = sorted({ADAPTER, *folds.values()})
    return [(name, {note for note, blind in folds.items() if blind == name}) for name in names]


def decisive_options(options: Options) -> dict[str, Any]:
    """The options that decide the result, as plain values."""
    arguments, training, model = options
    config = dataclasses.asdict(arguments) | dataclasses.asdict(model)
    if config["classification"] is None:  # not known yet: the corpus' own
        del config["classification"]
    return config | {name: getattr(training, name) for name in _DECISIVE}


def changed_options(earlier: Mapping[str, Any], options: Options) -> list[str]:
    """Names of the options that decide the result and are not those of an earlier run.

    An option that the earlier run's version did not have is taken to have been at its default.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(ConceptArguments)}
    return [n for n, value in decisive_options(options).items() if earlier.get(n, defaults.get(n)) != value]


def _begin(
    out: Path,
    options: Options,
    concepts: ConceptSet,
    prompt: PromptTemplate,
    folds: dict[str, str],
    inputs: Mapping[str, str],
) -> None:
    """Writes what all adapters share, or checks that a run which is resumed has the same options."""
    if (out / "manifest.json").is_file():
        read_manifest(out, "finetune")
        raise InputError(f"{out} is finished; name another folder or delete it to tune again")
    config = decisive_options(options)
    base = fingerprint_of(config["model_name_or_path"])
    made_of: dict[str, str | None] = {**inputs, "base model": base}
    if start := config["start_from"]:
        made_of["adapter to start from"] = ModelReference.of(config["model_name_or_path"], start).adapter_sha256
    record = out / "run.json"
    if record.is_file():
        earlier = read_record(record)
        changed = changed_options(earlier["config"], options)
        changed += [f"the {key} itself" for key in made_of if earlier["made_of"].get(key) != made_of[key]]
        if changed and _holds_work(out):
            raise InputError(f"{out} was begun with other options ({', '.join(changed)}); name another folder")
        if not changed:
            return
    write_json(out / FOLDS, folds)  # first: no other stage writes a file of this name
    concepts.save(out / CONCEPTS)
    prompt.save(out / PROMPT)
    write_json(record, {"config": config, "made_of": made_of})


def _holds_work(out: Path) -> bool:
    return (out / ADAPTER).is_dir() or any(out.glob("checkpoints/*/checkpoint-*"))


def _log(line: str) -> None:
    if PartialState().is_main_process:
        tell(line)
