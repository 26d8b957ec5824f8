"""The tree of the targets as tensors: extremes over subtrees and paths, one step a level, with gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


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
