"""`concept-icd compare`: several systems on the same notes, side by side, with paired differences."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from concept_icd.cli.evaluate import (
    add_shared_arguments,
    check_shared,
    chosen_threshold,
    classification_of,
    command_line,
    gold_faults,
    hash_inputs,
    training_counts,
)
from concept_icd.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from concept_icd.readers.predictions import Gold
    from concept_icd.report.comparison import System

EXAMPLE = (
    "concept-icd compare ours=runs/ours ltr-icd=runs/ltr-icd/predictions.jsonl "
    "--gold runs/ordered --out runs/comparison"
)
INPUTS = ("runs", "gold", "codes", "train_counts", "threshold_from")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add = parser.add_argument
    add(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a folder of `concept-icd run`, its evaluation folder (results.json and predictions.jsonl), or a file of "
        "predictions; NAME=RUN gives it a name; differences are against the first",
    )
    add(
        "--gold",
        required=True,
        metavar="PATH",
        help="the prepared corpus or gold file that all of them are of; a run's folder holds no gold codes",
    )
    add("--out", required=True, metavar="FOLDER", help="a new folder for compare.json and compare.html")
    add("--codes", metavar="FILE", help="the label set, one code a line (default: of the corpus, else of the runs)")
    add(
        "--threshold-from",
        nargs="+",
        metavar=("GOLD", "NAME=PREDICTIONS"),
        help="choose the threshold of each run that is named with the best micro-F1 on these, which must be other "
        "notes (dev): their gold, and the predictions of each run",
    )
    add_shared_arguments(parser, title="Comparison of coders", holds="compare.json")


def run(args: argparse.Namespace) -> int:
    """Reads, measures, writes and prints."""
    from concept_icd.progress import say
    from concept_icd.readers.label_sets import read_codes
    from concept_icd.readers.predictions import read_gold
    from concept_icd.report import write_comparison
    from concept_icd.report.comparison import compare_systems
    from concept_icd.report.runs import common_codes, find_runs, lay_out

    check_shared(args, "compare")
    runs = find_runs(args.runs)
    classification = classification_of(args)
    chosen = read_codes(args.codes, classification) if args.codes else None
    gold = read_gold(args.gold, chosen or (), args.split, classification=classification)
    named = "named by the user" if chosen else f"of {gold.task or 'the corpus'}"
    codes, named = common_codes(runs, chosen or gold.label_set, named)
    for sentence in gold_faults(gold, codes):
        say(f"{args.gold}: {sentence}")
    laid_out = lay_out(runs, gold, codes, named)
    measured = laid_out[0][1].gold_labels()
    if codes is not None:
        measured = dataclasses.replace(measured, label_set=f"{len(codes)} codes {named}")
    if args.no_order:
        measured = dataclasses.replace(measured, places=None)
    found = compare_systems(
        _at_chosen_thresholds(args, [system for system, _ in laid_out], gold, measured.codes),
        dataclasses.replace(measured, train_counts=training_counts(args, gold)[0]),
        draws=args.draws,
        seed=args.seed,
        inputs=hash_inputs({run.name: run.file for run in runs} | {"the gold": Path(args.gold)}),
        command=command_line(),
    )
    page = write_comparison(found, args.out, title=args.title, overwrite=args.overwrite)
    if args.json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        from concept_icd.report.terminal import print_comparison

        print_comparison(found.to_dict(), every=args.all)
        print(f"page: {page}")
    return 0


def _at_chosen_thresholds(
    args: argparse.Namespace, systems: list[System], gold: Gold, codes: Sequence[str]
) -> list[System]:
    """The systems, those that `--threshold-from` names with the decisions of their chosen thresholds."""
    if not args.threshold_from:
        return systems
    dev_gold, *named = args.threshold_from
    files = dict(text.partition("=")[::2] for text in named)
    for name, file in files.items():
        if name not in (names := [system.name for system in systems]) or not file:
            hint = did_you_mean(name, names)
            raise InputError(f"--threshold-from takes GOLD NAME=PREDICTIONS ..., and no run is called {name!r}{hint}")
    if not files:
        raise InputError("--threshold-from takes the gold of other notes, and NAME=PREDICTIONS of each run on them")
    found = []
    for system in systems:
        if system.name in files:
            if system.probabilities is None:
                raise InputError(f"{system.name} holds decisions without probabilities: there is nothing to threshold")
            value, source = chosen_threshold(files[system.name], dev_gold, codes, gold, args.gold)
            accepted_at = f"p >= {value:.4g}, {source}"
            system = dataclasses.replace(system, decisions=system.probabilities >= value, accepted_at=accepted_at)
        found.append(system)
    return found
