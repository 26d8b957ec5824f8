"""The network: drugs, sex and age in, one logit a node out (Marcou et al. 2024, "Model")."""

from __future__ import annotations

import torch
from torch import nn


class MedicationNetwork(nn.Module):
    """(linear, optional batch norm, ReLU, dropout) x hidden layers, then one linear output a node.

    Weights begin as in the study's Keras: Glorot's uniform draw, biases 0, no bias before a batch norm.

    Args:
        inputs, nodes: columns of the stays and of the targets. hidden: number of hidden layers; units: of each.
        momentum: share of a batch in the running means of a batch norm; Keras's momentum .99 is .01 here.
        epsilon: what a batch norm adds to a variance.
    """

    def __init__(
        self,
        inputs: int,
        nodes: int,
        *,
        hidden: int = 2,
        units: int = 2048,
        dropout: float = 0.6,
        norm: bool = False,
        momentum: float = 0.01,
        epsilon: float = 1e-3,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = inputs
        for _ in range(hidden):
            layers.append(nn.Linear(width, units, bias=not norm))
            if norm:
                layers.append(nn.BatchNorm1d(units, eps=epsilon, momentum=momentum))
            layers += [nn.ReLU(), nn.Dropout(dropout)]
            width = units
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
