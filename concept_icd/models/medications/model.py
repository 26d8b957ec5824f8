"""A trained strategy: from the inputs of stays to logits of nodes, streamed, and as a folder.

OUT/medications.json      strategy, inputs, nodes, levels, billed nodes, thresholds
OUT/networks.safetensors  weights of its network, or of one for each level; parents
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from concept_icd.artifacts import read_json, sha256, write_json, writing
from concept_icd.errors import InputError
from concept_icd.models.medications.hierarchy import Tree
from concept_icd.models.medications.network import MedicationNetwork
from concept_icd.models.medications.records import Stays, Targets
from concept_icd.models.medications.strategy import Strategy

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SETTINGS, WEIGHTS = "medications.json", "networks.safetensors"


@dataclass(frozen=True, eq=False)
class MedicationModel:
    """See the module.

    Attributes:
        input_names: columns that it reads. nodes, levels, parents, billed: see `records.Targets`.
        networks: of each its nodes, int64, and itself, in evaluation mode.
        thresholds: level -> the probability from which a node of the level is accepted (`study.choose_thresholds`).
    """

    strategy: Strategy
    input_names: tuple[str, ...]
    nodes: tuple[str, ...]
    levels: tuple[str, ...]
    parents: np.ndarray
    billed: np.ndarray
    networks: tuple[tuple[torch.Tensor, MedicationNetwork], ...]
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @torch.inference_mode()
    def iter_logits(self, inputs: csr_array, batch: int = 1024) -> Iterator[np.ndarray]:
        """Logits float32 (up to `batch` stays, nodes), in the order of the stays.

        Args:
            inputs: float32 (stays, inputs), sparse, its columns those of `input_names` (`aligned_inputs`).
        """
        device = self.networks[0][1].output.weight.device
        tree = Tree.of(self.parents).to(device)
        for start in range(0, inputs.shape[0], batch):
            dense = torch.from_numpy(inputs[start : start + batch].toarray()).to(device)
            yield rolled(answers(self.networks, dense, len(self.nodes)), tree, self.strategy.roll).cpu().numpy()

    def logits(self, inputs: csr_array) -> np.ndarray:
        """All at once, float32 (stays, nodes)."""
        parts = list(self.iter_logits(inputs))
        return np.concatenate(parts) if parts else np.empty((0, len(self.nodes)), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Writes both files into an existing folder."""
        tensors = {f"{k}.{name}": value for k, (_, net) in enumerate(self.networks) for name, value in _state(net)}
        with writing(folder / WEIGHTS):
            save_file({**tensors, "parents": torch.from_numpy(self.parents)}, folder / WEIGHTS)
        settings = {
            "strategy": dataclasses.asdict(self.strategy),
            "inputs": self.input_names,
            "nodes": self.nodes,
            "levels": self.levels,
            "billed": np.flatnonzero(self.billed).tolist(),
            "thresholds": dict(self.thresholds),
            "weights_sha256": sha256(folder / WEIGHTS),
        }
        write_json(folder / SETTINGS, settings)

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> MedicationModel:
        """Reads what `save` wrote.

        Raises:
            InputError: a file is missing, damaged or of another form.
        """
        folder = Path(folder)
        if not (folder / SETTINGS).is_file():
            told = "name a strategy's fold in the folder of a study, such as runs/medications/multitask/fold-0"
            raise InputError(f"{folder} has no {SETTINGS}, so there is no medication network in it; {told}")
        settings = read_json(folder / SETTINGS)
        try:
            if sha256(folder / WEIGHTS) != settings["weights_sha256"]:
                raise InputError(f"{folder / WEIGHTS} is damaged or another model's: train it again")
            tensors = load_file(folder / WEIGHTS)
            strategy, levels = Strategy(**settings["strategy"]), tuple(settings["levels"])
            networks = new_networks(strategy, len(settings["inputs"]), levels)
            for k, (_, network) in enumerate(networks):
                own = {name: tensors[f"{k}.{name}"] for name in network.state_dict()}
                network.load_state_dict(own)
                network.to(device).eval()
            nodes, names = tuple(settings["nodes"]), tuple(settings["inputs"])
            billed = np.isin(np.arange(len(nodes)), settings["billed"])
            thresholds = dict(settings["thresholds"])
            return cls(strategy, names, nodes, levels, tensors["parents"].numpy(), billed, networks, thresholds)
        except (OSError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            told = f"{folder} holds no medication network that can be read ({type(error).__name__}): train it again"
            raise InputError(told) from error


def device_of(name: str | None) -> str:
    """The device of this name; None: a GPU where there is one.

    Raises:
        InputError: torch has no such device here.
    """
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        told = f"there is no device {name!r} here; without --device a GPU is taken where there is one"
        raise InputError(told) from error
    return name


def new_networks(
    strategy: Strategy, inputs: int, levels: tuple[str, ...]
) -> tuple[tuple[torch.Tensor, MedicationNetwork], ...]:
    """Untrained networks of a strategy, each with the rows of its nodes: one for all, or one a level."""
    shape = {"hidden": strategy.hidden, "units": strategy.units, "dropout": strategy.dropout, "norm": strategy.norm}
    groups = [[level] for level in dict.fromkeys(levels)] if strategy.per_level else [list(dict.fromkeys(levels))]
    rows = [torch.tensor([row for row, level in enumerate(levels) if level in group]) for group in groups]
    return tuple((own, MedicationNetwork(inputs, len(own), **shape)) for own in rows)  # type: ignore[arg-type]


def answers(
    networks: tuple[tuple[torch.Tensor, MedicationNetwork], ...], inputs: torch.Tensor, nodes: int
) -> torch.Tensor:
    """Logits (stays, nodes) of all networks, each in the columns of its nodes."""
    if len(networks) == 1:
        only: torch.Tensor = networks[0][1](inputs)
        return only
    logits = inputs.new_empty((len(inputs), nodes))
    for rows, network in networks:
        logits[:, rows.to(inputs.device)] = network(inputs)
    return logits


def rolled(logits: torch.Tensor, tree: Tree, roll: str) -> torch.Tensor:
    """What the tree makes of the answers: see `Strategy.roll`."""
    if roll == "up":
        return tree.subtree_max(logits)
    return tree.path_min(logits) if roll == "down" else logits


def aligned_inputs(stays: Stays, names: tuple[str, ...]) -> tuple[csr_array, list[str]]:
    """The inputs of stays in the columns of a model, and the names of the stays' inputs that it does not know.

    An input of the model that the stays lack is 0.
    """
    from scipy.sparse import csr_array

    column = {name: number for number, name in enumerate(names)}
    known = [number for number, name in enumerate(stays.input_names) if name in column]
    part = stays.inputs[:, known].tocoo()
    target = np.array([column[stays.input_names[number]] for number in known], dtype=np.int64)
    shape = (stays.inputs.shape[0], len(names))
    matrix = csr_array((part.data, (part.coords[0], target[part.coords[1]])), shape=shape, dtype=np.float32)
    return matrix, [name for name in stays.input_names if name not in column]


def check_same_rows(stays: Stays, targets: Targets) -> None:
    """ValueError where stays and targets are not row for row the same."""
    if stays.inputs.shape[0] != targets.gold.shape[0]:
        raise ValueError(f"{stays.inputs.shape[0]} stays have {targets.gold.shape[0]} rows of targets")


def starting_bias(frequency: np.ndarray, positive: torch.Tensor | None, floor: float = 1e-5) -> torch.Tensor:
    """(nodes,) log-odds that minimise the (weighted) loss without any input: training begins at the dummy.

    Args:
        frequency: (nodes,) of the training stays. positive: (nodes,) weights of a true node, if any.
    """
    clipped = np.clip(frequency, floor, 1 - floor)
    bias = torch.tensor(np.log(clipped / (1 - clipped)), dtype=torch.float32)
    return bias if positive is None else bias + positive.clamp(min=floor).log()


def _state(network: MedicationNetwork) -> list[tuple[str, torch.Tensor]]:
    return [(name, value.detach().cpu().contiguous()) for name, value in network.state_dict().items()]
