"""The options of `scripts/train_ltr_icd.py`: the model's, the corpus's, and those of transformers' Trainer.

One YAML file and command-line flags fill them, a flag wins; an unknown key names the nearest known one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from transformers import HfArgumentParser, TrainingArguments

from concept_icd.errors import InputError, did_you_mean
from concept_icd.models.ltr_icd.config import ModelOptions
from concept_icd.resources import read_yaml


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
        if not torch.cuda.is_available():
            self.use_cpu, self.bf16 = True, False
        self.remove_unused_columns = False
        self.disable_tqdm = True  # the package shows its own progress
        super().__post_init__()


Options = tuple[ModelOptions, CorpusOptions, TrainingOptions]
_CLASSES = (ModelOptions, CorpusOptions, TrainingOptions)


def parse_options(argv: Sequence[str]) -> Options:
    """Options from `--config FILE.yaml` and flags.

    Raises:
        InputError: the file is missing or not YAML, a key is unknown or has a wrong value, or one is missing.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    first.error = _refuse  # type: ignore[method-assign]
    given, flags = first.parse_known_args(list(argv))
    known = {f.name for cls in _CLASSES for f in dataclasses.fields(cls)}
    for word in flags:
        name = word.split("=")[0].removeprefix("--").replace("-", "_").removeprefix("no_")
        if word.startswith("--") and name not in known | {"help"}:
            raise InputError(f"there is no option {word.split('=')[0]}{did_you_mean(name, known)}")
    parser = HfArgumentParser(_CLASSES, allow_abbrev=False)
    parser.error = _refuse  # argparse would print the usage of 150 options first
    try:
        parsed: Options = parser.parse_args_into_dataclasses([*_flags_of(given.config, known), *flags])
    except (TypeError, ValueError) as error:
        raise InputError(f"the options do not fit together: {' '.join(str(error).split())}") from error
    return parsed


def make_options(**values: Any) -> Options:
    """The same from keywords, for Python.

    Raises:
        InputError: an unknown option.
    """
    known = {f.name: cls for cls in _CLASSES for f in dataclasses.fields(cls)}
    parts: dict[type, dict[str, Any]] = {cls: {} for cls in _CLASSES}
    for key, value in values.items():
        if key not in known:
            raise InputError(f"there is no option {key!r}{did_you_mean(key, known)}")
        parts[known[key]][key] = value
    return tuple(cls(**parts[cls]) for cls in _CLASSES)  # type: ignore[return-value]


def _flags_of(config: str | None, known: set[str]) -> list[str]:
    """A config file as flags, so that the same parser checks every value; a shipped one also by its bare name."""
    if config is None:
        return []
    path, content = read_yaml("configs/ltr-icd", config)
    if not isinstance(content, dict):
        raise InputError(f"the config {path} must be a mapping of options to values")
    flags: list[str] = []
    for key, value in content.items():
        if key not in known:
            raise InputError(f"the config {path} has an unknown key {key!r}{did_you_mean(str(key), known)}")
        if value is not None:
            words = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
            flags += [f"--{key}", *map(str, words)]
    return flags


def _refuse(message: str) -> NoReturn:
    raise InputError(message)
