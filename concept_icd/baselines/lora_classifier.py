"""A causal LM with LoRA and a classification head: the coder's base model without concepts.

The head is linear on the state of the note's last token, one logit a label, tuned whole beside LoRA; the loss is the
binary cross-entropy, a mean over the labels. transformers' `AutoModelForSequenceClassification` and PEFT do all of it.

    OUT/adapter/            PEFT's adapter, the head in it
    OUT/labels.json         labels and the threshold
    OUT/predictions.jsonl   of the test split
    OUT/manifest.json       when all is done
    OUT/run.json, checkpoints/   until then

The same command goes on after a kill. The threshold is chosen on the dev split, or on held-out training patients.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from safetensors import SafetensorError
from torch.nn.functional import binary_cross_entropy_with_logits

from concept_icd.artifacts import read_json, sha256, write_json, write_manifest
from concept_icd.baselines.corpus import labels_of, training_notes
from concept_icd.baselines.options import ThresholdOptions, TrainingOptions
from concept_icd.baselines.predictions import PREDICTIONS, by_probability, kinds_of, prediction_line, versions_of
from concept_icd.baselines.runs import RUN, fit_lora, in_folder, is_new_run
from concept_icd.corpora import Corpus, load_corpus
from concept_icd.corpora.gold import gold_matrix
from concept_icd.corpora.reading import flaw
from concept_icd.errors import InputError
from concept_icd.heads.calibration import Threshold, choose_threshold
from concept_icd.llm.base_model import bar_on_terminal, quantization
from concept_icd.llm.reference import fingerprint_of, resolve
from concept_icd.outputs import begun_folder, new_file
from concept_icd.progress import track
from concept_icd.records import CodedNote, Note, require_notes
from concept_icd.tuning.config import make_from, parse_into
from concept_icd.tuning.launch import run_launched
from concept_icd.tuning.runs import DECISIVE, on_main

ADAPTER, LABELS = "adapter", "labels.json"


@dataclass
class ClassifierOptions:
    """The base model and LoRA on it; defaults as in `concept-icd finetune`."""

    base: str = field(default="tiny", metadata={"help": "Base model: a causal LM by name or folder, or tiny."})
    load_in_4bit: bool = field(default=False, metadata={"help": "NF4 with double quantisation."})
    lora_r: int = field(default=32, metadata={"help": "Rank."})
    lora_alpha: int = field(default=32, metadata={"help": "Scale: alpha / r."})
    lora_dropout: float = field(default=0.05, metadata={"help": "Dropout."})
    lora_target_modules: list[str] = field(
        default_factory=lambda: ["q_proj", "v_proj"], metadata={"help": "What LoRA tunes."}
    )
    max_length: int = field(default=8192, metadata={"help": "Tokens read of a note, or what the model reads if less."})

    def __post_init__(self) -> None:
        for name in ("lora_r", "max_length"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, it is {getattr(self, name)}")


@dataclass
class ClassifierTraining(TrainingOptions):
    """The Trainer's options, with what suits LoRA."""

    learning_rate: float = field(default=2e-4, metadata={"help": "Peak learning rate."})
    num_train_epochs: float = field(default=3, metadata={"help": "Epochs."})


Options = tuple[ClassifierOptions, ThresholdOptions, ClassifierTraining]
_CLASSES = (ClassifierOptions, ThresholdOptions, ClassifierTraining)


def make_options(**values: Any) -> Options:
    """Options from keywords; see `tuning.options.make_from`."""
    made: Options = make_from(_CLASSES, values)
    return made


