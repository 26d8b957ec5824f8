"""Each loss against numbers worked by hand: one stay, four nodes, 0 above 1 and 2, 3 alone."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch

from concept_icd.medications.losses import (
    bce_loss,
    focal_loss,
    imbalance_weights,
    level_weights,
    mc_loss,
    normalised_weights,
    tree_l2,
    tree_min_loss,
)
from concept_icd.medications.model import Tree, rolled
from concept_icd.medications.training import log_odds

PARENTS = np.array([-1, 0, 0, -1])
TREE = Tree.of(PARENTS)
#: Probabilities .8, .5, .9, .2.
LOGITS = torch.tensor([[log(4), 0.0, log(9), log(0.25)]], dtype=torch.float64)
#: The stay has nodes 0 and 1.
GOLD = torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)


def test_cross_entropy() -> None:
    assert bce_loss(LOGITS, GOLD).item() == pytest.approx(-(log(0.8) + log(0.5) + log(0.1) + log(0.8)) / 4)


def test_weights_of_positives_and_of_nodes() -> None:
    positive = torch.tensor([3.0, 1.0, 7.0, 7.0], dtype=torch.float64)
    assert bce_loss(LOGITS, GOLD, positive).item() == pytest.approx(
        -(3 * log(0.8) + log(0.5) + log(0.1) + log(0.8)) / 4
    )
    negative = torch.tensor([9.0, 9.0, 2.0, 0.5], dtype=torch.float64)
    told = -(3 * log(0.8) + log(0.5) + 2 * log(0.1) + 0.5 * log(0.8)) / 4
    assert bce_loss(LOGITS, GOLD, positive, negative).item() == pytest.approx(told)


def test_focal() -> None:
    told = -(0.2**2 * log(0.8) + 0.5**2 * log(0.5) + 0.9**2 * log(0.1) + 0.2**2 * log(0.8)) / 4
    assert focal_loss(LOGITS, GOLD, 2.0).item() == pytest.approx(told)
    assert focal_loss(LOGITS, GOLD, 0.0).item() == pytest.approx(bce_loss(LOGITS, GOLD).item())


def test_tree_min() -> None:
    # Node 0 true: nothing above it, .8. Node 1 true: min(.5, .8). Node 2 false: .9. Node 3 false: .2.
    assert tree_min_loss(LOGITS, GOLD, TREE).item() == pytest.approx(-(log(0.8) + log(0.5) + log(0.1) + log(0.8)) / 4)
    # Now nothing is true but node 1 is sure: node 0, false, is charged with the surest node below it.
    sure = torch.tensor([[-3.0, log(99), -3.0, -3.0]], dtype=torch.float64)
    low = log(1 + exp(-3.0))
    assert tree_min_loss(sure, torch.zeros_like(GOLD), TREE).item() == pytest.approx((2 * -log(0.01) + 2 * low) / 4)
    # Node 1 true and sure, its parent true and unsure: both are charged with the parent.
    told = (2 * log(1 + exp(3.0)) + 2 * low) / 4
    assert tree_min_loss(sure, GOLD, TREE).item() == pytest.approx(told)


def test_mc() -> None:
    # Node 0 true: max over true nodes of its subtree, .8 (node 2 has .9 but is false). Node 2 false: .9. Node 3: .2.
    assert mc_loss(LOGITS, GOLD, TREE).item() == pytest.approx(-(log(0.8) + log(0.5) + log(0.1) + log(0.8)) / 4)
    sure = torch.tensor([[-3.0, log(99), -3.0, -3.0]], dtype=torch.float64)
    # Node 0 true is explained by its true child: .99 for both.
    assert mc_loss(sure, GOLD, TREE).item() == pytest.approx((2 * -log(0.99) + 2 * log(1 + exp(-3.0))) / 4)


def test_pull_to_the_parent() -> None:
    weight = torch.tensor([[1.0, 0.0], [1.0, 2.0], [0.0, 0.0], [3.0, 0.0]])
    bias = torch.tensor([5.0, 2.0, 4.0, 9.0])
    # Node 1 against 0: 4 of the weights and 9 of the bias. Node 2 against 0: 1 and 1. Roots: nothing.
    assert tree_l2(weight, bias, torch.from_numpy(PARENTS)).item() == pytest.approx(15.0)
    assert tree_l2(weight, bias, torch.full((4,), -1)).item() == 0.0


def test_weights_of_levels_and_imbalance() -> None:
    weights = level_weights(("chapter", "section", "section", "section"))
    np.testing.assert_allclose(weights, [2.0, 2 / 3, 2 / 3, 2 / 3])  # 4, 4/3, 4/3, 4/3 over their mean 2
    # Four groups: the four- and five-digit codes are one. 6/1, 6/1, 6/1, 6/3 three times, over their mean 4.
    weights = level_weights(("chapter", "section", "category", "subcategory", "code", "code"))
    np.testing.assert_allclose(weights, [1.5, 1.5, 1.5, 0.5, 0.5, 0.5])
    # N/n - 1 for 50, 10, 1 and 0 of 100 stays: 1, 9, 99 -> capped, never seen -> capped.
    counts = np.array([50, 10, 1, 0])
    np.testing.assert_allclose(imbalance_weights(counts, 100, cap=20), [1, 9, 20, 20])
    positive, negative = normalised_weights(imbalance_weights(counts, 100, cap=20), counts / 100)
    # z = 1 + f (w - 1): 1 + .5 x 0, 1 + .1 x 8, 1 + .01 x 19, 1.
    np.testing.assert_allclose(positive, [1, 9 / 1.8, 20 / 1.19, 20])
    np.testing.assert_allclose(negative, [1, 1 / 1.8, 1 / 1.19, 1])
    # The mean over a node's stays is 1.
    np.testing.assert_allclose(counts / 100 * positive + (1 - counts / 100) * negative, 1)
    # More than half of the stays have the node: w = 1/3, z = 1 + .75 x (-2/3) = .5. All have it: w = 0, and no 0/0.
    positive, negative = normalised_weights(imbalance_weights(np.array([75, 100]), 100, cap=2), np.array([0.75, 1.0]))
    np.testing.assert_allclose(positive, [2 / 3, 0.5])
    np.testing.assert_allclose(negative, [2.0, 0.0])


def test_rolls() -> None:
    assert torch.sigmoid(rolled(LOGITS, TREE, "up")).tolist()[0] == pytest.approx([0.9, 0.5, 0.9, 0.2])
    assert torch.sigmoid(rolled(LOGITS, TREE, "down")).tolist()[0] == pytest.approx([0.8, 0.5, 0.8, 0.2])
    assert rolled(LOGITS, TREE, "none") is LOGITS


def test_deep_trees_are_rolled_to_the_end() -> None:
    chain = Tree.of(np.array([-1, 0, 1, 2]))
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    assert chain.subtree_max(logits).tolist() == [[3.0, 3.0, 3.0, 3.0]]
    assert chain.path_min(logits).tolist() == [[0.0, 0.0, 0.0, 0.0]]
    with pytest.raises(ValueError, match="node 0 stands before its parent 1"):
        Tree.of(np.array([1, -1]))


@pytest.mark.parametrize("loss", [tree_min_loss, mc_loss])
def test_gradients(loss) -> None:
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda values: loss(values, GOLD, TREE), (logits,))


def test_training_begins_where_the_loss_without_inputs_is_least() -> None:
    frequency = np.array([0.5, 0.2])
    assert log_odds(frequency).tolist() == pytest.approx([0.0, log(0.25)])
    assert log_odds(frequency, np.array([1.0, 4.0])).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
