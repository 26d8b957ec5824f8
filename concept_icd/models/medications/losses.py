r"""The losses of the study, each the mean over stays and nodes (Marcou et al. 2024, "Strategies").

With y in {0, 1} and s = sigmoid(logit) of a node v:

    bce          -w_1 y log s - w_0 (1 - y) log(1 - s)
    focal        -y (1 - s)^g log s - (1 - y) s^g log(1 - s)                              (Lin et al. 2017, eq. 4)
    tree_min     -y log min_{above} s - (1 - y) log(1 - max_{below} s)                    (Li et al. 2022, eq. 5)
    mc           -y log max_{below} (y s) - (1 - y) log(1 - max_{below} s)                (Giunchiglia 2020, MCLoss)

"above" and "below" include the node itself. What the study did not print (the exact form of its weights) is said where
it was filled in.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import logsigmoid, softplus

from concept_icd.models.medications.hierarchy import Tree


def bce_loss(
    logits: torch.Tensor, gold: torch.Tensor, positive: torch.Tensor | None = None, node: torch.Tensor | None = None
) -> torch.Tensor:
    """Binary cross-entropy.

    Args:
        logits, gold: (stays, nodes). positive: (nodes,) weight of y = 1. node: (nodes,) weight of both terms.
    """
    loss = softplus(logits) - gold * logits
    if positive is not None:
        loss = loss + (positive - 1) * gold * softplus(-logits)
    return (loss if node is None else loss * node).mean()


def focal_loss(logits: torch.Tensor, gold: torch.Tensor, gamma: float) -> torch.Tensor:
    """Cross-entropy that counts what is already right less; gamma 0 is `bce_loss`."""
    wrong = torch.sigmoid(torch.where(gold > 0, -logits, logits))  # 1 - probability of the truth
    return (wrong**gamma * (softplus(logits) - gold * logits)).mean()


def tree_min_loss(logits: torch.Tensor, gold: torch.Tensor, tree: Tree) -> torch.Tensor:
    """A true node is as sure as the least sure node above it, a false one as false as the surest below it."""
    # The sigmoid is monotone, so extremes of logits are extremes of probabilities; it is stable to take them first.
    return torch.where(gold > 0, -logsigmoid(tree.path_min(logits)), softplus(tree.subtree_max(logits))).mean()


def mc_loss(logits: torch.Tensor, gold: torch.Tensor, tree: Tree) -> torch.Tensor:
    """Coherent hierarchical cross-entropy: a true node is explained by the surest true node below it."""
    true_alone = torch.where(gold > 0, logits, torch.full_like(logits, -torch.inf))  # y s = 0 has the logit -inf
    below = tree.subtree_max(true_alone)
    positive = -logsigmoid(torch.where(gold > 0, below, torch.zeros_like(below)))
    return torch.where(gold > 0, positive, softplus(tree.subtree_max(logits))).mean()


def tree_l2(weight: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
    """Half the squared distance of each node's output weights to its parent's (Gopal and Yang 2013, eq. 3).

    Args:
        weight: (nodes, units). parents: int64 (nodes,), -1 for a root, which is pulled to zero.
    """
    above = torch.where(parents[:, None] >= 0, weight[parents.clamp(min=0)], torch.zeros_like(weight))
    return 0.5 * (weight - above).square().sum()


def level_weights(levels: tuple[str, ...]) -> np.ndarray:
    """(nodes,) float64: nodes / |level|, normalised to mean 1: every level weighs the same as a whole."""
    counts = {level: levels.count(level) for level in set(levels)}
    weights = np.array([len(levels) / counts[level] for level in levels])
    return weights / weights.mean()


def imbalance_weights(positives: np.ndarray, stays: int, cap: float, normalised: bool = False) -> np.ndarray:
    """(nodes,) float64: min(cap, N / n - 1), the weight of y = 1; a node never seen has the cap.

    Args:
        positives: n, stays of each node. stays: N. normalised: divided by the mean, so that the mean is 1.
    """
    ratio = np.divide(stays, positives, out=np.full(len(positives), np.inf), where=positives > 0) - 1
    weights = np.minimum(ratio, cap)
    return weights / weights.mean() if normalised else weights
