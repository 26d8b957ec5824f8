"""What the medication network reads and is to say (stays and targets, row for row), and the strategies of the study.

A strategy says what the network is asked, how its errors count, and what the tree does to its answers: one YAML file a
strategy in `configs/medications/`; a key that does not exist is refused. The defaults are the study's (Marcou et al.
2024 and its released code); what is ours says so here and has files of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from concept_icd.errors import InputError, did_you_mean
from concept_icd.records import OneLine
from concept_icd.resources import read_yaml, resource

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from concept_icd.records import Level

#: The one network of all nodes, and that of the codes on bills.
ALL, BILLING = "all", "billing"
#: The study's seven target metrics, F1s at the threshold .5, and ours: micro-F1 at the best threshold.
SELECTIONS = (
    "ndcg",
    "micro_auprc",
    "macro_auprc",
    "micro_auc",
    "macro_auc",
    "micro_f1",
    "macro_f1",
    "micro_f1_best_threshold",
)
#: Option of a strategy -> the words that it may be.
CHOICES: Mapping[str, tuple[str, ...]] = {
    "loss": ("bce", "focal", "tree_min", "mc"),
    "weights": ("none", "level", "imbalance", "imbalance_normalised"),
    "roll": ("none", "up", "down"),
    "select": SELECTIONS,
    "outside": ("zero", "frequency"),
    "bias": ("zero", "log_odds"),
}
#: Option -> the least whole number that it may be; and the options that are numbers from 0 up.
WHOLE = {"hidden": 0, "units": 1, "batch": 1, "epochs": 1, "patience": 1, "subset_from": 0}
NUMBERS = ("gamma", "cap", "tree_l2", "output_l2", "learning_rate", "dropout", "stop_share", "momentum", "epsilon")


@dataclass(frozen=True, eq=False, repr=False)
class Stays(OneLine):
    """Stays as the network reads them (Marcou et al. 2024, "Data").

    Attributes:
        stay_ids, patient_ids: one a row; a stay id once.
        inputs: float32, (stays, inputs), sparse: 1 for each drug given, 1 for female sex, age / 89 clipped to
            [0, 1], the age being days / 365.25 where the day of birth is known.
        input_names: "drug:warfarin", ..., "female", "age".
        wards: per stay "newborn", "surgical", "medical" or None, for subgroups alone: never an input.
    """

    stay_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    inputs: csr_array
    input_names: tuple[str, ...]
    wards: tuple[str | None, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Targets(OneLine):
    """The diagnosis codes of the same stays, rolled up the tree.

    Attributes:
        nodes: codes and ranges of the ontology, parents before children.
        levels: of each node: chapter, section, category, subcategory or code (by depth: three-digit nodes are
            categories, four-digit ones subcategories, five-digit ones codes).
        parents: int64 (nodes,): row of the nearest ancestor among the nodes, -1 where there is none.
        billed: bool (nodes,): the node itself stands on a bill of these stays; it may lie at any level below section.
        gold: bool, (stays, nodes), sparse: the billed codes of a stay and all their ancestors.
    """

    nodes: tuple[str, ...]
    levels: tuple[Level, ...]
    parents: np.ndarray
    billed: np.ndarray
    gold: csr_array


@dataclass(frozen=True)
class Strategy:
    """Options of one network.

    Attributes:
        per_level: several networks instead of one for all nodes, each trained alone. True: the study's four, of
            chapters, sections, categories and billing codes (all together); nodes that are none of these are not
            answered. `tree_levels` beside it is ours: five networks, one a level of the tree, which answer every node.
        loss, weights, roll, select, outside, bias: one of their `CHOICES`.
        gamma: of the focal loss. cap: of imbalance ratios.
        subset_from: the study's subset alone is learnt: nodes of so many stays or more, without the parts of the tree
            that it drops (`targets.subset`). 0: all nodes.
        outside: what the other nodes get: "zero", the probability 0, or (ours) "frequency", their share in training.
        tree_l2, output_l2: strength of the pull of output weights to the parent's, and to zero (`losses`).
        roll: "up": a node is at least as probable as the nodes below it; "down": at most as those above it.
        select: what the epoch (and a search) is chosen by on dev stays.
        hidden, units, dropout, norm, momentum, epsilon: of the network.
        bias: of the outputs at the start: "zero", or (ours) "log_odds": training begins at the frequencies.
        learning_rate, batch, epochs: of the training.
        stop_share, patience: training ends when the figure of `select` has not risen for so many epochs on this share
            of the training stays, which is held out for that; 0 (ours): on the dev stays, and all training stays train.
    """

    per_level: bool = False
    tree_levels: bool = False
    loss: str = "bce"
    gamma: float = 2.0
    weights: str = "none"
    cap: float = 2.0
    subset_from: int = 0
    outside: str = "zero"
    tree_l2: float = 0.0
    output_l2: float = 0.0
    roll: str = "none"
    select: str = "ndcg"
    hidden: int = 2
    units: int = 2048
    dropout: float = 0.6
    norm: bool = False
    momentum: float = 0.01
    epsilon: float = 1e-3
    bias: str = "zero"
    learning_rate: float = 2e-4
    batch: int = 128
    epochs: int = 80
    stop_share: float = 0.05
    patience: int = 3

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if (value := getattr(self, name)) not in known:
                hint = did_you_mean(str(value), known)
                raise InputError(f"{name} must be one of {', '.join(known)}, it is {value!r}{hint}")
        for name, low in WHOLE.items():
            if not isinstance(value := getattr(self, name), int) or value < low:
                raise InputError(f"{name} must be a whole number from {low} up, it is {value!r}")
        for name in NUMBERS:
            if not isinstance(value := getattr(self, name), (int, float)) or value < 0:
                raise InputError(f"{name} must be a number from 0 up, it is {value!r}")
        for name in ("dropout", "stop_share"):
            if getattr(self, name) >= 1:
                raise InputError(f"{name} must lie below 1, it is {getattr(self, name)}")
        if self.weights != "none" and self.loss != "bce":
            raise InputError(f"weights are those of the loss bce, not of {self.loss}")
        if self.tree_levels and not self.per_level:
            raise InputError("tree_levels says which networks per_level means; set per_level too")
        if self.per_level and (self.loss in ("tree_min", "mc") or self.tree_l2):
            raise InputError("a network for each level sees no tree: tree_min, mc and tree_l2 need all levels in one")


def shipped_strategies() -> list[str]:
    """Bare names of the shipped strategies, the recommended one first."""
    names = sorted(file.stem for file in resource("configs/medications").glob("*.yaml"))
    return sorted(names, key=lambda name: name != "multitask")


def read_strategy(name_or_path: str | Path, **changes: Any) -> Strategy:
    """A shipped strategy by its bare name or a YAML file by its path, with changes.

    Raises:
        InputError: no such file, or an option that does not exist or has a wrong value.

    >>> strategy = read_strategy("multitask", units=64)
    >>> strategy.loss, strategy.units
    ('bce', 64)
    """
    shipped = shipped_strategies()
    if Path(name_or_path).suffix not in (".yaml", ".yml") and str(name_or_path) not in shipped:
        raise InputError(
            f"there is no strategy {str(name_or_path)!r}{did_you_mean(str(name_or_path), shipped)}; there are "
            f"{', '.join(shipped)}, or name a YAML file"
        )
    path, content = read_yaml("configs/medications", name_or_path)
    if content is not None and not isinstance(content, dict):
        raise InputError(f"the strategy {path} must be a mapping of options to values")
    known = [field.name for field in dataclasses.fields(Strategy)]
    options = {**(content or {}), **changes}
    for key in options:
        if key not in known:
            raise InputError(f"the strategy {path} has an unknown option {key!r}{did_you_mean(str(key), known)}")
    try:
        return Strategy(**options)
    except InputError as error:
        raise InputError(f"the strategy {path}: {error}") from error
