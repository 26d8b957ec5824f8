"""Options of training runs, from one YAML file and command-line flags; those of `concept-icd finetune` are at the top.

They are TRL's own, with other defaults, and `ConceptArguments`. The parser below them takes any dataclasses, so the
trained baselines share it: a flag wins over the file, one parser checks the values of both, and an unknown name is told
with the nearest known one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from transformers import HfArgumentParser
from trl import ModelConfig, SFTConfig

from concept_icd.errors import InputError, did_you_mean
from concept_icd.resources import read_yaml
from concept_icd.tuning.arguments import ConceptArguments
from concept_icd.tuning.publishing import CONSENT, check_trackers


@dataclass
class LoraModelConfig(ModelConfig):
    """TRL's model options with LoRA on; "tiny" names the shipped model."""

    model_name_or_path: str | None = field(
        default="tiny", metadata={"help": "Base model: a name, folder, GGUF file or tiny."}
    )
    use_peft: bool = field(default=True, metadata={"help": "LoRA; always on."})
    lora_r: int = field(default=32, metadata={"help": "Rank."})
    lora_alpha: int = field(default=32, metadata={"help": "Scale: alpha / r."})
    start_from: str | None = field(
        default=None,
        metadata={"help": "A LoRA adapter to go on from, such as a warm-up's; its rank and layers are kept."},
    )
    use_bnb_nested_quant: bool = field(default=True, metadata={"help": "Double quantisation; always on in 4 bits."})

    def __post_init__(self) -> None:
        super().__post_init__()
        # Scorers load a base in full precision or in NF4, from its main branch: nothing else is trained either.
        fixed = {"use_peft": True, "load_in_8bit": False, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True}
        for name, value in (fixed | {"model_revision": "main"}).items():
            if getattr(self, name) != value:
                raise InputError(f"{name} is always {value} here; take it out of the options")
        if self.attn_implementation not in (None, "flex_attention"):
            raise InputError("attn_implementation is left out, or flex_attention on GPUs: other kernels take no masks")
        if "lm_head" in (self.lora_target_modules or []) or self.lora_modules_to_save:
            raise InputError("LoRA leaves the LM head and whole modules alone: scorers share them with the base model")


@dataclass
class TuningConfig(SFTConfig):
    """TRL's training options; the defaults that differ are private, short on disk and right for packed sequences."""

    output_dir: str | None = field(default=None, metadata={"help": "Folder of the adapters."})
    # The parser takes a union's second type where None comes first.
    report_to: None | str | list[str] = field(default="none", metadata={"help": "Trackers."})  # noqa: RUF036
    i_may_publish: bool = field(default=False, metadata={"help": CONSENT})
    max_length: int | None = field(default=None, metadata={"help": "Most tokens of a prompt; default: the model's."})
    learning_rate: float = field(default=2e-4, metadata={"help": "Peak learning rate."})
    logging_steps: float = field(default=10, metadata={"help": "Steps between loss lines."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to write a checkpoint to resume from."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept."})
    train_sampling_strategy: str = field(default="group_by_length", metadata={"help": "Less padding."})
    ddp_find_unused_parameters: bool | None = field(default=False, metadata={"help": "LoRA leaves none."})
    gradient_checkpointing: bool = field(default=False, metadata={"help": "Trade time for memory."})

    def __post_init__(self) -> None:
        if not self.output_dir:
            raise InputError("name the folder of the adapters with --output_dir")
        if not torch.cuda.is_available():
            # TRL's default would be bfloat16, which most processors emulate; who asks for it has one that does not.
            self.use_cpu = True
            self.bf16: bool | None = bool(self.bf16)
        check_trackers(self)
        self.remove_unused_columns = False
        self.disable_tqdm = True  # the trainer shows its own progress
        self.dataset_kwargs = {"skip_prepare_dataset": True}
        super().__post_init__()


Options = tuple[ConceptArguments, TuningConfig, LoraModelConfig]
_CLASSES = (ConceptArguments, TuningConfig, LoraModelConfig)


def parse_options(argv: Sequence[str]) -> Options:
    """Options from `--config FILE.yaml` and flags; see `parse_into`."""
    parsed: Options = parse_into(_CLASSES, argv, "configs")
    return parsed


def make_options(**values: Any) -> Options:
    """The same from keywords; see `make_from`."""
    made: Options = make_from(_CLASSES, values)
    return made


#: What a file that may be somebody else's cannot say.
_COMMAND_LINE_ALONE = ("i_may_publish",)


def parse_into(classes: Sequence[type], argv: Sequence[str], configs: str) -> Any:
    """An instance of each of `classes` (dataclasses), from `--config FILE.yaml` and flags.

    Args:
        configs: the folder of shipped configs, which go by their bare names.

    Raises:
        InputError: the file is missing or not YAML, a key is unknown or has a wrong value, or a required one is
            missing.
    """
    known = names_of(classes)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    first.error = lambda _: _refuse("--config needs the name of a YAML file")  # type: ignore[assignment, method-assign]
    given, flags = first.parse_known_args(list(argv))
    for word in flags:
        name = word.split("=")[0].removeprefix("--").replace("-", "_").removeprefix("no_")
        if word.startswith("--") and name not in {*known, "help"}:
            raise InputError(f"there is no option {word.split('=')[0]}{did_you_mean(name, known)}")
    parser = HfArgumentParser(classes, allow_abbrev=False)  # type: ignore[arg-type]
    parser.error = _refuse  # argparse would print the usage of 200 options first
    try:
        return parser.parse_args_into_dataclasses([*_flags_of(given.config, configs, known), *flags])
    except (TypeError, ValueError) as error:
        raise InputError(f"the options do not fit together: {' '.join(str(error).split())}") from error


def make_from(classes: Sequence[type], values: dict[str, Any]) -> Any:
    """The same from keywords, for Python.

    Raises:
        InputError: an unknown option.
    """
    known = names_of(classes)
    parts: dict[type, dict[str, Any]] = {cls: {} for cls in classes}
    for key, value in values.items():
        if key not in known:
            raise InputError(f"there is no option {key!r}{did_you_mean(key, known)}")
        parts[known[key]][key] = value
    return tuple(cls(**parts[cls]) for cls in classes)


def names_of(classes: Sequence[type]) -> dict[str, type]:
    """Name of each option -> the class that has it."""
    return {field.name: cls for cls in classes for field in dataclasses.fields(cls)}


def _flags_of(config: str | None, configs: str, known: dict[str, type]) -> list[str]:
    """A config file as flags."""
    if config is None:
        return []
    path, content = read_yaml(configs, config)
    if not isinstance(content, dict):
        raise InputError(f"the config {path} must be a mapping of options to values")
    flags: list[str] = []
    for key, value in content.items():
        if key not in known:
            raise InputError(f"the config {path} has an unknown key {key!r}{did_you_mean(str(key), known)}")
        if key in _COMMAND_LINE_ALONE:
            raise InputError(f"the config {path} has the key {key!r}, which only you can give, on the command line")
        if value is not None:
            words = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
            flags += [f"--{key}", *map(str, words)]
    return flags


def _refuse(message: str) -> NoReturn:
    raise InputError(message)
