"""The medication network against the frequency dummy, and one network for all levels against several.

`multitask` is the study's network of all levels, `per-level` the study's four (chapters, sections, categories, billing
codes), which say nothing of nodes in between, and `per-tree-level` ours: five, one for each level of the tree.

    OMP_NUM_THREADS=1 python benchmarks/medication_quality.py --out benchmarks/results/medication_quality.json

Generated stays, whose drugs depend on their codes by a known rule (`synthetic_stays`): who reads the drugs can know
more than frequencies at every level. Options are the same for all strategies and were not searched; the network is
narrower than the study's, so that it trains on one thread, and batches are of 32 stays: with the study's 128 so few
stays make seven steps an epoch, and training is stopped before it leaves the frequencies behind.

    OMP_NUM_THREADS=1 python benchmarks/medication_quality.py --mimic-dir ../shared/data/mimic3_demo --units 512 \
        --epochs 60 --out benchmarks/results/medication_demo.json

The open demo's 129 stays instead, in folds that leave patients out: every stay is tested once. They are far too few to
learn from; what this shows is that real tables go through, and how wide the intervals are.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from common import arguments, finish, minutes, parser_of

from concept_icd.medications.prepare import prepare_mimic_stays, prepare_synthetic_stays
from concept_icd.medications.strategy import read_strategy
from concept_icd.medications.study.figures import INTERPOLATED, STEP
from concept_icd.medications.study.run import monte_carlo_folds, patient_folds
from concept_icd.medications.study.study import DUMMY, run_study

STRATEGIES = ("multitask", "per-level", "per-tree-level")
#: Means over stays, with intervals; then what is one figure a fold.
PER_STAY = ("ndcg", "ndcg_at_15", *STEP, *INTERPOLATED)
PER_FOLD = (
    *("micro_auprc", "macro_auprc", "micro_auc", "macro_auc", "micro_f1", "macro_f1", "macro_f1_caml"),
    *("micro_f1_at_half", "macro_f1_at_half", "brier", "ece", "ece_positive"),
)


def wins(differences: dict[str, Any]) -> dict[str, int]:
    """Of the rank errors of every set, form and recall: how often the strategy is surely below the other, or above."""
    gaps = [found[key] for found in differences.values() for key in (*STEP, *INTERPOLATED)]
    return {
        "comparisons": len(gaps),
        "fewer": sum(gap["difference"] < 0 for gap in gaps),
        "fewer, interval below 0": sum(gap["high"] < 0 for gap in gaps),
        "more, interval above 0": sum(gap["low"] > 0 for gap in gaps),
    }


def main() -> None:
    network = {"units": 256, "epochs": 25, "batch": 32, "learning_rate": 1e-3, "dropout": 0.4}
    parser = parser_of(__doc__, folds=3, draws=1000, **network)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--stays", type=int, default=1_000, help="generated")
    group.add_argument("--mimic-dir", type=Path)
    args = arguments(parser)
    options = {name: getattr(args, name) for name in network}
    strategies = {name: read_strategy(name, **options) for name in STRATEGIES}
    processor = time.process_time()
    with tempfile.TemporaryDirectory(prefix="medication-quality-") as name:
        folder = Path(name) / "stays"
        if args.mimic_dir is None:
            source, split, found = (
                "generated",
                "draws of patients",
                prepare_synthetic_stays(args.stays, args.seed, folder),
            )
            folds = monte_carlo_folds(found.stays.patient_ids, args.seed, args.folds)
        else:
            source, split = "the open MIMIC-III demo", "folds of patients: every stay is tested once"
            found = prepare_mimic_stays(args.mimic_dir, folder)
            folds = patient_folds(found.stays.patient_ids, args.folds, args.seed)
        results = run_study(
            found.stays,
            found.targets,
            {f"fold-{number}": fold for number, fold in enumerate(folds)},
            strategies,
            Path(name) / "study",
            seed=args.seed,
            draws=args.draws,
            device="cpu",
        )
    seconds = {
        name: sum(run["train_processor_seconds"] for run in results["runs"][name]) / len(folds) for name in STRATEGIES
    }
    epochs = {name: [run["epochs"] for run in results["runs"][name]] for name in STRATEGIES}
    result = {
        "source": source,
        **{key: results[key] for key in ("stays", "patients", "inputs", "nodes", "folds", "draws")},
        "split": split,
        "options": options,
        "figures": {
            name: {part: {key: own[key] for key in (*PER_STAY, *PER_FOLD) if key in own} for part, own in sets.items()}
            for name, sets in results["summary"].items()
        },
        "differences": {
            other: {
                name: {part: {key: own[key] for key in PER_STAY} for part, own in sets.items()}
                for name, sets in of.items()
            }
            for other, of in results["differences"].items()
        },
        "wins_over_the_dummy": {name: wins(results["differences"][DUMMY][name]) for name in STRATEGIES},
        "training_processor_seconds_a_fold": {name: round(value, 1) for name, value in seconds.items()},
        "training_epochs": epochs,
        "processor_seconds_an_epoch": {
            name: round(seconds[name] * len(folds) / sum(epochs[name]), 2) for name in STRATEGIES
        },
        "wards": {name: results["wards"][name] for name in (DUMMY, STRATEGIES[0])},
        "processor_seconds": round(time.process_time() - processor, 1),
        "minutes": minutes(),
    }
    finish(args, result, DIR=args.mimic_dir)


if __name__ == "__main__":
    main()
