"""`concept-icd compare`: several systems on the same notes, side by side, with paired differences."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import Counter
from pathlib import Path

from concept_icd.errors import InputError

EXAMPLE = (
    "concept-icd compare ours=runs/ours ltr-icd=runs/ltr-icd/predictions.jsonl "
    "--gold runs/ordered --out runs/comparison"
)
INPUTS = ("runs", "gold", "codes", "train_counts")


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
    add(
        "--split",
        choices=("train", "dev", "test", "all"),
        help="of a prepared corpus (default: test, where it has one)",
    )
    add("--codes", metavar="FILE", help="the label set, one code a line (default: of the corpus, else of the runs)")
    add("--train-counts", metavar="CORPUS", help="prepared corpus or gold file: what training frequency alone gives")
    add("--no-order", action="store_true", help="the gold lists sets: no figures of the billing order")
    add("--draws", type=int, default=1000, metavar="N", help="most samples for intervals; 0 for none (default 1000)")
    add("--seed", type=int, default=0, help="of the intervals (default 0)")
    add("--title", default="Comparison of coders", help="heading of the page")
    add("--overwrite", action="store_true", help="replace the folder if it exists")
    add("--json", action="store_true", help="print what compare.json holds, instead of tables")


def run(args: argparse.Namespace) -> int:
    """Reads, measures, writes and prints."""
    from concept_icd.files import printable
    from concept_icd.outputs import require_replaceable
    from concept_icd.progress import say
    from concept_icd.readers.predictions import read_codes, read_gold, told_codes
    from concept_icd.report import write_comparison
    from concept_icd.report.comparison import GoldLabels, compare_systems
    from concept_icd.report.runs import common_codes, find_runs, lay_out

    if args.draws < 0:
        raise InputError(f"--draws {args.draws} is below 0; 0 gives no intervals")
    require_replaceable(args.out, "compare", overwrite=args.overwrite)
    runs = find_runs(args.runs)
    chosen = read_codes(args.codes) if args.codes else None
    gold = read_gold(args.gold, chosen or (), args.split)
    named = "named by the user" if chosen else f"of {gold.task or 'the corpus'}"
    codes, named = common_codes(runs, chosen or gold.label_set, named)
    assigned = Counter(code for listed in gold.codes.values() for code in listed)
    for sentence in told_codes(assigned, {*(codes or ()), *(gold.label_set or ())}, "gold assignments"):
        say(f"{args.gold}: {sentence}")
    laid_out = lay_out(runs, gold, codes, named)
    matrices = laid_out[0][1]
    measured = GoldLabels(
        matrices.note_ids,
        matrices.codes,
        matrices.gold,
        matrices.patients,
        None if args.no_order else matrices.places,
        matrices.principal,
        matrices.kinds,
        matrices.label_set if codes is None else f"{len(codes)} codes {named}",
        _train_counts(args, gold.train_stays),
    )
    found = compare_systems(
        [system for system, _ in laid_out],
        measured,
        draws=args.draws,
        seed=args.seed,
        inputs=_inputs({run.name: run.file for run in runs} | {"the gold": Path(args.gold)}),
        command=printable(shlex.join(["concept-icd", *sys.argv[1:]])),
    )
    page = write_comparison(found, args.out, title=args.title, overwrite=args.overwrite)
    if args.json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        from concept_icd.report.terminal import print_comparison

        print_comparison(found.to_dict())
        print(f"page: {page}")
    return 0


def _train_counts(args: argparse.Namespace, train_stays: int | None) -> dict[str, int] | None:
    """How many training notes have each code; None where nothing says so."""
    from concept_icd.readers.predictions import read_gold

    path = args.train_counts or (args.gold if train_stays else None)
    if path is None:
        return None
    split = ("train" if read_gold(path, split="all").train_stays else "all") if Path(path).is_dir() else None
    return dict(Counter(code for codes in read_gold(path, split=split).codes.values() for code in codes))


def _inputs(files: dict[str, Path]) -> dict[str, str]:
    """SHA-256 of what was read; of a prepared corpus, that of its manifest, which holds those of its files."""
    from concept_icd.artifacts import sha256
    from concept_icd.outputs import MANIFEST

    return {name: sha256(path / MANIFEST if path.is_dir() else path) for name, path in files.items()}
