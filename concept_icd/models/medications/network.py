"""The network: drugs, sex and age in, one logit a node out (Marcou et al. 2024, "Model")."""

from __future__ import annotations

import torch
from torch import nn


class MedicationNetwork(nn.Module):
    """(linear, optional batch norm, ReLU, dropout) x hidden layers, then one linear output a node.

    Args:
        inputs, nodes: columns of the stays and of the targets. hidden: number of hidden layers; units: of each.
    """

    def __init__(
        self, inputs: int, nodes: int, *, hidden: int = 2, units: int = 2048, dropout: float = 0.6, norm: bool = False
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = inputs
        for _ in range(hidden):
            layers += [nn.Linear(width, units), *([nn.BatchNorm1d(units)] if norm else []), nn.ReLU()]
            layers.append(nn.Dropout(dropout))
            width = units
        self.body = nn.Sequential(*layers)
        self.output = nn.Linear(width, nodes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(stays, inputs) float32 -> (stays, nodes) logits."""
        logits: torch.Tensor = self.output(self.body(inputs))
        return logits
