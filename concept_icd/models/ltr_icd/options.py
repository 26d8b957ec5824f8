"""The options of `scripts/train_ltr_icd.py`: the model's, the corpus's, and those of transformers' Trainer.

One YAML file and command-line flags fill them (see `concept_icd.tuning.options`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainingArguments

from concept_icd.errors import InputError
from concept_icd.models.ltr_icd.config import ModelOptions
from concept_icd.tuning.options import make_from, parse_into
from concept_icd.tuning.publishing import CONSENT, check_trackers


@dataclass
class CorpusOptions:
    """What is learnt from, and what is predicted."""

    corpus: str = field(default="", metadata={"help": "Folder written by `concept-icd prepare`."})
    classification: str = field(default="icd9cm", metadata={"help": "Ontology of the codes."})
    holdout: float = field(
        default=0.1,
        metadata={"help": "Share of the training patients whose notes choose the threshold, where the corpus has no "
                          "dev split; 0: none, the threshold is 0.5."},
    )  # fmt: skip
    predict_split: str = field(default="test", metadata={"help": "Split that predictions.jsonl is of."})
    top_codes: int = field(
        default=0, metadata={"help": "Codes of a note in predictions.jsonl, the first-ranked; 0: all (AUC needs all)."}
    )

    def __post_init__(self) -> None:
        if not self.corpus:
            raise InputError("name the prepared corpus with --corpus")
        if not 0 <= self.holdout < 1:
            raise InputError(f"holdout must lie in [0, 1), it is {self.holdout}")


@dataclass
class TrainingOptions(TrainingArguments):
    """The Trainer's options; the defaults that differ are private and short on disk, or have their reason here."""

    output_dir: str | None = field(default=None, metadata={"help": "Folder of the model and its predictions."})
    report_to: None | str | list[str] = field(default="none", metadata={"help": "Trackers."})  # noqa: RUF036
    i_may_publish: bool = field(default=False, metadata={"help": CONSENT})
    learning_rate: float = field(
        default=1e-4, metadata={"help": "Peak learning rate. 1e-4: T5's usual with Adam; BERTs take 5e-5 (PLM-ICD)."}
    )
    num_train_epochs: float = field(default=20, metadata={"help": "Epochs. 20: as PLM-ICD on the same notes."})
    lr_scheduler_type: str = field(default="linear", metadata={"help": "Shape of the learning rate."})
    logging_steps: float = field(default=10, metadata={"help": "Steps between loss lines."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to write a checkpoint to resume from."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept."})
    train_sampling_strategy: str = field(default="group_by_length", metadata={"help": "Less padding."})
    ddp_find_unused_parameters: bool | None = field(default=False, metadata={"help": "There are none."})
    gradient_checkpointing: bool = field(default=False, metadata={"help": "Trade time for memory in the encoder."})

    def __post_init__(self) -> None:
        if not self.output_dir:
            raise InputError("name the folder of the model with --output_dir")
        if self.push_to_hub:
            raise InputError("push_to_hub is for adapters of `concept-icd finetune`: upload this folder yourself")
        check_trackers(self)
        if not torch.cuda.is_available():
            self.use_cpu, self.bf16 = True, False
        self.remove_unused_columns = False
        self.disable_tqdm = True  # the package shows its own progress
        super().__post_init__()


Options = tuple[ModelOptions, CorpusOptions, TrainingOptions]
_CLASSES = (ModelOptions, CorpusOptions, TrainingOptions)


def parse_options(argv: Sequence[str]) -> Options:
    """Options from `--config FILE.yaml` and flags; see `tuning.options.parse_into`."""
    parsed: Options = parse_into(_CLASSES, argv, "configs/ltr-icd")
    return parsed


def make_options(**values: Any) -> Options:
    """The same from keywords; see `tuning.options.make_from`."""
    made: Options = make_from(_CLASSES, values)
    return made
