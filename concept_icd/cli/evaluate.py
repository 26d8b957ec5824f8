"""`concept-icd evaluate`: scores anybody's predictions against gold codes."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_icd.errors import InputError

if TYPE_CHECKING:
    from concept_icd.report import Results
    from concept_icd.report.predictions import Matrices

HELP = "score predictions of any model against gold codes: results.json and report.html"
EXAMPLE = "concept-icd evaluate --predictions predictions.jsonl --gold gold.jsonl --out runs/evaluation"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add = parser.add_argument
    add(
        "--predictions",
        required=True,
        metavar="FILE",
        help="JSON lines: {note_id, codes: [{code, probability, ...}]} or {note_id, probabilities: {code: p}}",
    )
    add(
        "--gold",
        required=True,
        metavar="FILE",
        help="JSON lines: {note_id, codes: [...]} or {note_id, diagnoses: [...], procedures: [...]}, with patient_id",
    )
    add("--out", required=True, metavar="FOLDER", help="a new folder for results.json and report.html")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="accept a code at p >= P (default: the predictions' own accepted flags, else .5)",
    )
    chosen.add_argument(
        "--threshold-from",
        nargs=2,
        metavar=("PREDICTIONS", "GOLD"),
        help="choose the threshold with the best micro-F1 on these, which must be other notes (dev)",
    )
    add("--codes", metavar="FILE", help="the label set, one code a line (default: all codes of gold and predictions)")
    add("--train-counts", metavar="CORPUS", help="prepared corpus or gold file: how often each code occurs in training")
    add("--only-common", action="store_true", help="leave out notes that are in one file only, and say how many")
    add("--draws", type=int, default=1000, metavar="N", help="bootstrap draws; 0 for no intervals (default 1000)")
    add("--seed", type=int, default=0, help="of the bootstrap (default 0)")
    add("--title", default="Evaluation of ICD-9-CM codes", help="heading of the report")
    add("--overwrite", action="store_true", help="replace the folder if it exists")
    add("--json", action="store_true", help="print what results.json holds, instead of a table")


def run(args: argparse.Namespace) -> int:
    """Reads, measures, writes and prints."""
    from concept_icd.artifacts import sha256
    from concept_icd.report import evaluate, write_report
    from concept_icd.report.predictions import align, read_codes, read_gold, read_predictions

    _check(args)
    codes = read_codes(args.codes) if args.codes else None
    gold = read_gold(args.gold)
    matrices = align(read_predictions(args.predictions), gold, codes, args.only_common)
    threshold, decisions, source = _threshold(args, matrices, set(gold))
    inputs = {"predictions": args.predictions, "gold": args.gold, "codes": args.codes}
    if args.threshold_from:
        inputs |= {"dev predictions": args.threshold_from[0], "dev gold": args.threshold_from[1]}
    results = evaluate(
        matrices.gold,
        matrices.probabilities,
        matrices.codes,
        matrices.note_ids,
        patients=matrices.patients,
        scores=matrices.scores,
        decisions=decisions,
        threshold=threshold,
        threshold_source=source,
        label_set=matrices.label_set,
        train_counts=_train_counts(args.train_counts) if args.train_counts else None,
        titles=_titles(matrices.codes),
        seed=args.seed,
        draws=args.draws,
        inputs={name: sha256(path) for name, path in inputs.items() if path},
        command=shlex.join(["concept-icd", *sys.argv[1:]]),
    )
    page = write_report(results, args.out, title=args.title, overwrite=args.overwrite)
    if args.json:
        print(json.dumps(results.to_dict(), ensure_ascii=False))
    else:
        _print_table(results)
        print(f"report: {page}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """What can be told before the long reading."""
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise InputError(f"--threshold {args.threshold:g} is no probability; name one between 0 and 1")
    if args.draws < 0:
        raise InputError(f"--draws {args.draws} is below 0; 0 gives no intervals")
    if Path(args.out).exists() and not args.overwrite:
        raise InputError(f"{args.out} exists already; name another folder or pass --overwrite")


def _threshold(args: argparse.Namespace, matrices: Matrices, scored: set[str]) -> tuple[float | None, Any, str]:
    """The threshold or the decisions, and in words where they came from."""
    if args.threshold is not None:
        return args.threshold, None, "given on the command line"
    if args.threshold_from:
        from concept_icd.heads.threshold import choose_threshold
        from concept_icd.report.predictions import align, read_gold, read_predictions

        predictions_path, gold_path = args.threshold_from
        dev = align(read_predictions(predictions_path), read_gold(gold_path), matrices.codes, args.only_common)
        shared = scored.intersection(dev.note_ids)
        if shared:
            raise InputError(
                f"{len(shared)} notes of {gold_path} are also in {args.gold}, such as {min(shared)!r}; "
                "a threshold is never chosen on the notes that it is measured on"
            )
        chosen = choose_threshold(dev.gold, dev.probabilities, at_least_one=False)
        source = f"best micro-F1 ({chosen.micro_f1:.3f}) on {len(dev.note_ids)} other notes, {Path(gold_path).name}"
        return chosen.value, None, source
    if matrices.decisions is not None:
        return None, matrices.decisions, "the predictions' own accepted flags"
    return 0.5, None, "default .5, not tuned"


def _train_counts(path: str) -> dict[str, int]:
    """Training notes per code, of a prepared corpus (its train split, where it has splits) or a gold file."""
    if Path(path).is_dir():
        from concept_icd.corpora import load_corpus

        corpus = load_corpus(path)
        notes = corpus.split("train") or corpus.notes
        return dict(Counter(code for note in notes for code in set(note.codes)))
    from concept_icd.report.predictions import read_gold

    return dict(Counter(code for note in read_gold(path).values() for code in note.codes))


def _titles(codes: tuple[str, ...]) -> dict[str, str]:
    """Titles; a retired code gets that of its nearest ancestor."""
    from concept_icd.ontology import load_ontology

    ontology = load_ontology("icd9cm")
    return {code: ontology.resolve(code).title for code in codes}


def _print_table(results: Results) -> None:
    from rich.console import Console
    from rich.table import Table

    from concept_icd.report.definitions import SUMMARY

    counts = results.counts
    threshold = "" if results.threshold is None else f"p >= {results.threshold:.4g}, "
    accepted = threshold + results.threshold_source
    table = Table(title=f"{counts['notes']} notes, {counts['codes']} codes; accepted: {accepted}", title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column(f"95 % over {results.resampled}", justify="right")
    for name in SUMMARY:
        width = results.intervals.get(name)
        spread = f"{width['low']:.3f} - {width['high']:.3f}" if width else ""
        table.add_row(name, f"{results.figures[name]:.3f}", spread)
    Console().print(table)
