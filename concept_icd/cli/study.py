"""`concept-icd study`: whole studies of a paper, one command each."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

HELP = "run a study: every strategy for codes from medications, beside the dummy, with its analyses and a report"
EXAMPLE = "concept-icd study medications --stays runs/stays --strategies multitask per-level --out runs/medications"
INPUTS = ("stays", "strategies")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares one sub-verb a study."""
    studies = parser.add_subparsers(dest="study", metavar="medications", required=True)
    what = "codes of every level from the drugs, sex and age of a stay (Marcou et al. 2024)"
    study = studies.add_parser("medications", help=what, description=f"Predicts {what}.")
    prepared = "folder written by `concept-icd prepare medications`"
    study.add_argument("--stays", type=Path, required=True, metavar="DIR", help=prepared)
    study.add_argument("--out", type=Path, required=True, metavar="DIR", help="the same command resumes it")
    names = "strategies: shipped names or YAML files (default: every shipped one)"
    study.add_argument("--strategies", nargs="+", metavar="NAME", help=names)
    kinds = "patient (default): draws of patients; stay: the paper's draws; folds: every patient is tested once"
    study.add_argument("--split-by", choices=("patient", "stay", "folds"), default="patient", help=kinds)
    study.add_argument("--folds", type=int, default=3, metavar="N", help="how many (default: 3)")
    held = "dev stays, and test stays, of a draw (default: the paper's share)"
    study.add_argument("--held-out", type=int, metavar="N", help=held)
    chosen = (
        "target metrics that epochs and options are chosen by on dev stays: ndcg, micro_auprc, macro_auprc, micro_auc, "
        "macro_auc, micro_f1, macro_f1; of several, every strategy is run for each (default: the strategy's, ndcg)"
    )
    study.add_argument("--select", nargs="+", metavar="METRIC", help=chosen)
    searched = "search the options of every strategy in every fold by Hyperband, as the study did: about 1,500 networks"
    study.add_argument("--search", action="store_true", help=searched)
    most = "most epochs of the search, by which it draws its options (default: 150)"
    study.add_argument("--search-epochs", type=int, default=150, metavar="N", help=most)
    study.add_argument("--search-iterations", type=int, default=2, metavar="N", help="of the search (default: 2)")
    study.add_argument("--search-executions", type=int, default=3, metavar="N", help="of each draw (default: 3)")
    study.add_argument("--units", type=int, help="units of a layer, instead of the strategy's; of a search, the most")
    study.add_argument("--epochs", type=int, help="most epochs, instead of the strategy's")
    subset = "stays that a code needs to be in the subset (default: 100, as in the paper)"
    study.add_argument("--subset-from", type=int, default=100, metavar="N", help=subset)
    study.add_argument("--draws", type=int, default=1000, help="most samples for intervals (default: 1000)")
    study.add_argument("--seed", type=int, default=0, help="of folds, weights and draws (default: 0)")
    study.add_argument("--device", help="cpu, cuda, ...; default: a GPU where there is one")


def run(args: argparse.Namespace) -> int:
    """Runs what is not done yet, prints the billing codes' figures and names the report."""
    import sys

    from concept_icd.artifacts import sha256
    from concept_icd.errors import InputError
    from concept_icd.medications.folder import load_stays
    from concept_icd.medications.model import device_of
    from concept_icd.medications.strategy import read_strategy, shipped_strategies
    from concept_icd.medications.study.page import print_study, render_study
    from concept_icd.medications.study.run import monte_carlo_folds, patient_folds
    from concept_icd.medications.study.search import Hyperband
    from concept_icd.medications.study.study import run_study
    from concept_icd.medications.targets import subset
    from concept_icd.outputs import MANIFEST, new_file

    for name in ("folds", "draws", "subset_from"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(args, name)}: a number from 1 up is needed")
    hyperband = None
    if args.search:
        hyperband = Hyperband(args.search_epochs, 3, args.search_iterations, args.search_executions)
    device = device_of(args.device)
    changes = {key: value for key, value in (("units", args.units), ("epochs", args.epochs)) if value is not None}
    strategies = {}
    for name in args.strategies or shipped_strategies():
        for select in args.select or [None]:
            own = changes if select is None else changes | {"select": select}
            by = f"-by-{select}" if len(args.select or ()) > 1 else ""
            strategies[f"{Path(name).stem}{by}"] = read_strategy(name, **own)
    strategies = {
        name: dataclasses.replace(own, subset_from=args.subset_from) if own.subset_from else own
        for name, own in strategies.items()
    }
    prepared = load_stays(args.stays)
    if not prepared.targets.nodes:
        raise InputError(f"{args.stays} was prepared without codes: there is nothing to learn from it")
    patients = prepared.stays.patient_ids
    folds = (
        patient_folds(patients, args.folds, args.seed)
        if args.split_by == "folds"
        else monte_carlo_folds(patients, args.seed, args.folds, args.split_by, args.held_out)
    )
    results = run_study(
        prepared.stays,
        prepared.targets,
        {f"fold-{number}": fold for number, fold in enumerate(folds)},
        strategies,
        args.out,
        kept=subset(prepared.targets, args.subset_from),
        hyperband=hyperband,
        seed=args.seed,
        device=device,
        draws=args.draws,
        inputs={"stays": sha256(args.stays / MANIFEST)},
        command=_command(args),
    )
    page = args.out / "report.html"
    with new_file(page) as staging:
        staging.write_text(render_study(results), encoding="utf-8")
    print_study(results, sys.stdout)
    print(f"report: {page}")
    return 0


def _command(args: argparse.Namespace) -> str:
    """The command of a study without its folders' paths, which are the machine's alone."""
    import shlex

    words = ["concept-icd", "study", "medications", "--stays", args.stays.name]
    if args.strategies:
        words += ["--strategies", *(Path(name).name for name in args.strategies)]
    if args.select:
        words += ["--select", *args.select]
    if args.search:
        words.append("--search")
    for name in (
        "split_by",
        "folds",
        "held_out",
        *(("search_epochs", "search_iterations", "search_executions") if args.search else ()),
        "units",
        "epochs",
        "subset_from",
        "draws",
        "seed",
    ):
        if (value := getattr(args, name)) is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)
