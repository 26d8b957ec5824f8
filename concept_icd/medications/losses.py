r"""The losses of the study, each the mean over stays and nodes (Marcou et al. 2024, "Strategies").

With y in {0, 1} and s = sigmoid(logit) of a node v:

    bce          -w_1 y log s - w_0 (1 - y) log(1 - s)
    focal        -y (1 - s)^g log s - (1 - y) s^g log(1 - s)                              (Lin et al. 2017, eq. 4)
    tree_min     -y log min_{above} s - (1 - y) log(1 - max_{below} s)                    (Li et al. 2022, eq. 5)
    mc           -y log max_{below} (y s) - (1 - y) log(1 - max_{below} s)                (Giunchiglia 2020, MCLoss)

"above" and "below" include the node itself; w_1 and w_0 are weights of a node: of its group (`level_weights`), of how
rare it is (`imbalance_weights`), or of that, normalised (`normalised_weights`). To the loss comes, where asked for,

    output_l2    lambda sum over outputs |w|^2
    tree_l2      lambda sum over pairs of parent and child |(w, b) of the child - (w, b) of the parent|^2
                                                                                  (after Gopal and Yang 2013, eq. 3)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import logsigmoid, softplus

from concept_icd.medications.model import Tree


def bce_loss(
    logits: torch.Tensor, gold: torch.Tensor, positive: torch.Tensor | None = None, negative: torch.Tensor | None = None
) -> torch.Tensor:
    """Binary cross-entropy.

    Args:
        logits, gold: (stays, nodes). positive, negative: (nodes,) weights of y = 1 and of y = 0; None: 1.
    """
    if positive is None and negative is None:
        return (softplus(logits) - gold * logits).mean()
    true, false = gold * softplus(-logits), (1 - gold) * softplus(logits)
    return ((true if positive is None else positive * true) + (false if negative is None else negative * false)).mean()


def focal_loss(logits: torch.Tensor, gold: torch.Tensor, gamma: float) -> torch.Tensor:
    """Cross-entropy that gives less weight to what is already right; gamma 0 is `bce_loss`."""
    wrong = torch.sigmoid(torch.where(gold > 0, -logits, logits))  # 1 - probability of the truth
    return (wrong**gamma * (softplus(logits) - gold * logits)).mean()


def tree_min_loss(logits: torch.Tensor, gold: torch.Tensor, tree: Tree) -> torch.Tensor:
    """A true node counts with the lowest probability on its path, a false one with the highest in its subtree."""
    # The sigmoid is monotone, so extremes of logits are extremes of probabilities; it is stable to take them first.
    return torch.where(gold > 0, -logsigmoid(tree.path_min(logits)), softplus(tree.subtree_max(logits))).mean()


def mc_loss(logits: torch.Tensor, gold: torch.Tensor, tree: Tree) -> torch.Tensor:
    """Coherent hierarchical cross-entropy: a true node counts with the most probable true node of its subtree."""
    true_alone = torch.where(gold > 0, logits, torch.full_like(logits, -torch.inf))  # y s = 0 has the logit -inf
    below = tree.subtree_max(true_alone)
    positive = -logsigmoid(torch.where(gold > 0, below, torch.zeros_like(below)))
    return torch.where(gold > 0, positive, softplus(tree.subtree_max(logits))).mean()


def tree_l2(weight: torch.Tensor, bias: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
    """Sum over pairs of parent and child of the squared distance of their outputs' weights and biases.

    Args:
        weight: (nodes, units). bias: (nodes,). parents: int64 (nodes,), -1 for a root, which nothing pulls.
    """
    children = torch.nonzero(parents >= 0)[:, 0]
    above = parents[children]
    return (weight[children] - weight[above]).square().sum() + (bias[children] - bias[above]).square().sum()


def level_weights(levels: Sequence[str]) -> np.ndarray:
    """(nodes,) float64: all nodes / nodes of the group, over the mean of that: every group weighs the same.

    The groups are the study's four: chapters, sections, categories, and all that lies below together.

    >>> level_weights(("chapter", "section", "subcategory", "code")).tolist()
    [1.3333333333333333, 1.3333333333333333, 0.6666666666666666, 0.6666666666666666]
    """
    groups = ["below" if level in ("subcategory", "code") else level for level in levels]
    counts = Counter(groups)
    weights = np.array([len(groups) / counts[group] for group in groups])
    return weights / weights.mean()


def imbalance_weights(positives: np.ndarray, stays: int, cap: float) -> np.ndarray:
    """(nodes,) float64: min(cap, N / n - 1), the weight of y = 1; a node never seen has the cap.

    Args:
        positives: n, stays of each node. stays: N.
    """
    ratio = np.divide(stays, positives, out=np.full(len(positives), np.inf), where=positives > 0) - 1
    return np.minimum(ratio, cap)


def normalised_weights(weights: np.ndarray, frequency: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Imbalance weights, normalised node by node: those of y = 1 and of y = 0, float64 (nodes,) each.

    w / z and 1 / z with z = 1 + f (w - 1), so that the mean weight over the stays of a node is 1.

    Args:
        weights: w of `imbalance_weights`. frequency: f = n / N.

    >>> weights, frequency = imbalance_weights(np.array([25]), 100, cap=2.0), np.array([0.25])
    >>> [values.tolist() for values in normalised_weights(weights, frequency)]
    [[1.6], [0.8]]
    """
    z = 1 + frequency * (weights - 1)
    always = z <= 0  # every stay has the node: w = 0 and f = 1, where w / z goes to 1/2 and there is no y = 0
    safe = np.where(always, 1.0, z)
    return np.where(always, 0.5, weights / safe), np.where(always, 0.0, 1 / safe)
