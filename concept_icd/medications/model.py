"""A trained strategy: from the inputs of stays to logits of nodes, streamed, and as a folder.

The network (Marcou et al. 2024, "Model") takes drugs, sex and age and gives one logit a node; the tree of the nodes may
then change the logits (`Strategy.roll`).

OUT/medications.json      strategy, inputs, nodes, levels, billed nodes, thresholds, the options of each network
OUT/networks.safetensors  weights of each network, the rows of its nodes; parents; logits of nodes without a network
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
from torch import nn

from concept_icd.artifacts import read_json, require_finite, sha256, write_json
from concept_icd.errors import InputError
from concept_icd.medications.strategy import Strategy
from concept_icd.outputs import writing
from concept_icd.records import OneLine

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SETTINGS, WEIGHTS = "medications.json", "networks.safetensors"
#: Raised when the files, or what they mean, change: another version says so instead of misreading.
FORMAT_VERSION = 2
#: The logit of a node that is never predicted: its probability is 0.
NEVER = -1e4


class MedicationNetwork(nn.Module):
    """(linear, optional batch norm, ReLU, dropout) x hidden layers, then one linear output a node.

    Weights begin as in the study's Keras: Glorot's uniform draw, biases 0, no bias before a batch norm.

    Args:
        strategy: `hidden` layers of so many `units`, `dropout`, and whether a batch `norm` follows each: `momentum` is
            the share of a batch in its running means (Keras's .99 is .01 here), `epsilon` what it adds to a variance.
        inputs, nodes: columns of the stays and of the targets.
    """

    def __init__(self, strategy: Strategy, inputs: int, nodes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = inputs
        for _ in range(strategy.hidden):
            layers.append(nn.Linear(width, strategy.units, bias=not strategy.norm))
            if strategy.norm:
                layers.append(nn.BatchNorm1d(strategy.units, eps=strategy.epsilon, momentum=strategy.momentum))
            layers += [nn.ReLU(), nn.Dropout(strategy.dropout)]
            width = strategy.units
        self.body = nn.Sequential(*layers)
        self.output = nn.Linear(width, nodes)
        for layer in (*self.body, self.output):
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(stays, inputs) float32 -> (stays, nodes) logits."""
        logits: torch.Tensor = self.output(self.body(inputs))
        return logits


@dataclass(frozen=True)
class Tree:
    """Parents of nodes, in steps of equal depth.

    Attributes:
        steps: for each depth from 1 down, the nodes of that depth and their parents, both int64 (nodes of the depth,).
    """

    steps: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    @classmethod
    def of(cls, parents: np.ndarray) -> Tree:
        """From the row of each node's parent, -1 for a root; parents stand before their children.

        Raises:
            ValueError: a node stands before its parent.
        """
        depth = np.zeros(len(parents), dtype=np.int64)
        for node, parent in enumerate(parents.tolist()):
            if parent >= node:
                raise ValueError(f"node {node} stands before its parent {parent}")
            depth[node] = 0 if parent < 0 else depth[parent] + 1
        deeper = (np.flatnonzero(depth == d) for d in range(1, int(depth.max(initial=0)) + 1))
        return cls(tuple((torch.tensor(nodes), torch.tensor(parents[nodes])) for nodes in deeper))

    def to(self, device: torch.device) -> Tree:
        """The same on a device."""
        return Tree(tuple((nodes.to(device), parents.to(device)) for nodes, parents in self.steps))

    def subtree_max(self, values: torch.Tensor) -> torch.Tensor:
        """The maximum over each node and all below it; (stays, nodes) both."""
        for nodes, parents in reversed(self.steps):
            values = values.scatter_reduce(1, parents.expand(len(values), -1), values[:, nodes], "amax")
        return values

    def path_min(self, values: torch.Tensor) -> torch.Tensor:
        """The minimum over each node and all above it; (stays, nodes) both."""
        for nodes, parents in self.steps:
            values = values.index_copy(1, nodes, torch.minimum(values[:, nodes], values[:, parents]))
        return values


@dataclass(frozen=True, eq=False)
class Part:
    """One network.

    Attributes:
        group: what it answers: `ALL`, a level, or `BILLING`. rows: int64, its nodes. strategy: its options.
        network: in evaluation mode.
    """

    group: str
    rows: torch.Tensor
    strategy: Strategy
    network: MedicationNetwork


@dataclass(frozen=True, eq=False, repr=False)
class MedicationModel(OneLine):
    """See the module.

    Attributes:
        input_names: columns that it reads. nodes, levels, parents, billed: see `Targets`.
        parts: its networks; where two answer a node, the later one's answer counts, unless a group is asked for.
        rest: float32 (nodes,), the logits of nodes that no network answers.
        thresholds: level -> the probability from which a node of the level is accepted (`figures.choose_thresholds`).
    """

    strategy: Strategy
    input_names: tuple[str, ...]
    nodes: tuple[str, ...]
    levels: tuple[str, ...]
    parents: np.ndarray
    billed: np.ndarray
    parts: tuple[Part, ...]
    rest: np.ndarray
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @torch.inference_mode()
    def iter_logits(self, inputs: csr_array, batch: int = 1024, group: str | None = None) -> Iterator[np.ndarray]:
        """Logits float32 (up to `batch` stays, nodes), in the order of the stays.

        Args:
            inputs: float32 (stays, inputs), sparse, its columns those of `input_names` (`aligned_inputs`).
            group: where the model has a network of this group, its answers count for its nodes.
        """
        for part in self.parts:
            part.network.eval()
        device = self.parts[0].network.output.weight.device
        tree, rest = Tree.of(self.parents).to(device), torch.from_numpy(self.rest).to(device)
        parts = sorted(self.parts, key=lambda part: part.group == group)  # the last one to write a node decides
        for start in range(0, inputs.shape[0], batch):
            dense = torch.from_numpy(inputs[start : start + batch].toarray()).to(device)
            logits = rest.repeat(len(dense), 1)
            for part in parts:
                logits[:, part.rows.to(device)] = part.network(dense)
            yield rolled(logits, tree, self.strategy.roll).cpu().numpy()

    def logits(self, inputs: csr_array, group: str | None = None) -> np.ndarray:
        """All at once, float32 (stays, nodes)."""
        parts = list(self.iter_logits(inputs, group=group))
        return np.concatenate(parts) if parts else np.empty((0, len(self.nodes)), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Writes both files into an existing folder."""
        tensors = {"parents": torch.from_numpy(self.parents), "rest": torch.from_numpy(self.rest)}
        for k, part in enumerate(self.parts):
            tensors[f"{k}.rows"] = part.rows.cpu()
            for name, value in part.network.state_dict().items():
                tensors[f"{k}.network.{name}"] = value.detach().cpu().contiguous()
        with writing(folder / WEIGHTS):
            save_file(tensors, folder / WEIGHTS)
        settings = {
            "format_version": FORMAT_VERSION,
            "strategy": dataclasses.asdict(self.strategy),
            "networks": [{"group": part.group, "strategy": dataclasses.asdict(part.strategy)} for part in self.parts],
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
            InputError: a file is missing, damaged, of another form or version.
        """
        folder = Path(folder)
        if not (folder / SETTINGS).is_file():
            told = "name a strategy's fold in the folder of a study, such as runs/medications/multitask/fold-0"
            raise InputError(f"{folder} has no {SETTINGS}, so there is no medication network in it; {told}")
        settings = read_json(folder / SETTINGS)
        if not isinstance(settings, dict) or settings.get("format_version") != FORMAT_VERSION:
            raise InputError(f"the medication network in {folder} is of another version of concept-icd: train it again")
        try:
            if sha256(folder / WEIGHTS) != settings["weights_sha256"]:
                raise InputError(f"{folder / WEIGHTS} is damaged or another model's: train it again")
            tensors = load_file(folder / WEIGHTS)
            require_finite(folder, [tensors, settings["thresholds"]])
            nodes, names = tuple(settings["nodes"]), tuple(settings["inputs"])
            parts = []
            for k, own in enumerate(settings["networks"]):
                strategy, rows = Strategy(**own["strategy"]), tensors[f"{k}.rows"]
                network = MedicationNetwork(strategy, len(names), len(rows))
                network.load_state_dict({name: tensors[f"{k}.network.{name}"] for name in network.state_dict()})
                parts.append(Part(own["group"], rows, strategy, network.to(device).eval()))
            return cls(
                strategy=Strategy(**settings["strategy"]),
                input_names=names,
                nodes=nodes,
                levels=tuple(settings["levels"]),
                parents=tensors["parents"].numpy(),
                billed=np.isin(np.arange(len(nodes)), settings["billed"]),
                parts=tuple(parts),
                rest=tensors["rest"].numpy(),
                thresholds=dict(settings["thresholds"]),
            )
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
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


def rolled(logits: torch.Tensor, tree: Tree, roll: str) -> torch.Tensor:
    """What the tree makes of the answers: see `Strategy.roll`."""
    if roll == "up":
        return tree.subtree_max(logits)
    return tree.path_min(logits) if roll == "down" else logits
