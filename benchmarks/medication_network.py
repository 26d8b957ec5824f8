"""Seconds and memory of the medication network at MIMIC-III's size: reading all stays, and an epoch of training.

    OMP_NUM_THREADS=2 python benchmarks/medication_network.py --out benchmarks/results/medication_network.json

58,976 generated stays, 1,166 inputs, and 9,336 outputs with the study's number of nodes a level. Outputs are streamed:
"logits" makes every output and keeps none, "codes" is `concept-icd medications code`, the 50 best billing codes of each
stay in a Parquet file, in a process of its own whose peak memory the system counts. Weights are random, which changes
no second. The study's figure is on another machine (a T4) and stands beside these, not against them.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from common import arguments, costed, costs_of, finish, parser_of, rounded
from scipy.sparse import csr_array

from concept_icd.medications.folder import save_stays
from concept_icd.medications.model import NEVER, MedicationModel, MedicationNetwork, Part
from concept_icd.medications.prepare import STUDY
from concept_icd.medications.strategy import ALL, Strategy, Targets
from concept_icd.medications.synthetic import SyntheticStays, synthetic_stays
from concept_icd.medications.targets import TREE_LEVELS, indicator
from concept_icd.medications.training import train

#: Marcou et al. 2024: all stays on a T4.
STUDY_SECONDS = 1.92
GOLD_PER_STAY = 40


def study_targets(stays: int, nodes: int, seed: int) -> Targets:
    """Targets with the study's share of nodes a level, drawn with a long tail; the tree itself is left out."""
    counts = {level: STUDY[f"nodes of level {level}"] for level in TREE_LEVELS}
    levels = [level for level in TREE_LEVELS for _ in range(max(1, round(counts[level] * nodes / STUDY["nodes"])))]
    levels = (levels + ["code"] * nodes)[:nodes]
    rng = np.random.default_rng(seed)
    share = np.cumsum(1 / (1 + rng.permutation(nodes)))
    drawn = np.searchsorted(share, rng.random((stays, GOLD_PER_STAY)) * share[-1])
    gold = csr_array(indicator([np.unique(row).tolist() for row in drawn], nodes), dtype=bool)
    billed = np.arange(nodes) >= nodes - round(nodes * STUDY["billed codes"] / STUDY["nodes"])
    names = tuple(f"node {number}" for number in range(nodes))
    return Targets(names, tuple(levels), np.full(nodes, -1, dtype=np.int64), billed, gold)


def random_model(strategy: Strategy, made: SyntheticStays, targets: Targets, seed: int) -> MedicationModel:
    """Untrained."""
    torch.manual_seed(seed)
    network = MedicationNetwork(strategy, len(made.stays.input_names), len(targets.nodes)).eval()
    return MedicationModel(
        strategy=strategy,
        input_names=made.stays.input_names,
        nodes=targets.nodes,
        levels=tuple(targets.levels),
        parents=targets.parents,
        billed=targets.billed,
        parts=(Part(ALL, torch.arange(len(targets.nodes)), strategy, network),),
        rest=np.full(len(targets.nodes), NEVER, dtype=np.float32),
    )


def codes(model: Path, stays: Path, out: Path) -> dict[str, float]:
    """Costs of the command, in a process of its own."""
    command = [sys.executable, "-m", "concept_icd.cli.main", "medications", "code", "--device", "cpu"]
    found = costs_of([*command, "--model", str(model), "--stays", str(stays), "--out", str(out)])
    return rounded(found, 2) | {"written_bytes": out.stat().st_size}


def main() -> None:
    sizes = {"stays": 58_976, "training_stays": 48_976, "nodes": 9_336, "units": Strategy.units}  # the study's
    args = arguments(parser_of(__doc__, **sizes))
    made, targets = synthetic_stays(args.stays, args.seed), study_targets(args.stays, args.nodes, args.seed)
    strategy = Strategy(units=args.units, epochs=1)
    model = random_model(strategy, made, targets, args.seed)
    with tempfile.TemporaryDirectory(prefix="medication-network-") as name:
        folder, stays = Path(name) / "model", Path(name) / "stays"
        folder.mkdir()
        model.save(folder)
        save_stays(stays, made.stays, targets, inputs={}, config={"source": "benchmark"})
        logits, rows = costed(lambda: sum(len(part) for part in model.iter_logits(made.stays.inputs)))
        whole = codes(folder, stays, Path(name) / "codes.parquet")
    result = {
        "stays": rows,
        "inputs": len(made.stays.input_names),
        "nodes": args.nodes,
        "network": {"hidden": strategy.hidden, "units": strategy.units},
        "parameters": sum(p.numel() for part in model.parts for p in part.network.parameters()),
        "logits": rounded(logits, 2),
        "codes": whole,
        "study_seconds_on_a_t4": STUDY_SECONDS,
        "load_average": round(os.getloadavg()[1], 1),  # others on the machine lengthen the wall time
    }
    train_rows = np.arange(args.training_stays)
    dev = np.arange(args.stays)[-min(500, args.stays - args.training_stays) :]
    epoch, _ = costed(lambda: train(made.stays, targets, train_rows, dev, strategy, seed=args.seed))
    result |= {
        "training_stays": args.training_stays,
        "epoch_with_500_dev_stays": rounded(epoch, 2) | {"epochs_per_minute": round(60 / epoch["wall"], 3)},
        "load_average_of_training": round(os.getloadavg()[1], 1),
    }
    finish(args, result)


if __name__ == "__main__":
    main()
