"""`concept-icd synth`: invented data in the shape of data that cannot be passed on."""

from __future__ import annotations

import argparse
import json
import time

from concept_icd.cli.options import add_output, positive

EXAMPLE = """concept-icd synth notes --notes 200 --seed 0 --out runs/synthetic
  concept-icd synth mimic3 --stays 200 --seed 0 --out runs/mimic3-synthetic
  concept-icd synth stays --stays 200 --seed 0 --out runs/stays-synthetic"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-verb a kind of data."""
    kinds = parser.add_subparsers(metavar="notes|mimic3|stays", required=True)
    what = "discharge summaries of invented patients, with codes in billing order"
    notes = kinds.add_parser("notes", help=what, description=f"Writes {what}.")
    notes.set_defaults(write=_write_notes)
    notes.add_argument("--notes", type=positive, default=1000, help="how many (default: 1000)")
    notes.add_argument("--seed", type=int, default=0, help="the same seed gives the same notes (default: 0)")
    notes.add_argument("--min-words", type=int, default=0, help="lengthen each note to this many words")
    order = "larger stays whose billing order depends on what the text tells, to prove a ranking on"
    notes.add_argument("--ordered", action="store_true", help=order)
    add_output(notes)
    what = "all tables of MIMIC-III v1.4 that the benchmarks need, and their admission lists under splits/"
    mimic3 = kinds.add_parser("mimic3", help=what, description=f"Writes {what}. No patient in them is real.")
    mimic3.set_defaults(write=_write_mimic3)
    mimic3.add_argument("--stays", type=int, default=200, help="admissions (default: 200; MIMIC-III has 58,976)")
    mimic3.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default: 0)")
    rows = "rows of NOTEEVENTS in all (default: the summaries and 4 others a stay; MIMIC-III has 2,083,180)"
    mimic3.add_argument("--note-rows", type=int, metavar="ROWS", help=rows)
    length = "mean number of characters of a discharge summary (default: 10000, as MIMIC-III)"
    mimic3.add_argument("--summary-length", type=int, default=10_000, metavar="CHARS", help=length)
    unknown = "put so many admissions into the training lists that no table has (default: 0)"
    mimic3.add_argument("--unknown-ids", type=int, default=0, metavar="N", help=unknown)
    mimic3.add_argument("--gzip", action="store_true", help="write .csv.gz files")
    case = mimic3.add_mutually_exclusive_group()
    upper = "headers in capitals and every text quoted, as MIMIC-III itself (default)"
    case.add_argument("--upper-case", dest="upper_case", action="store_true", default=True, help=upper)
    lower = "headers in lower case and quotes where needed, as MIMIC-III's open demo"
    case.add_argument("--lower-case", dest="upper_case", action="store_false", help=lower)
    add_output(mimic3)
    what = "stays whose drugs follow a written rule, for the medication network"
    stays = kinds.add_parser("stays", help=what, description=f"Writes {what}.")
    stays.set_defaults(write=_write_stays)
    stays.add_argument("--stays", type=int, default=1000, help="how many (default: 1000)")
    stays.add_argument("--seed", type=int, default=0, help="the same seed gives the same stays (default: 0)")
    add_output(stays)


def run(args: argparse.Namespace) -> int:
    """Writes the data and says how much there is."""
    return int(args.write(args))


def _write_notes(args: argparse.Namespace) -> int:
    from concept_icd.cli.prepare import write_corpus
    from concept_icd.corpora import synthetic_notes
    from concept_icd.outputs import require_replaceable

    require_replaceable(args.out, "prepare", overwrite=args.overwrite)  # before any work
    started = time.monotonic()
    notes = synthetic_notes(args.notes, args.seed, min_words=args.min_words, ordered=args.ordered)
    options = {"notes": args.notes, "seed": args.seed, "min_words": args.min_words}
    config = {"source": "synthetic", **options, **({"ordered": True} if args.ordered else {})}
    return write_corpus(args, notes, started, inputs={}, config=config, seed=args.seed)


def _write_mimic3(args: argparse.Namespace) -> int:
    from concept_icd.corpora.mimic3.synthetic.tables import write_synthetic_mimic3

    counts = write_synthetic_mimic3(
        args.out,
        args.stays,
        args.seed,
        note_rows=args.note_rows,
        summary_length=args.summary_length,
        unknown_ids=args.unknown_ids,
        compress=args.gzip,
        upper_case=args.upper_case,
        overwrite=args.overwrite,
    )
    if args.json:
        print(json.dumps({"folder": str(args.out), "counts": counts}))
        return 0
    print(
        f"{args.out}: {counts['stays']:,} stays of {counts['patients']:,} invented patients, "
        f"{counts['summarized_stays']:,} with a discharge summary"
    )
    tables = list(counts.items())[3:]
    print(", ".join(f"{name.upper()} {rows:,}" for name, rows in tables))
    print(
        f"prepare a benchmark from them: concept-icd prepare mimic3 --mimic-dir {args.out} "
        f"--splits-dir {args.out / 'splits'} --task mimic3-50 --out DIR"
    )
    return 0


def _write_stays(args: argparse.Namespace) -> int:
    from concept_icd.cli.medications import print_prepared
    from concept_icd.medications.prepare import prepare_synthetic_stays

    print_prepared(prepare_synthetic_stays(args.stays, args.seed, args.out, overwrite=args.overwrite), args)
    return 0
