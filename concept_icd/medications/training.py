"""Trains a strategy: Adam on batches of stays, the epoch with the best figure on dev stays is kept.

Each network of the strategy is trained alone, with its own epochs. `out_of_fold_logits` reads each stay by a network
that was not trained on it or on another stay of its patient: what can be stacked with other scores, and what tells how
far the network may be trusted. The network for new stays is `fit` on all rows.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from concept_icd.corpora.folds import cross_fit, group_folds
from concept_icd.errors import InputError
from concept_icd.heads.calibration import choose_threshold
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
from concept_icd.medications.model import NEVER, MedicationModel, MedicationNetwork, Part, Tree, rolled
from concept_icd.medications.strategy import Stays, Strategy, Targets
from concept_icd.medications.targets import frequencies, nodes_of, part_of
from concept_icd.metrics.auc import area_metrics, column_areas
from concept_icd.metrics.decisions import decision_metrics
from concept_icd.metrics.inputs import check_pair
from concept_icd.metrics.ranking import gold_ranks, note_ranking
from concept_icd.progress import progress_bar

if TYPE_CHECKING:
    from scipy.sparse import csr_array

#: Adam's epsilon in Keras.
ADAM_EPSILON = 1e-7
#: In `fit` one of so many parts of the patients chooses the epoch; the others train.
DEV_PARTS = 10


#: Of a batch's logits and gold, float32 (stays, nodes), and of the network whose output weights are pulled.
Loss = Callable[[torch.Tensor, torch.Tensor, MedicationNetwork], torch.Tensor]


@dataclass(frozen=True)
class Epoch:
    """One pass over the training stays.

    Attributes:
        loss: its mean. figure: the dev figure that epochs are chosen by. group: of the network (`model.Part`).
    """

    loss: float
    figure: float
    group: str = "all"


def train(
    stays: Stays,
    targets: Targets,
    rows: np.ndarray,
    dev: np.ndarray,
    strategy: Strategy,
    *,
    chosen: Mapping[str, Strategy] | None = None,
    seed: int = 0,
    device: str = "cpu",
    label: str = "training",
) -> tuple[MedicationModel, list[Epoch]]:
    """Trains on the stays of `rows`; chooses the epoch on those of `dev`.

    Args:
        chosen: group -> the options of its network, where a search found them; else those of `strategy`.

    Raises:
        InputError: no stays to train on or to choose with, no dev stay with a gold code, or a subset without a node.
    """
    if stays.inputs.shape[0] != targets.gold.shape[0]:
        raise ValueError(f"{stays.inputs.shape[0]} stays have {targets.gold.shape[0]} rows of targets")
    if not len(rows) or not len(dev):
        raise InputError(f"{len(rows)} training and {len(dev)} dev stays: both need at least one")
    if not targets.gold[dev].nnz:
        raise InputError("no dev stay has a gold code, so that no epoch can be chosen")
    parts, history = [], []
    for group, nodes in nodes_of(strategy, targets).items():
        options = (chosen or {}).get(group, strategy)
        of = part_of(targets, nodes)
        network, epochs = train_network(stays, of, rows, dev, options, seed=seed, device=device, label=label)
        parts.append(Part(group, torch.from_numpy(nodes), options, network))
        history += [Epoch(loss, figure, group) for loss, figure in epochs]
    rest = np.full(len(targets.nodes), NEVER, dtype=np.float32)
    if strategy.outside == "frequency":
        rest = log_odds(frequencies(targets.gold[rows]))
    model = MedicationModel(
        strategy=strategy,
        input_names=stays.input_names,
        nodes=targets.nodes,
        levels=targets.levels,
        parents=targets.parents,
        billed=targets.billed,
        parts=tuple(parts),
        rest=rest,
    )
    return model, history


def fit(
    stays: Stays, targets: Targets, rows: np.ndarray, strategy: Strategy, *, seed: int = 0, device: str = "cpu"
) -> MedicationModel:
    """A network of these rows: a tenth of their patients chooses the epoch, the others train.

    Raises:
        InputError: fewer than two patients, or no gold code to choose by.
    """
    part = group_folds([stays.patient_ids[row] for row in rows], DEV_PARTS, seed)
    model, _ = train(stays, targets, rows[part != 0], rows[part == 0], strategy, seed=seed, device=device)
    return model


def out_of_fold_logits(
    stays: Stays,
    targets: Targets,
    folds: int | Sequence[int] | np.ndarray,
    strategy: Strategy,
    *,
    nodes: Sequence[str] | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> np.ndarray:
    """Logits float32 (stays, nodes); each stay's by a network that saw no stay of its patient.

    Args:
        folds: how many, drawn by patient; or the fold of each stay, (stays,), a patient in one alone.
        nodes: names of the nodes wanted, in the order wanted; None: all of `targets.nodes`, dense.

    Raises:
        InputError: a node that the targets lack, fewer than two folds, a patient in two of them, or what `fit` says.
    """
    row_of = {node: row for row, node in enumerate(targets.nodes)}
    if missing := [node for node in nodes or () if node not in row_of]:
        raise InputError(f"{missing[0]!r} is no node of these stays: nobody has it, so nothing can be learnt of it")
    columns = np.array([row_of[node] for node in (targets.nodes if nodes is None else nodes)], dtype=np.int64)
    of = group_folds(stays.patient_ids, folds, seed) if isinstance(folds, int) else np.asarray(folds)
    _check_folds(of, stays.patient_ids)
    logits = np.empty((len(of), len(columns)), dtype=np.float32)
    for held, model in cross_fit(of, lambda rows: fit(stays, targets, rows, strategy, seed=seed, device=device)):
        logits[held] = np.concatenate([part[:, columns] for part in model.iter_logits(stays.inputs[held])])
    return logits


def train_network(
    stays: Stays,
    targets: Targets,
    rows: np.ndarray,
    dev: np.ndarray,
    strategy: Strategy,
    *,
    seed: int,
    device: str,
    label: str,
    epochs: int | None = None,
) -> tuple[MedicationNetwork, list[tuple[float, float]]]:
    """One network of all nodes of `targets`; of each epoch its loss and dev figure.

    Args:
        epochs: at most, instead of the strategy's.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    rows, held = _held_out(rows, targets, strategy, rng)
    weights = _weights(strategy, targets, rows)
    network = MedicationNetwork(strategy, stays.inputs.shape[1], len(targets.nodes))
    if strategy.bias == "log_odds":
        balance = None if weights[0] is None or weights[1] is None else weights[0] / np.maximum(weights[1], 1e-12)
        odds = log_odds(frequencies(targets.gold[rows]), balance)
        network.output.bias.data.copy_(torch.from_numpy(odds))
    network.to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=strategy.learning_rate, eps=ADAM_EPSILON)
    tree = Tree.of(targets.parents).to(torch.device(device))
    loss_of = _loss(strategy, weights, tree, torch.from_numpy(targets.parents).to(device))

    def figure_of(which: np.ndarray) -> float:
        logits = _answers(network, tree, strategy.roll, stays.inputs[which])
        return dev_figure(targets.gold[which].toarray(), logits, strategy.select)

    history, best, kept, stop_best, stop_number = [], -math.inf, network.state_dict(), -math.inf, 0
    most = strategy.epochs if epochs is None else epochs
    with progress_bar(most, label, "epochs") as bar:
        for number in range(most):
            loss = _epoch(network, stays, targets, rng.permutation(rows), strategy.batch, optimizer, loss_of)
            figure = figure_of(dev)
            history.append((loss, figure))
            if figure > best:
                best, kept = figure, copy.deepcopy(network.state_dict())
            bar.remark(f"loss {loss:.5f}, dev {strategy.select} {figure:.4f}")
            bar.advance()
            stop = figure if held is None else figure_of(held)
            if stop > stop_best:
                stop_best, stop_number = stop, number
            elif number - stop_number >= strategy.patience:
                bar.advance(most - number - 1)
                break
    network.load_state_dict(kept)
    return network.eval(), history