@dataclass(frozen=True)
class Classifier:
    """A model on its device, its tokenizer, and the most tokens that it reads of a note.

    Attributes:
        half: the base is in bfloat16, and computes in it.
    """

    model: Any
    tokenizer: Any
    max_length: int
    half: bool

    def encode(self, note: Note) -> tuple[list[int], str | None]:
        """The tokens of a note from its beginning, and None or one sentence on what was not read.

        Raises:
            InputError: the note is empty or no text.
        """
        if reason := flaw(note.text):
            raise InputError(f"note {note.note_id!r}: {reason}")
        ids = list(self.tokenizer(note.normalized.text, verbose=False)["input_ids"])
        if len(ids) <= self.max_length:
            return ids, None
        return ids[: self.max_length], f"the note has {len(ids)} tokens, the first {self.max_length} were read"

    def collate(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """A batch padded on the right, with `labels`, float (notes, labels), where the examples have them."""
        longest = max(len(example["input_ids"]) for example in examples)
        ids = torch.full((len(examples), longest), self.model.config.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, example in enumerate(examples):
            ids[row, : len(example["input_ids"])] = torch.tensor(example["input_ids"])
            mask[row, : len(example["input_ids"])] = 1
        batch = {"input_ids": ids, "attention_mask": mask}
        if "labels" in examples[0]:
            batch["labels"] = torch.from_numpy(np.stack([example["labels"] for example in examples]))
        return batch


def load_classifier(
    options: ClassifierOptions, labels: int, adapter: Path | None = None, *, half: bool = False
) -> Classifier:
    """The base model with a head of `labels` logits, to be tuned, or with an adapter that was.

    Args:
        half: the base in bfloat16 where there is a GPU.

    Raises:
        InputError: the model cannot be loaded, or has no classification head in transformers.
    """
    import transformers

    gpu, path = torch.cuda.is_available(), resolve(options.base)
    if options.load_in_4bit and not gpu:
        raise InputError("NF4 needs a GPU: leave load_in_4bit out")
    half = half and gpu
    kind = torch.bfloat16 if half else torch.float32
    more: dict[str, Any] = {"quantization_config": quantization(kind)} if options.load_in_4bit else {}
    device = PartialState().device
    try:
        with bar_on_terminal(path), _without_report():
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False)
            model = transformers.AutoModelForSequenceClassification.from_pretrained(
                path,
                num_labels=labels,
                problem_type="multi_label_classification",
                dtype=kind,
                use_safetensors=True,
                trust_remote_code=False,
                device_map={"": device} if more else None,
                **more,
            )
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        reason = " ".join(str(error).split()).split(". ")[0][:300].rstrip(".")
        raise InputError(f"cannot load the base model {options.base!r} with a classification head: {reason}") from error
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    model.config.pad_token_id = padding  # by which the model finds the last token of a note
    if adapter is not None:
        import peft

        model = peft.PeftModel.from_pretrained(model, str(adapter))
    positions = model.config.get_text_config().max_position_embeddings
    return Classifier(model if more else model.to(device), tokenizer, min(options.max_length, positions), half)


@contextmanager
def _without_report() -> Iterator[None]:
    """Keeps transformers from warning that the head is new: it is meant to be."""
    from transformers.utils import logging

    earlier = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(earlier)


def mean_loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None) -> torch.Tensor:
    """Binary cross-entropy in nats, a mean over the notes and labels of the whole optimiser step.

    Args:
        labels: float (notes, labels). num_items_in_batch: pairs of the step; None: those here.
    """
    total = binary_cross_entropy_with_logits(outputs["logits"].float(), labels, reduction="sum")
    return total / (labels.numel() if num_items_in_batch is None else num_items_in_batch)


@torch.inference_mode()
def predict_proba(
    classifier: Classifier, notes: Iterable[Note], batch_size: int
) -> Iterator[tuple[Note, np.ndarray, str | None]]:
    """Each note with its probabilities, float64 (labels,), and what was not read of it.

    Raises:
        InputError: an empty note. TypeError: something that is not a `Note`.
    """
    checked, model = require_notes(notes), classifier.model.eval()
    for start in range(0, len(checked), batch_size):
        part = checked[start : start + batch_size]
        encoded = [classifier.encode(note) for note in part]
        batch = classifier.collate([{"input_ids": ids} for ids, _ in encoded])
        with torch.autocast(model.device.type, torch.bfloat16, enabled=classifier.half):
            logits = model(**{name: value.to(model.device) for name, value in batch.items()}).logits
        rows = logits.double().sigmoid().cpu().numpy()
        yield from ((note, row, said) for note, row, (_, said) in zip(part, rows, encoded, strict=True))


def run(options: Options) -> Path:
    """Runs the baseline; returns the folder OUT.

    Raises:
        InputError: nothing to learn from, a base model that does not fit, or OUT belongs to a run with other options.
    """
    start = time.monotonic()
    model, choices, training = options
    out = Path(str(training.output_dir))
    corpus = load_corpus(choices.corpus)
    notes, held_out = training_notes(corpus, choices.holdout, training.seed)
    kinds = kinds_of(*labels_of(corpus, notes, choices.classification)[:2])
    if held_out and not any(code in kinds for note in held_out for code in note.codes):
        raise InputError("no note that is held out for the threshold has a code of the label set: hold out more")
    made_of = {"corpus": sha256(Path(choices.corpus) / "notes.parquet"), "base model": fingerprint_of(model.base)}

    def begin() -> None:
        if is_new_run(out, _decisive(options), made_of, _holds_work(out)):
            write_json(out / RUN, {"config": _decisive(options), "made_of": made_of})

    with begun_folder(out, lambda: _holds_work(out)):
        on_main(begin)
        if not (out / ADAPTER / "adapter_config.json").is_file():
            _fit(notes, list(kinds), options, out)
        if PartialState().is_main_process:  # the others are done: waiting for hours would count as a hang
            _finish(out, options, corpus, held_out, kinds)
            write_manifest(
                out,
                "lora-classifier",
                inputs={"corpus": made_of["corpus"] or ""},
                config=_decisive(options),
                seed=training.seed,
                seconds=time.monotonic() - start,
                notes=len(notes),
                held_out=[note.note.note_id for note in held_out],
            )
            shutil.rmtree(out / "checkpoints", ignore_errors=True)
            (out / RUN).unlink(missing_ok=True)
    return out


