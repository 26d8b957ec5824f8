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
import sys
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

from concept_icd.artifacts import read_json, sha256, write_json
from concept_icd.baselines.corpus import (
    PREDICTIONS,
    Prediction,
    by_probability,
    kinds_of,
    labels_of,
    require_held_out_codes,
    require_text,
    threshold_of,
    training_notes,
    versions_of,
    write_predictions,
)
from concept_icd.baselines.training import (
    CHECKPOINTS,
    ThresholdOptions,
    TrainingOptions,
    decisive_options,
    fit_lora,
    pad_ids,
    run_baseline,
    with_lora,
)
from concept_icd.corpora import Corpus, load_corpus
from concept_icd.corpora.gold import gold_matrix
from concept_icd.errors import InputError
from concept_icd.heads.calibration import Threshold
from concept_icd.llm.base_model import bar_on_terminal, quantization
from concept_icd.llm.reference import fingerprint_of, resolve
from concept_icd.progress import track
from concept_icd.records import CodedNote, Note, require_notes
from concept_icd.tuning.config import make_from, parse_into
from concept_icd.tuning.launch import run_launched

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
    """The Trainer's options, with defaults that suit LoRA."""

    learning_rate: float = field(default=2e-4, metadata={"help": "Peak learning rate."})
    num_train_epochs: float = field(default=3, metadata={"help": "Epochs."})


Options = tuple[ClassifierOptions, ThresholdOptions, ClassifierTraining]
_CLASSES = (ClassifierOptions, ThresholdOptions, ClassifierTraining)


def make_options(**values: Any) -> Options:
    """Options from keywords; see `tuning.config.make_from`."""
    return make_from(_CLASSES, values)


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
        require_text(note)
        ids = list(self.tokenizer(note.normalized.text, verbose=False)["input_ids"])
        if len(ids) <= self.max_length:
            return ids, None
        return ids[: self.max_length], f"the note has {len(ids)} tokens, the first {self.max_length} were read"

    def collate(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """A batch padded on the right, with `labels`, float (notes, labels), where the examples have them."""
        ids, mask = pad_ids([example["input_ids"] for example in examples], self.model.config.pad_token_id)
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
    # By the padding token the model finds the last token of a note; not every tokenizer has one that the model knows.
    known, rows = (tokenizer.pad_token_id, tokenizer.eos_token_id), model.get_input_embeddings().num_embeddings
    model.config.pad_token_id = next((token for token in known if token is not None and token < rows), 0)
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
    model, choices, training = options
    out = Path(str(training.output_dir))
    corpus = load_corpus(choices.corpus)
    notes, held_out = training_notes(corpus, choices.holdout, training.seed)
    kinds = kinds_of(*labels_of(corpus, notes, choices.classification)[:2])
    require_held_out_codes(held_out, kinds)
    corpus_hash = sha256(Path(choices.corpus) / "notes.parquet")

    def learn() -> None:
        if not (out / ADAPTER / "adapter_config.json").is_file():
            _fit(notes, list(kinds), options, out)

    return run_baseline(
        "lora-classifier",
        training,
        config=decisive_options(model, choices, training),
        made_of=lambda: {"corpus": corpus_hash, "base model": fingerprint_of(model.base)},
        holds_work=lambda folder: (folder / ADAPTER).is_dir() or any(folder.glob(f"{CHECKPOINTS}/checkpoint-*")),
        learn=learn,
        finish=lambda: _finish(out, options, corpus, held_out, kinds),
        manifest={
            "inputs": {"corpus": corpus_hash},
            "notes": len(notes),
            "held_out": [note.note.note_id for note in held_out],
        },
    )


def _fit(notes: Sequence[CodedNote], labels: Sequence[str], options: Options, out: Path) -> None:
    from transformers import set_seed

    chosen, _, training = options
    set_seed(training.seed)  # before the head draws its first weights
    classifier = load_classifier(chosen, len(labels), half=training.bf16)
    tuned = with_lora(
        classifier.model,
        training,
        r=chosen.lora_r,
        alpha=chosen.lora_alpha,
        dropout=chosen.lora_dropout,
        modules=chosen.lora_target_modules,
        task="SEQ_CLS",
    )
    for weight in tuned.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    gold, _ = gold_matrix([note.note.note_id for note in notes], notes, labels)
    examples = [
        {"input_ids": classifier.encode(note.note)[0], "labels": row.astype(np.float32)}
        for note, row in zip(track(notes, len(notes), "reading notes"), gold, strict=True)
    ]
    fit_lora(tuned, examples, classifier.collate, training, out / CHECKPOINTS, out / ADAPTER, mean_loss)


def _finish(
    out: Path, options: Options, corpus: Corpus, held_out: Sequence[CodedNote], kinds: Mapping[str, str]
) -> None:
    """Threshold, then the predictions of the test notes."""
    chosen, choices, training = options
    batch = training.per_device_eval_batch_size
    classifier = load_classifier(chosen, len(kinds), out / ADAPTER, half=training.bf16)
    if not (out / LABELS).is_file():
        threshold = threshold_of(
            corpus, held_out, list(kinds), lambda own: (p for _, p, _ in predict_proba(classifier, own, batch))
        )
        write_json(out / LABELS, {"kinds": dict(kinds), "threshold": dataclasses.asdict(threshold)})
    threshold = Threshold(**read_json(out / LABELS)["threshold"])
    notes = [note.note for note in corpus.split(choices.predict_split)]
    if not notes:
        print(f"the corpus has no notes in the split {choices.predict_split!r}: no predictions", file=sys.stderr)
        return
    found = track(predict_proba(classifier, notes, batch), len(notes), f"predicting {len(notes)} notes")
    predicted = (
        Prediction(note.note_id, p, threshold.accept(p[None])[0], by_probability(p), cut) for note, p, cut in found
    )
    said = versions_of(f"lora-classifier@{(fingerprint_of(out / ADAPTER) or '')[:12]}", threshold)
    write_predictions(out / PREDICTIONS, predicted, kinds, said, choices.top_codes)


def main(argv: Sequence[str]) -> int:
    """Parses options, trains and predicts."""
    return run_launched("lora-classifier", lambda: run(parse_into(_CLASSES, argv, "configs/lora-classifier")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