def dev_figure(gold: np.ndarray, logits: np.ndarray, select: str) -> float:
    """The figure that epochs and searches are chosen by, of bool and float (stays, nodes): higher is better."""
    truth, values = check_pair(gold, logits)
    if not truth.any():
        return 0.0
    if select == "ndcg":
        return float(np.mean(note_ranking(gold_ranks(truth, values), ())["ndcg"]))
    if select == "micro_auprc":
        return column_areas(truth.ravel(), values.ravel())[1]
    if select == "micro_f1_best_threshold":
        chosen = choose_threshold(truth, 1 / (1 + np.exp(-np.clip(values, -700, None))))
        return float(chosen.micro_f1 or 0.0)
    figures = area_metrics(truth, values) if "au" in select else decision_metrics(truth, values > 0)
    return float(np.nan_to_num(figures[select]))


def log_odds(frequency: np.ndarray, positive: np.ndarray | None = None, floor: float = 1e-5) -> np.ndarray:
    """(nodes,) float32: the logits that minimise the (weighted) cross-entropy without any input.

    Args:
        frequency: (nodes,) of the training stays. positive: (nodes,) weight of y = 1 over that of y = 0, if any.
    """
    clipped = np.clip(frequency, floor, 1 - floor)
    odds = np.log(clipped / (1 - clipped))
    return np.asarray(odds if positive is None else odds + np.log(np.maximum(positive, floor)), dtype=np.float32)


