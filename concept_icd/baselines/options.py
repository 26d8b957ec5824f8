"""Options that the trained baselines share: the corpus's, and those of transformers' Trainer."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments

from concept_icd.errors import InputError
from concept_icd.tuning.publishing import CONSENT, check_trackers


@dataclass
class CorpusOptions:
    """What is learnt from, and what is predicted."""

    corpus: str = field(default="", metadata={"help": "Folder written by `concept-icd prepare`."})
    classification: str = field(default="icd9cm", metadata={"help": "Ontology of the codes."})
    predict_split: str = field(default="test", metadata={"help": "Split that predictions.jsonl is of."})
    top_codes: int = field(
        default=0, metadata={"help": "Codes of a note in predictions.jsonl, the first-ranked; 0: all (AUC needs all)."}
    )

    def __post_init__(self) -> None:
        if not self.corpus:
            raise InputError("name the prepared corpus with --corpus")
        if self.top_codes < 0:
            raise InputError(f"top_codes must not be negative, it is {self.top_codes}")


@dataclass
class ThresholdOptions(CorpusOptions):
    """The same, where a threshold is chosen on notes that are not learnt from."""

    holdout: float = field(
        default=0.1,
        metadata={"help": "Share of the training patients whose notes choose the threshold, where the corpus has no "
                          "dev split; 0: none, the threshold is 0.5."},
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.holdout < 1:
            raise InputError(f"holdout must lie in [0, 1), it is {self.holdout}")


@dataclass
class TrainingOptions(TrainingArguments):
    """The Trainer's options; the defaults that differ are private and short on disk, or have their reason here."""

    output_dir: str | None = field(default=None, metadata={"help": "Folder of the model and its predictions."})
    report_to: None | str | list[str] = field(default="none", metadata={"help": "Trackers."})  # noqa: RUF036
    i_may_publish: bool = field(default=False, metadata={"help": CONSENT})
    learning_rate: float = field(default=1e-4, metadata={"help": "Peak learning rate."})
    num_train_epochs: float = field(default=20, metadata={"help": "Epochs."})
    lr_scheduler_type: str = field(default="linear", metadata={"help": "Shape of the learning rate."})
    logging_steps: float = field(default=10, metadata={"help": "Steps between loss lines."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to write a checkpoint to resume from."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept."})
    train_sampling_strategy: str = field(default="group_by_length", metadata={"help": "Less padding."})
    ddp_find_unused_parameters: bool | None = field(default=False, metadata={"help": "There are none."})
    gradient_checkpointing: bool = field(default=False, metadata={"help": "Trade time for memory."})

    def __post_init__(self) -> None:
        if not self.output_dir:
            raise InputError("name the folder of the model with --output_dir")
        if self.push_to_hub:
            raise InputError("push_to_hub is for adapters of `concept-icd finetune`: upload this folder yourself")
        check_trackers(self)
        if not torch.cuda.is_available():
            self.use_cpu, self.bf16, self.fp16 = True, False, False
        self.remove_unused_columns = False
        self.disable_tqdm = True  # the package shows its own progress
        super().__post_init__()
