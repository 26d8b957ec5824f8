"""`concept-icd run`: all stages on one corpus."""

from __future__ import annotations

import argparse
from pathlib import Path

from concept_icd.cli.options import add_classification, add_format, columns_of

EXAMPLE = "concept-icd run --corpus CMC_FOLDER --config cmc2007-tiny --seed 1 --out runs/cmc2007-seed1"
INPUTS = ("corpus", "config")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Corpus, config, output; what stands after -- goes to the tuning options."""
    parser.add_argument("--corpus", type=Path, required=True, help="a prepared folder, or any corpus `prepare` reads")
    add_format(parser)
    add_classification(parser)
    parser.add_argument("--config", default="cmc2007-tiny", help="tuning config: a shipped name or a YAML file")
    parser.add_argument("--out", type=Path, required=True, help="folder of all stages")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the folds and the tuning (default: 0)")
    parser.add_argument("options", nargs="*", help="after --: tuning options that override the config")


def run(args: argparse.Namespace) -> int:
    """Runs what is not done yet, prints the figures and names the report."""
    from concept_icd.cli.prepare import code_checks
    from concept_icd.corpora import format_of, read_corpus
    from concept_icd.files import printable
    from concept_icd.pipeline import run_pipeline
    from concept_icd.progress import say

    prepared = (args.format or format_of(args.corpus)) == "prepared"
    source = args.corpus if prepared else read_corpus(args.corpus, args.format, columns_of(args), args.classification)
    for check in () if prepared else code_checks(source, args.classification):
        say(check["why"])
    report = run_pipeline(
        source,
        args.out,
        ["--config", args.config, *args.options],
        title=f"{printable(args.corpus.resolve().name)}: {args.config}",
        seed=args.seed,
        classification=args.classification,
        command=f"concept-icd run --corpus {printable(args.corpus.name)} --config {args.config} --seed {args.seed}",
    )
    print_figures(report)
    return 0


def print_figures(report: Path) -> None:
    """What `concept-icd evaluate` prints of the same results, and where the report is."""
    from concept_icd.artifacts import read_json
    from concept_icd.report import Results
    from concept_icd.report.terminal import print_results

    print_results(Results.from_dict(read_json(report.with_name("results.json"))))
    print(f"report: {report}")