def _check_folds(of: np.ndarray, patients: Sequence[str]) -> None:
    if len(of) != len(patients):
        raise ValueError(f"{len(patients)} stays but folds of {len(of)}")
    if len(np.unique(of)) < 2:
        raise InputError("out-of-fold logits need two folds or more, and a patient in each")
    first: dict[str, int] = {}
    for patient, fold in zip(patients, of.tolist(), strict=True):
        if first.setdefault(patient, fold) != fold:
            raise InputError(f"patient {patient} has stays in two folds; keep a patient's stays together")


def _held_out(
    rows: np.ndarray, targets: Targets, strategy: Strategy, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """The stays that train, and those that say when to stop, None for the dev stays; see `Strategy.stop_share`."""
    drawn, number = rng.permutation(rows), round(strategy.stop_share * len(rows))
    held, others = np.sort(drawn[:number]), np.sort(drawn[number:])
    if not targets.gold[held].nnz:  # so few stays that none, or none with a code, can be spared
        return rows, None
    return others, held


def _answers(network: MedicationNetwork, tree: Tree, roll: str, inputs: csr_array) -> np.ndarray:
    """Logits of stays, rolled, float32 (stays, nodes)."""
    network.eval()
    device = network.output.weight.device
    found = []
    with torch.inference_mode():
        for start in range(0, inputs.shape[0], 1024):
            dense = torch.from_numpy(inputs[start : start + 1024].toarray()).to(device)
            found.append(rolled(network(dense), tree, roll).cpu().numpy())
    return np.concatenate(found)


def _epoch(
    network: MedicationNetwork,
    stays: Stays,
    targets: Targets,
    rows: np.ndarray,
    batch: int,
    optimizer: torch.optim.Optimizer,
    loss_of: Loss,
) -> float:
    """One pass; returns the mean loss over stays."""
    network.train()
    device, total = network.output.weight.device, 0.0
    for part in np.array_split(rows, max(1, math.ceil(len(rows) / batch))):
        x = torch.from_numpy(stays.inputs[part].toarray()).to(device)
        y = torch.from_numpy(targets.gold[part].toarray().astype(np.float32)).to(device)
        loss = loss_of(network(x), y, network)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += float(loss.detach()) * len(part)
    return total / len(rows)


def _weights(strategy: Strategy, targets: Targets, rows: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(nodes,) weights of a true node and of a false one; None where all are 1."""
    if strategy.weights == "none":
        return None, None
    if strategy.weights == "level":
        of_levels = level_weights(targets.levels)
        return of_levels, of_levels
    counts = np.asarray(targets.gold[rows].sum(axis=0), dtype=np.float64)
    positive = imbalance_weights(counts, len(rows), strategy.cap)
    if strategy.weights == "imbalance":
        return positive, np.ones_like(positive)
    return normalised_weights(positive, counts / len(rows))


def _loss(
    strategy: Strategy, weights: tuple[np.ndarray | None, np.ndarray | None], tree: Tree, parents: torch.Tensor
) -> Loss:
    """The loss of a batch: of its logits and gold, and of the output's weights."""
    positive, negative = (
        None if own is None else torch.tensor(own, dtype=torch.float32, device=parents.device) for own in weights
    )

    def loss_of(logits: torch.Tensor, gold: torch.Tensor, network: MedicationNetwork) -> torch.Tensor:
        if strategy.loss == "focal":
            loss = focal_loss(logits, gold, strategy.gamma)
        elif strategy.loss == "tree_min":
            loss = tree_min_loss(logits, gold, tree)
        elif strategy.loss == "mc":
            loss = mc_loss(logits, gold, tree)
        else:
            loss = bce_loss(logits, gold, positive, negative)
        if strategy.tree_l2:
            loss = loss + strategy.tree_l2 * tree_l2(network.output.weight, network.output.bias, parents)
        if strategy.output_l2:
            loss = loss + strategy.output_l2 * network.output.weight.square().sum()
        return loss

    return loss_of
