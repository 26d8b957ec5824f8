"""A strategy of the study: what the network is asked, how its errors count, and what the tree does to its answers.

One YAML file a strategy in `configs/medications/`; a key that does not exist is refused.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concept_icd.errors import InputError, did_you_mean
from concept_icd.resources import read_yaml, resource

LOSSES = ("bce", "focal", "tree_min", "mc")
WEIGHTS = ("none", "level", "imbalance", "imbalance_normalised")
ROLLS = ("none", "up", "down")
SELECTIONS = ("ndcg", "micro_auprc", "micro_f1")


@dataclass(frozen=True)
class Strategy:
    """Options of one network.

    Attributes:
        per_level: a network for each level of the tree, instead of one for all nodes.
        loss: one of `LOSSES`. gamma: of the focal loss. weights: one of `WEIGHTS`. cap: of imbalance ratios.
        subset_from: the study's subset alone is learnt: nodes of so many training stays or more, without the parts of
            the tree that it drops (`targets.subset`). The others, all where none is so frequent, are answered by their
            frequency. 0: all nodes.
        tree_l2, output_l2: strength of the pull of output weights to the parent's, and to zero.
        roll: "up": a node is at least as probable as the nodes below it; "down": at most as those above it.
        select: what the epoch (and a search) is chosen by on dev stays, one of `SELECTIONS`.
        hidden, units, dropout, norm: of the network. learning_rate, batch, epochs, patience: of the training.
    """

    per_level: bool = False
    loss: str = "bce"
    gamma: float = 2.0
    weights: str = "none"
    cap: float = 100.0
    subset_from: int = 0
    tree_l2: float = 0.0
    output_l2: float = 0.0
    roll: str = "none"
    select: str = "ndcg"
    hidden: int = 2
    units: int = 2048
    dropout: float = 0.6
    norm: bool = False
    learning_rate: float = 2e-4
    batch: int = 128
    epochs: int = 50
    patience: int = 5

    def __post_init__(self) -> None:
        for name, known in (("loss", LOSSES), ("weights", WEIGHTS), ("roll", ROLLS), ("select", SELECTIONS)):
            if (value := getattr(self, name)) not in known:
                hint = did_you_mean(str(value), known)
                raise InputError(f"{name} must be one of {', '.join(known)}, it is {value!r}{hint}")
        whole = {"hidden": 0, "units": 1, "batch": 1, "epochs": 1, "patience": 1, "subset_from": 0}
        for name, low in whole.items():
            if not isinstance(getattr(self, name), int) or getattr(self, name) < low:
                raise InputError(f"{name} must be a whole number from {low} up, it is {getattr(self, name)!r}")
        for name in ("gamma", "cap", "tree_l2", "output_l2", "learning_rate", "dropout"):
            if not isinstance(getattr(self, name), (int, float)) or getattr(self, name) < 0:
                raise InputError(f"{name} must be a number from 0 up, it is {getattr(self, name)!r}")
        if self.dropout >= 1:
            raise InputError(f"dropout must lie below 1, it is {self.dropout}")
        if self.weights != "none" and self.loss != "bce":
            raise InputError(f"weights are those of the loss bce, not of {self.loss}")
        if self.subset_from and self.loss != "bce":
            raise InputError(f"a subset of the nodes is learnt with the loss bce, not with {self.loss}")
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
