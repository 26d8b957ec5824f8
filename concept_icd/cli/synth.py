"""`concept-icd synth`: invented data in the shape of data that cannot be passed on."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

HELP = "write invented tables in the shape of MIMIC-III, with the admission lists of its benchmarks"
EXAMPLE = "concept-icd synth mimic3 --stays 200 --seed 0 --out runs/mimic3-synthetic"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-verb a source; so far `mimic3`."""
    sources = parser.add_subparsers(dest="source", metavar="mimic3", required=True)
    what = "all tables of MIMIC-III v1.4 that the benchmarks need, and their admission lists under splits/"
    mimic3 = sources.add_parser("mimic3", help=what, description=f"Writes {what}. No patient in them is real.")
    mimic3.add_argument("--stays", type=int, default=200, help="admissions (default: 200; MIMIC-III has 58,976)")
    mimic3.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default: 0)")
    mimic3.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
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
    mimic3.add_argument("--overwrite", action="store_true", help="replace the folder if it exists")
    mimic3.add_argument("--json", action="store_true", help="print the counts as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Writes the tables and says how many rows each has."""
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
