"""Trains a strategy: Adam on batches of stays, the epoch with the best figure on dev stays is kept."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from concept_icd.errors import InputError
from concept_icd.heads.threshold import choose_threshold
from concept_icd.metrics.areas import column_areas
from concept_icd.metrics.inputs import check_pair
from concept_icd.metrics.ranking import note_ranking
from concept_icd.metrics.ranks import gold_ranks
from concept_icd.models.medications.dummy import frequencies
from concept_icd.models.medications.hierarchy import Tree
from concept_icd.models.medications.losses import (
    bce_loss,
    focal_loss,
    imbalance_weights,
    level_weights,
    mc_loss,
    tree_l2,
    tree_min_loss,
)
from concept_icd.models.medications.model import (
    MedicationModel,
    answers,
    check_same_rows,
    new_networks,
    starting_bias,
)
from concept_icd.models.medications.records import Stays, Targets
from concept_icd.models.medications.strategy import Strategy
from concept_icd.models.medications.targets import subset
from concept_icd.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from scipy.sparse import csr_array


@dataclass(frozen=True)
class Epoch:
    """One pass over the training stays: mean loss, and the dev figure that epochs are chosen by."""

    loss: float
    figure: float


def train(
    stays: Stays,
    targets: Targets,
    rows: np.ndarray,
    dev: np.ndarray,
    strategy: Strategy,
    *,
    seed: int = 0,
    device: str = "cpu",
    label: str = "training",
    after_epoch: Callable[[int, float], None] | None = None,
) -> tuple[MedicationModel, list[Epoch]]:
    """Trains on the stays of `rows`; chooses the epoch on those of `dev`.

    Args:
        after_epoch: is told the number of each epoch and its dev figure; a search prunes by raising from it.

    Raises:
        InputError: no stays to train on or to choose with, or no dev stay with a gold code.
    """
    check_same_rows(stays, targets)
    if not len(rows) or not len(dev):
        raise InputError(f"{len(rows)} training and {len(dev)} dev stays: both need at least one")
    if not targets.gold[dev].nnz:
        raise InputError("no dev stay has a gold code, so that no epoch can be chosen")
    torch.manual_seed(seed)
    networks = new_networks(strategy, stays.inputs.shape[1], targets.levels)
    positive = _positive_weights(strategy, targets, rows)
    bias = starting_bias(frequencies(targets.gold[rows]), positive)
    learnt = _learnt(strategy, targets, rows)
    for own, network in networks:
        network.output.bias.data.copy_(bias[own])
        network.output.weight.data[~learnt[own]] = 0  # and no gradient: the frequency stays
        network.to(device)
    model = MedicationModel(
        strategy, stays.input_names, targets.nodes, tuple(targets.levels), targets.parents, targets.billed, networks
    )
    parameters = [parameter for _, network in networks for parameter in network.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=strategy.learning_rate)
    loss_of = _loss(strategy, targets, positive, learnt, torch.device(device))
    rng, history, best, kept = np.random.default_rng(seed), [], -math.inf, None
    with progress_bar(strategy.epochs, label, "epochs") as bar:
        for number in range(strategy.epochs):
            loss = _epoch(model, stays.inputs, targets.gold, rng.permutation(rows), optimizer, loss_of, device)
            figure = dev_figure(model, stays.inputs[dev], targets.gold[dev], strategy.select)
            history.append(Epoch(loss, figure))
            if figure > best:
                best, kept = figure, [copy.deepcopy(network.state_dict()) for _, network in networks]
            bar.remark(f"loss {loss:.5f}, dev {strategy.select} {figure:.4f}")
            bar.advance()
            if after_epoch is not None:
                after_epoch(number, figure)
            if number - max(range(len(history)), key=lambda i: history[i].figure) >= strategy.patience:
                bar.advance(strategy.epochs - number - 1)
                break
    for (_, network), state in zip(networks, kept or [], strict=True):
        network.load_state_dict(state)
        network.eval()
    return model, history


def dev_figure(model: MedicationModel, inputs: csr_array, gold: csr_array, select: str) -> float:
    """The figure that epochs and searches are chosen by, over all nodes: higher is better."""
    for _, network in model.networks:
        network.eval()
    logits = model.logits(inputs)
    truth, values = check_pair(gold.toarray(), logits)
    if select == "ndcg":
        return float(np.mean(note_ranking(gold_ranks(truth, values), ())["ndcg"]))
    if select == "micro_auprc":
        return column_areas(truth.ravel(), values.ravel())[1]
    chosen = choose_threshold(truth, 1 / (1 + np.exp(-values)))
    return float(chosen.micro_f1 or 0.0)


def _epoch(
    model: MedicationModel,
    inputs: csr_array,
    gold: csr_array,
    rows: np.ndarray,
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[torch.Tensor, torch.Tensor, MedicationModel], torch.Tensor],
    device: str,
) -> float:
    """One pass; returns the mean loss over stays."""
    for _, network in model.networks:
        network.train()
    total = 0.0
    for batch in np.array_split(rows, max(1, math.ceil(len(rows) / model.strategy.batch))):
        x = torch.from_numpy(inputs[batch].toarray()).to(device)
        y = torch.from_numpy(gold[batch].toarray().astype(np.float32)).to(device)
        loss = loss_of(answers(model.networks, x, len(model.nodes)), y, model)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += float(loss.detach()) * len(batch)
    return total / len(rows)


def _positive_weights(strategy: Strategy, targets: Targets, rows: np.ndarray) -> torch.Tensor | None:
    """(nodes,) weights of a true node; None where all are 1."""
    if strategy.weights not in ("imbalance", "imbalance_normalised"):
        return None
    counts = np.asarray(targets.gold[rows].sum(axis=0), dtype=np.float64)
    weights = imbalance_weights(counts, len(rows), strategy.cap, strategy.weights == "imbalance_normalised")
    return torch.tensor(weights, dtype=torch.float32)


def _learnt(strategy: Strategy, targets: Targets, rows: np.ndarray) -> torch.Tensor:
    """bool (nodes,): which nodes the loss knows; see `Strategy.subset_from`."""
    if not strategy.subset_from:
        return torch.ones(len(targets.nodes), dtype=torch.bool)
    return torch.from_numpy(subset(targets, strategy.subset_from, rows=rows))


def _loss(
    strategy: Strategy, targets: Targets, positive: torch.Tensor | None, learnt: torch.Tensor, device: torch.device
) -> Callable[[torch.Tensor, torch.Tensor, MedicationModel], torch.Tensor]:
    """The loss of a batch: of its logits and gold, and of the output weights."""
    tree, parents = Tree.of(targets.parents).to(device), torch.from_numpy(targets.parents).to(device)
    positive = None if positive is None else positive.to(device)
    node = None
    if strategy.weights == "level":
        node = torch.tensor(level_weights(tuple(targets.levels)), dtype=torch.float32, device=device)
    if not learnt.all():
        mask = learnt.to(device, torch.float32)
        node = mask if node is None else node * mask

    def loss_of(logits: torch.Tensor, gold: torch.Tensor, model: MedicationModel) -> torch.Tensor:
        if strategy.loss == "focal":
            loss = focal_loss(logits, gold, strategy.gamma)
        elif strategy.loss == "tree_min":
            loss = tree_min_loss(logits, gold, tree)
        elif strategy.loss == "mc":
            loss = mc_loss(logits, gold, tree)
        else:
            loss = bce_loss(logits, gold, positive, node)
        if strategy.tree_l2:
            loss = loss + strategy.tree_l2 * tree_l2(model.networks[0][1].output.weight, parents)
        if strategy.output_l2:
            squares: Any = sum(network.output.weight.square().sum() for _, network in model.networks)
            loss = loss + 0.5 * strategy.output_l2 * squares
        return loss

    return loss_of
