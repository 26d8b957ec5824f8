"""The options of `scripts/train_ltr_icd.py`: the model's, the corpus's, and those of transformers' Trainer.

One YAML file and command-line flags fill them (see `concept_icd.tuning.options`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from concept_icd.baselines.options import ThresholdOptions, TrainingOptions
from concept_icd.models.ltr_icd.config import ModelOptions
from concept_icd.tuning.options import make_from, parse_into


@dataclass
class LtrIcdTraining(TrainingOptions):
    """The Trainer's options, with what suits a T5."""

    learning_rate: float = field(
        default=1e-4, metadata={"help": "Peak learning rate. 1e-4: T5's usual with Adam; BERTs take 5e-5 (PLM-ICD)."}
    )
    num_train_epochs: float = field(default=20, metadata={"help": "Epochs. 20: as PLM-ICD on the same notes."})
    gradient_checkpointing: bool = field(default=False, metadata={"help": "Trade time for memory in the encoder."})


Options = tuple[ModelOptions, ThresholdOptions, LtrIcdTraining]
_CLASSES = (ModelOptions, ThresholdOptions, LtrIcdTraining)


def parse_options(argv: Sequence[str]) -> Options:
    """Options from `--config FILE.yaml` and flags; see `tuning.options.parse_into`."""
    parsed: Options = parse_into(_CLASSES, argv, "configs/ltr-icd")
    return parsed


def make_options(**values: Any) -> Options:
    """The same from keywords; see `tuning.options.make_from`."""
    made: Options = make_from(_CLASSES, values)
    return made
