"""Options of a network by Hyperband, as the study searched them, on the training and dev stays of one fold.

Space: n in 1 to 8 layers, of which n - 1 are hidden (the output is the n-th), 256 to 6,144 units in steps of 256,
dropout 0 to .8, batch norm or not, and the strategy's own options, such as gamma (Marcou et al. 2024, and its released
code).

Hyperband (Li et al. 2018) in the rounding of Keras Tuner, which the study used: with R = 150 epochs and factor 3 there
are brackets s = 4 .. 0; round i of bracket s trains ceil(e 3^(s - i)) drawn options for ceil(R / 3^(s - i)) epochs,
where e = ceil(1 + log_3 R) / (s + 1), and the best go on to the next round. An option's figure is the mean over its
executions (seeds) of the best dev figure. A round trains from the start with the seeds of the round before: the same
epochs come again, so that nothing but figures has to be kept, and a killed search goes on from its log.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from concept_icd.artifacts import hash_of
from concept_icd.errors import InputError, extras
from concept_icd.medications.strategy import Stays, Strategy, Targets
from concept_icd.medications.targets import nodes_of, part_of
from concept_icd.outputs import private_folder

#: The range of each option: of layers and units whole numbers, of the last four on a log scale.
LAYERS, UNITS, STEP, DROPOUT, GAMMA = (1, 8), 6144, 256, (0.0, 0.8), (1.0, 4.0)
CAP, TREE_L2, OUTPUT_L2 = (1.0, 200.0), (1e-15, 5e-6), (1e-14, 1e-4)


@dataclass(frozen=True)
class Hyperband:
    """How far a search goes; the defaults are the study's.

    Attributes:
        epochs: R, of the last round. factor: by which rounds thin out. iterations: of all brackets.
        executions: networks of each option, which differ in their seed.
        run_epochs: most epochs of one network, in whatever round.
    """

    epochs: int = 150
    factor: int = 3
    iterations: int = 2
    executions: int = 3
    run_epochs: int = 80

    def __post_init__(self) -> None:
        for name, low in {"epochs": 1, "factor": 2, "iterations": 1, "executions": 1, "run_epochs": 1}.items():
            if getattr(self, name) < low:
                raise InputError(f"{name} of the search must be {low} or more, it is {getattr(self, name)}")

    def brackets(self) -> list[list[tuple[int, int]]]:
        """Of each bracket its rounds, (options, epochs).

        >>> Hyperband().brackets()[0]
        [(98, 2), (33, 6), (11, 17), (4, 50), (2, 150)]
        """
        most = 0
        while self.epochs / self.factor ** (most + 1) >= 1:
            most += 1
        last = math.ceil(1 + math.log(self.epochs, self.factor))
        found = []
        for s in range(most, -1, -1):
            scales = [self.factor ** (s - i) for i in range(s + 1)]
            found.append([(math.ceil(last / (s + 1) * scale), math.ceil(self.epochs / scale)) for scale in scales])
        return found


def search(
    stays: Stays,
    targets: Targets,
    rows: np.ndarray,
    dev: np.ndarray,
    strategy: Strategy,
    folder: Path,
    *,
    hyperband: Hyperband,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, Strategy]:
    """Group of nodes -> the best options of its network; the log of each group stands in `folder`.

    Args:
        strategy: its units, where they are not the default, are the most that a layer may have in a trial.

    Raises:
        InputError: `folder` holds a search of other stays or options, or see `training.train`.
    """
    with extras():
        from concept_icd.medications.training import train_network

    found = {}
    for group, nodes in nodes_of(strategy, targets).items():
        told = {
            "hyperband": dataclasses.asdict(hyperband),
            "strategy": dataclasses.asdict(strategy),
            "stays": hash_of([rows.tolist(), dev.tolist(), [targets.nodes[node] for node in nodes]]),
            "seed": seed,
        }
        log = _Log(folder / f"{group}.jsonl", told)
        of = part_of(targets, nodes)

        def figure_of(options: Strategy, epochs: int, label: str, of: Targets = of, log: _Log = log) -> float:
            key = hash_of([dataclasses.asdict(options), epochs])
            if key not in log.figures:
                best = []
                for execution in range(hyperband.executions):
                    _, history = train_network(
                        stays, of, rows, dev, options, seed=seed + execution, device=device, label=label,
                        epochs=min(epochs, hyperband.run_epochs),
                    )  # fmt: skip
                    best.append(max(figure for _, figure in history))
                log.add(key, options, epochs, float(np.mean(best)))
            return log.figures[key]

        best: tuple[float, Strategy] | None = None
        for iteration in range(hyperband.iterations):
            for place, rounds in enumerate(hyperband.brackets()):
                rng = np.random.default_rng([seed, iteration, place])
                options = [dataclasses.replace(strategy, **drawn(strategy, rng)) for _ in range(rounds[0][0])]
                for number, epochs in rounds:
                    label = f"{folder.name}, {group}: {number} options, {epochs} epochs"
                    scored = [(figure_of(own, epochs, label), own) for own in options[:number]]
                    options = [own for _, own in sorted(scored, key=lambda pair: -pair[0])]
                    top = max(scored, key=lambda pair: pair[0])
                    best = top if best is None or top[0] > best[0] else best
        assert best is not None
        found[group] = best[1]
    return found


def drawn(strategy: Strategy, rng: np.random.Generator) -> dict[str, Any]:
    """One draw of the options that a search sets."""
    most = UNITS if strategy.units == Strategy.units else strategy.units
    options: dict[str, Any] = {
        "hidden": int(rng.integers(LAYERS[0], LAYERS[1] + 1)) - 1,
        "units": min(most, STEP * int(rng.integers(1, max(1, most // STEP) + 1))),
        "dropout": float(rng.uniform(*DROPOUT)),
        "norm": bool(rng.integers(2)),
    }
    if strategy.loss == "focal":
        options["gamma"] = float(rng.uniform(*GAMMA))
    if strategy.weights in ("imbalance", "imbalance_normalised"):
        options["cap"] = _log_uniform(rng, *CAP)
    if strategy.tree_l2:
        options["tree_l2"] = _log_uniform(rng, *TREE_L2)
    if strategy.output_l2:
        options["output_l2"] = _log_uniform(rng, *OUTPUT_L2)
    return options


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


class _Log:
    """What a search has measured, a line each after the line that says what is searched."""

    def __init__(self, path: Path, told: dict[str, Any]) -> None:
        self.path, self.figures = path, dict[str, float]()
        private_folder(path.parent)
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []  # the last one was cut off
        if lines and json.loads(lines[0]) != told:
            raise InputError(f"{path} holds a search of other stays or options: name another folder")
        for line in lines[1:]:
            found = json.loads(line)
            self.figures[found["key"]] = found["figure"]
        path.write_text("".join(f"{line}\n" for line in lines or [json.dumps(told)]), encoding="utf-8")

    def add(self, key: str, options: Strategy, epochs: int, figure: float) -> None:
        """Keeps one figure."""
        self.figures[key] = figure
        line = {"key": key, "epochs": epochs, "figure": figure, "options": dataclasses.asdict(options)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
