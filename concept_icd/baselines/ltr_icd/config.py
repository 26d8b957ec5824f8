"""What a model is made of: the options that shape it, with the reason for each default, and its label set.

One YAML file and command-line flags fill the options (see `concept_icd.tuning.config`): the model's, the corpus's, and
those of transformers' Trainer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from concept_icd.artifacts import read_json
from concept_icd.baselines.training import ThresholdOptions, TrainingOptions
from concept_icd.errors import InputError, did_you_mean
from concept_icd.records import OneLine
from concept_icd.tuning.config import make_from, parse_into

#: In config.json, so that another package's folder, or another version's, is known as such.
SYSTEM, FORMAT = "ltr-icd", 1
TEXTS, LOSSES = ("raw", "caml"), ("sum", "mean")
#: The model of PLM-ICD's released script (github.com/MiuLab/PLM-ICD, src/modeling_roberta.py and the README's command):
#: what is no such model does not bear its name. Channels are the width of the encoder, whichever it is.
PLM_ICD = {
    "ranking": False,
    "segment_tokens": 128,
    "max_tokens": 3072,
    "kernel_size": 1,
    "text": "caml",
    "dropout": 0.0,
    "loss": "mean",
    "padding_attends": True,
    "initializer_range": 0.02,
}


@dataclass
class ModelOptions:
    """The options of a model. What was read of LTR-ICD's paper gives none of these numbers; see the package's words."""

    base: str = field(
        default="tiny",
        metadata={"help": "A T5 checkpoint (with ranking: false any encoder), by name or folder; tiny: a small T5 with "
                          "random weights and a tokenizer made from the training notes."},
    )  # fmt: skip
    ranking: bool = field(
        default=True,
        metadata={"help": "LTR-ICD: a decoder gives the order, and each kind of codes has a label attention of its "
                          "own. False: one label attention and no decoder; codes by probability (PLM-ICD)."},
    )  # fmt: skip
    segment_tokens: int = field(
        default=512,
        metadata={"help": "Tokens of a segment, encoded alone. 512: what T5 was pre-trained on (PLM-ICD: 128)."},
    )
    max_tokens: int = field(
        default=4096,
        metadata={"help": "Tokens read of a note, from its beginning. 4096: most discharge summaries whole (Edin et "
                          "al. read 4,000 words)."},
    )  # fmt: skip
    kernel_size: int = field(
        default=3,
        metadata={"help": "Tokens a convolution sees, odd. 3: the least with a neighbour on each side; two of them "
                          "stacked see 5. 1 is PLM-ICD's linear form."},
    )  # fmt: skip
    channels: int = field(
        default=256,
        metadata={"help": "Channels between the convolutions. 256: a third of T5-base's width; memory "
                          "and time grow with channels x labels (PLM-ICD: the encoder's width)."},
    )  # fmt: skip
    text: str = field(
        default="raw",
        metadata={"help": "What is tokenised: raw, the note as it is; caml, CAML's words, as in PLM-ICD's script: "
                          "runs of letters and digits in lower case, numbers left out."},
    )  # fmt: skip
    dropout: float = field(
        default=0.1,
        metadata={"help": "Dropout on what label attention sees, and inside a tiny base. 0.1: T5's own rate."},
    )
    loss: str = field(
        default="sum",
        metadata={"help": "Binary cross-entropy over the labels of a note. sum: nats a note, whatever the label set's "
                          "size; mean: as in PLM-ICD's script, of which thousands of labels leave little a step."},
    )  # fmt: skip
    padding_attends: bool = field(
        default=False,
        metadata={"help": "Padding takes part in label attention's softmax, as in PLM-ICD's script; a note's "
                          "probabilities then depend on what it is batched with. Without ranking only."},
    )  # fmt: skip
    initializer_range: float | None = field(
        default=None,
        metadata={"help": "Standard deviation of the label attention's first weights, with biases 0 (PLM-ICD's script: "
                          ".02); default: 1 / sqrt(inputs), with biases at the log-odds of each code's frequency."},
    )  # fmt: skip
    generation_weight: float = field(
        default=1.0,
        metadata={"help": "Lambda: weight of the decoder's loss. 1.0: with loss: sum both are nats a note (over "
                          "labels; over tokens), so their plain sum is a joint log-likelihood."},
    )  # fmt: skip
    classifier_weight: float = field(
        default=0.0,
        metadata={"help": "Weight of the classifier's log-probabilities in what the decoder writes (no gradient goes "
                          "through). 0: the decoder finds codes by itself, as we read the paper. 1: it has only their "
                          "order to learn, which helps where it is trained from scratch on few notes."},
    )  # fmt: skip
    beams: int = field(
        default=1,
        metadata={"help": "Beams of decoding. 1, greedy: the order hardly gains from more, and time grows with them."},
    )
    max_generated: int = field(
        default=100,
        metadata={"help": "Most tokens that the decoder writes. 100: MIMIC-III's stays have at most 39 diagnoses and "
                          "40 procedures; a sequence cut short leaves the rest to the classifier."},
    )  # fmt: skip
    merge_floor: float = field(
        default=0.1,
        metadata={"help": "A generated code keeps its place at this probability or more. 0.1: below it the classifier "
                          "holds the code for wrong, and the decoder alone speaks for it."},
    )  # fmt: skip
    floor_while_decoding: bool = field(
        default=True,
        metadata={"help": "The floor holds while the decoder writes, not only when both are merged. True: a code that "
                          "merging would drop takes no other code's place in the sequence."},
    )  # fmt: skip
    tiny_width: int = field(default=128, metadata={"help": "With base: tiny, width of the states."})
    tiny_layers: int = field(default=2, metadata={"help": "With base: tiny, layers of encoder and of decoder."})
    tiny_vocabulary: int = field(default=4000, metadata={"help": "With base: tiny, most tokens of the tokenizer."})

    def __post_init__(self) -> None:
        for name, known in (("text", TEXTS), ("loss", LOSSES)):
            if (value := getattr(self, name)) not in known:
                raise InputError(f"{name} must be {' or '.join(known)}, it is {value!r}{did_you_mean(value, known)}")
        if self.padding_attends and self.ranking:
            raise InputError("padding_attends is of the classifier alone: set ranking to false")
        if self.initializer_range is not None and self.initializer_range <= 0:
            raise InputError(f"initializer_range must be positive, it is {self.initializer_range}")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise InputError(f"kernel_size must be odd and positive, it is {self.kernel_size}")
        counts = ("segment_tokens", "max_tokens", "channels", "beams", "max_generated", "tiny_width", "tiny_layers")
        for name in counts:
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, it is {getattr(self, name)}")
        if not 0 <= self.merge_floor <= 1:
            raise InputError(f"merge_floor must lie in [0, 1], it is {self.merge_floor}")
        if self.generation_weight < 0:
            raise InputError(f"generation_weight must not be negative, it is {self.generation_weight}")

    @property
    def system(self) -> str:
        """What results call the model: "plm-icd" only where it is that of PLM-ICD's script."""
        if self.ranking:
            return "ltr-icd"
        released = all(getattr(self, name) == value for name, value in PLM_ICD.items())
        return "plm-icd" if released else "label-attention"


