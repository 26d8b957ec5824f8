"""The options of CEC: the release's numbers are the defaults; what differs between its corpora is in configs/cec.

One YAML file and command-line flags fill them (see `concept_icd.tuning.config`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from concept_icd.baselines.training import CorpusOptions, TrainingOptions
from concept_icd.errors import InputError
from concept_icd.tuning.config import make_from, parse_into


@dataclass
class CecOptions:
    """Models, phrases and sampling of both stages."""

    phrases: str = field(
        default="", metadata={"help": 'Phrase file: {"428.0": {"parent": [...], "leaf": [...]}, ...}, or plain lists.'}
    )
    parent_phrases: int = field(default=5, metadata={"help": "Parent phrases of a code, the first of the file."})
    leaf_phrases: int = field(default=2, metadata={"help": "Leaf phrases of a code, the first of the file."})
    note_share: float = field(
        default=1.0, metadata={"help": "Stage 1: probability of a training note to be learnt from (MIMIC-III-50: .1)."}
    )
    parent_negative_share: float = field(default=0.045, metadata={"help": "Stage 1: share of false phrases, parent."})
    leaf_negative_share: float = field(
        default=0.045, metadata={"help": "Stage 1: share of false phrases, leaf (MIMIC-III-rare50: .03)."}
    )
    concept_model: str = field(default="meta-llama/Meta-Llama-3-8B", metadata={"help": "Base model of stage 1."})
    concept_4bit: bool = field(default=True, metadata={"help": "Stage 1 in NF4 with double quantisation."})
    concept_modules: list[str] = field(
        default_factory=lambda: ["q_proj", "v_proj"], metadata={"help": "What LoRA of stage 1 tunes."}
    )
    concept_alpha: int = field(default=32, metadata={"help": "LoRA's alpha of stage 1."})
    concept_steps: int = field(default=100, metadata={"help": "Steps of stage 1, for each kind of phrases."})
    code_model: str = field(default="ContactDoctor/Bio-Medical-Llama-3-8B", metadata={"help": "Base model of stage 2."})
    code_dtype: str = field(default="float16", metadata={"help": "Type of stage 2's base model (CPU: float32)."})
    code_modules: list[str] = field(
        default_factory=lambda: ["k_proj", "v_proj"], metadata={"help": "What LoRA of stage 2 tunes."}
    )
    code_alpha: int = field(default=128, metadata={"help": "LoRA's alpha of stage 2."})
    code_steps: int = field(default=500, metadata={"help": "Steps of stage 2."})
    lora_r: int = field(default=32, metadata={"help": "LoRA's rank, both stages."})
    lora_dropout: float = field(default=0.05, metadata={"help": "LoRA's dropout, both stages."})
    state_truth: bool = field(
        default=True,
        metadata={"help": "Stage 2's training prompts say in a sentence whether the disease is there, as the release's "
                          "do; test prompts never do."},
    )  # fmt: skip
    max_length: int = field(default=8192, metadata={"help": "Most tokens of a prompt, or the model's if fewer."})
    answer_batch_size: int = field(default=16, metadata={"help": "Questions of a note that are answered at a time."})

    def __post_init__(self) -> None:
        if not self.phrases:
            raise InputError("name the phrase file with --phrases")
        for name in ("note_share", "parent_negative_share", "leaf_negative_share"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} must lie in (0, 1], it is {getattr(self, name)}")
        counts = ("parent_phrases", "leaf_phrases", "concept_steps", "code_steps", "lora_r", "answer_batch_size")
        for name in (*counts, "max_length"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, it is {getattr(self, name)}")
        if self.code_dtype not in (known := ("float32", "float16", "bfloat16")):
            raise InputError(f"code_dtype must be one of {', '.join(known)}, it is {self.code_dtype!r}")


@dataclass
class CecTraining(TrainingOptions):
    """The Trainer's options, both stages alike but for their steps; defaults as in the release."""

    learning_rate: float = field(default=2e-4, metadata={"help": "Peak learning rate."})
    warmup_steps: float = field(default=2, metadata={"help": "Steps until the peak."})
    per_device_train_batch_size: int = field(default=1, metadata={"help": "Prompts at a time."})
    gradient_accumulation_steps: int = field(default=4, metadata={"help": "Batches a step."})
    optim: str = field(default="paged_adamw_8bit", metadata={"help": "Optimiser (CPU: adamw_torch)."})
    train_sampling_strategy: str = field(default="random", metadata={"help": "Order of the prompts."})
    gradient_checkpointing: bool = field(default=True, metadata={"help": "Trade time for memory."})
    save_strategy: str = field(default="steps", metadata={"help": "When to write a checkpoint to resume from."})
    save_steps: float = field(default=50, metadata={"help": "Steps between checkpoints."})


Options = tuple[CecOptions, CorpusOptions, CecTraining]
_CLASSES = (CecOptions, CorpusOptions, CecTraining)


def parse_options(argv: Sequence[str]) -> Options:
    """Options from `--config FILE.yaml` and flags; see `tuning.config.parse_into`."""
    return parse_into(_CLASSES, argv, "configs/cec")


def make_options(**values: Any) -> Options:
    """The same from keywords; see `tuning.config.make_from`."""
    return make_from(_CLASSES, values)