def _fit(notes: Sequence[CodedNote], labels: Sequence[str], options: Options, out: Path) -> None:
    import peft
    from transformers import set_seed

    chosen, _, training = options
    set_seed(training.seed)  # before the head draws its first weights
    classifier = load_classifier(chosen, len(labels), half=training.bf16)
    model = classifier.model.train()
    if chosen.load_in_4bit:
        model = peft.prepare_model_for_kbit_training(model, training.gradient_checkpointing)
    elif training.gradient_checkpointing:
        model.enable_input_require_grads()
    lora = peft.LoraConfig(
        r=chosen.lora_r,
        lora_alpha=chosen.lora_alpha,
        lora_dropout=chosen.lora_dropout,
        target_modules=list(chosen.lora_target_modules),
        task_type="SEQ_CLS",  # which tunes and saves the head too
    )
    try:
        tuned = peft.get_peft_model(model, lora)
    except ValueError as error:  # such as LoRA modules that the model lacks
        raise InputError(f"the options do not fit the model: {' '.join(str(error).split())}") from error
    for weight in tuned.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    gold, _ = gold_matrix([note.note.note_id for note in notes], notes, labels)
    examples = [
        {"input_ids": classifier.encode(note.note)[0], "labels": row.astype(np.float32)}
        for note, row in zip(track(notes, len(notes), "reading notes"), gold, strict=True)
    ]
    checkpoints = in_folder(training, out / "checkpoints")
    fit_lora(tuned, examples, classifier.collate, checkpoints, out / ADAPTER, mean_loss)


def _finish(
    out: Path, options: Options, corpus: Corpus, held_out: Sequence[CodedNote], kinds: Mapping[str, str]
) -> None:
    """Threshold, then the predictions of the test notes."""
    chosen, choices, training = options
    batch = training.per_device_eval_batch_size
    classifier = load_classifier(chosen, len(kinds), out / ADAPTER, half=training.bf16)
    if not (out / LABELS).is_file():
        threshold = Threshold(0.5, source="no notes were held out")
        if held_out:
            where = "dev split" if corpus.split("dev") else f"{len(held_out)} held-out training notes"
            found = predict_proba(classifier, [note.note for note in held_out], batch)
            rows = [row for _, row, _ in track(found, len(held_out), "predicting held-out notes")]
            gold, _ = gold_matrix([note.note.note_id for note in held_out], held_out, list(kinds))
            threshold = choose_threshold(gold, np.stack(rows), at_least_one=None, source=f"micro-F1 on the {where}")
        write_json(out / LABELS, {"kinds": dict(kinds), "threshold": dataclasses.asdict(threshold)})
    threshold = Threshold(**read_json(out / LABELS)["threshold"])
    notes = [note.note for note in corpus.split(choices.predict_split)]
    if not notes:
        print(f"the corpus has no notes in the split {choices.predict_split!r}: no predictions", file=sys.stderr)
        return
    said = versions_of(f"lora-classifier@{(fingerprint_of(out / ADAPTER) or '')[:12]}", threshold)
    with new_file(out / PREDICTIONS) as staging, staging.open("w", encoding="utf-8") as file:
        predicted = predict_proba(classifier, notes, batch)
        for note, p, cut in track(predicted, len(notes), f"predicting {len(notes)} notes"):
            accepted, order = threshold.accept(p[None])[0], by_probability(p)
            file.write(
                prediction_line(
                    note.note_id, kinds, p, accepted, order, said, truncated=cut, top_codes=choices.top_codes
                )
            )


def _decisive(options: Options) -> dict[str, Any]:
    """The options that decide the result, as plain values."""
    model, choices, training = options
    config = dataclasses.asdict(model) | dataclasses.asdict(choices)
    return config | {name: getattr(training, name) for name in DECISIVE}


def _holds_work(out: Path) -> bool:
    return (out / ADAPTER).is_dir() or any(out.glob("checkpoints/checkpoint-*"))


def main(argv: Sequence[str]) -> int:
    """Parses options, trains and predicts."""
    return run_launched("lora-classifier", lambda: run(parse_into(_CLASSES, argv, "configs/lora-classifier")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