@dataclass(frozen=True, repr=False)
class LtrIcdConfig(OneLine):
    """config.json: options, label set, the backbone's own configuration, and the threshold once it is chosen.

    Attributes:
        diagnoses, procedures: the labels of each kind; a model's columns are the diagnoses, then the procedures.
        aliases: label -> the code that it means, where that is spelled otherwise.
        backbone: the Hugging Face configuration, with "model_type".
        threshold: `value`, `at_least_one`, `micro_f1`, `source` of `heads.calibration.Threshold`.
    """

    options: ModelOptions
    diagnoses: tuple[str, ...]
    procedures: tuple[str, ...]
    backbone: Mapping[str, Any]
    aliases: Mapping[str, str] = field(default_factory=dict)
    classification: str = "icd9cm"
    threshold: Mapping[str, Any] | None = None

    @property
    def codes(self) -> tuple[str, ...]:
        """The labels in the order of the columns."""
        return self.diagnoses + self.procedures

    def to_dict(self) -> dict[str, Any]:
        """What config.json holds."""
        return {"system": SYSTEM, "format_version": FORMAT} | dataclasses.asdict(self)

    @classmethod
    def load(cls, path: str | Path) -> LtrIcdConfig:
        """Reads config.json.

        Raises:
            InputError: the file is missing, of another model or of another format version.
        """
        content = read_json(path)
        if not isinstance(content, dict) or content.pop("system", None) != SYSTEM:
            raise InputError(f"{path} is not the configuration of an LTR-ICD model of this package")
        if content.pop("format_version", None) != FORMAT:
            raise InputError(f"{path} has another format than {FORMAT}, the one that is read here: train again")
        try:
            options = ModelOptions(**content.pop("options"))
            diagnoses, procedures = tuple(content.pop("diagnoses")), tuple(content.pop("procedures"))
            return cls(options, diagnoses, procedures, **content)
        except (TypeError, KeyError) as error:
            raise InputError(f"{path} lacks a part of the configuration, or has one too many") from error


@dataclass
class LtrIcdTraining(TrainingOptions):
    """The Trainer's options, with defaults that suit a T5."""

    learning_rate: float = field(
        default=1e-4, metadata={"help": "Peak learning rate. 1e-4: T5's usual with Adam; BERTs take 5e-5 (PLM-ICD)."}
    )
    num_train_epochs: float = field(default=20, metadata={"help": "Epochs. 20: as PLM-ICD on the same notes."})
    gradient_checkpointing: bool = field(default=False, metadata={"help": "Trade time for memory in the encoder."})


Options = tuple[ModelOptions, ThresholdOptions, LtrIcdTraining]
_CLASSES = (ModelOptions, ThresholdOptions, LtrIcdTraining)


def parse_options(argv: Sequence[str]) -> Options:
    """Options from `--config FILE.yaml` and flags; see `tuning.config.parse_into`."""
    return parse_into(_CLASSES, argv, "configs/ltr-icd")


def make_options(**values: Any) -> Options:
    """The same from keywords; see `tuning.config.make_from`."""
    return make_from(_CLASSES, values)
