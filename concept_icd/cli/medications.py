"""`concept-icd medications`: codes of stays from their drugs, sex and age (Marcou et al. 2024).

`prepare` makes the folder of stays, `study` trains every strategy of the network on it, `code` ranks the codes of new
stays by a network of a study.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from concept_icd.cli.old_names import OldOption
from concept_icd.cli.options import add_output, require_positive
from concept_icd.errors import counted

if TYPE_CHECKING:
    from concept_icd.medications.folder import PreparedStays

EXAMPLE = """concept-icd medications prepare --mimic-dir MIMIC_DIR --out runs/stays
  concept-icd medications study --stays runs/stays --strategies multitask per-level --out runs/medications
  concept-icd medications prepare --mimic-dir NEW_DIR --without-codes --out runs/new
  concept-icd medications code --model runs/medications/multitask/fold-0 --stays runs/new --out runs/codes.parquet"""
INPUTS = ("mimic_dir", "omop_dir", "vocabulary_dir", "stays", "strategies", "model")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-verb a step."""
    steps = parser.add_subparsers(metavar="prepare|study|code", required=True)
    what = "drugs, sex, age and diagnosis codes of stays, from MIMIC-III or OMOP tables"
    _add_prepare(steps.add_parser("prepare", help=what, description=f"Reads {what}."))
    what = "every strategy of the network, beside the dummy, with analyses and a report"
    _add_study(steps.add_parser("study", help=what, description=f"Trains {what}."))
    what = "the codes of stays by a network that `medications study` trained"
    _add_code(steps.add_parser("code", help=what, description=f"Ranks {what}."))


def run(args: argparse.Namespace) -> int:
    """Runs the step."""
    return int(args.step(args))


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(step=_prepare)
    source = parser.add_mutually_exclusive_group(required=True)
    mimic = "MIMIC-III's tables ADMISSIONS, PATIENTS, PRESCRIPTIONS, DIAGNOSES_ICD and, for wards, SERVICES"
    source.add_argument("--mimic-dir", type=Path, metavar="DIR", help=mimic)
    omop = "OMOP tables visit_occurrence, person, drug_exposure, condition_occurrence, concept, concept_ancestor"
    source.add_argument("--omop-dir", type=Path, metavar="DIR", help=omop)
    source.add_argument("--synthetic", type=int, action=OldOption, new="concept-icd synth stays", default=None)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)  # of `--synthetic`
    vocabulary = "an OMOP vocabulary (CONCEPT, CONCEPT_ANCESTOR; for MIMIC-III also CONCEPT_RELATIONSHIP)"
    parser.add_argument("--vocabulary-dir", type=Path, metavar="DIR", help=vocabulary)
    types = "drugs of OMOP tables: prescriptions (default, as the study), or all rows, administrations too"
    parser.add_argument("--drug-types", choices=("prescriptions", "all"), default="prescriptions", help=types)
    without = "stays whose codes are to be found by a trained network: their bills are not read"
    parser.add_argument("--without-codes", action="store_true", help=without)
    memory = "about how much memory the command may take, 2GB or more (default: 2GB)"
    parser.add_argument("--memory", default="2GB", metavar="SIZE", help=memory)
    add_output(parser)


def _prepare(args: argparse.Namespace) -> int:
    from concept_icd.corpora.mimic3.prepare import bytes_of
    from concept_icd.medications import prepare
    from concept_icd.outputs import require_replaceable

    if args.overwrite:  # before the long reading; without it, a folder that the same tables made is left as it is
        require_replaceable(args.out, "prepare medications", overwrite=True)
    if args.synthetic is not None:
        prepared = prepare.prepare_synthetic_stays(args.synthetic, args.seed, args.out, overwrite=args.overwrite)
    else:
        options = {
            "vocabulary_dir": args.vocabulary_dir,
            "codes": not args.without_codes,
            "memory": bytes_of(args.memory),
            "overwrite": args.overwrite,
        }
        if args.mimic_dir is not None:
            prepared = prepare.prepare_mimic_stays(args.mimic_dir, args.out, **options)
        else:
            prepared = prepare.prepare_omop_stays(args.omop_dir, args.out, drug_types=args.drug_types, **options)
    print_prepared(prepared, args)
    return 0


def print_prepared(prepared: PreparedStays, args: argparse.Namespace) -> None:
    """What was found, in words or as JSON."""
    from concept_icd.medications.prepare import sentences

    manifest = prepared.manifest
    if args.json:
        print(json.dumps({"folder": str(args.out), "counts": manifest["counts"], "checks": manifest["checks"]}))
    else:
        first, *others = sentences(prepared)
        print(f"{args.out}: {first}", *others, sep="\n")


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(step=_study)
    prepared = "folder written by `concept-icd medications prepare`"
    parser.add_argument("--stays", type=Path, required=True, metavar="DIR", help=prepared)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the same command resumes it")
    names = "strategies: shipped names or YAML files (default: every shipped one)"
    parser.add_argument("--strategies", nargs="+", metavar="NAME", help=names)
    kinds = "patient (default): draws of patients; stay: the paper's draws; folds: every patient is tested once"
    parser.add_argument("--split-by", choices=("patient", "stay", "folds"), default="patient", help=kinds)
    parser.add_argument("--folds", type=int, default=3, metavar="N", help="how many (default: 3)")
    held = "dev stays, and test stays, of a draw (default: the paper's share)"
    parser.add_argument("--held-out", type=int, metavar="N", help=held)
    chosen = (
        "target metrics that epochs and options are chosen by on dev stays: ndcg, micro_auprc, macro_auprc, micro_auc, "
        "macro_auc, micro_f1, macro_f1; of several, every strategy is run for each (default: the strategy's, ndcg)"
    )
    parser.add_argument("--select", nargs="+", metavar="METRIC", help=chosen)
    searched = "search the options of every strategy in every fold by Hyperband, as the study did: about 1,500 networks"
    parser.add_argument("--search", action="store_true", help=searched)
    most = "most epochs of the search, by which it draws its options (default: 150)"
    parser.add_argument("--search-epochs", type=int, default=150, metavar="N", help=most)
    parser.add_argument("--search-iterations", type=int, default=2, metavar="N", help="of the search (default: 2)")
    parser.add_argument("--search-executions", type=int, default=3, metavar="N", help="of each draw (default: 3)")
    parser.add_argument("--units", type=int, help="units of a layer, instead of the strategy's; of a search, the most")
    parser.add_argument("--epochs", type=int, help="most epochs, instead of the strategy's")
    subset = "stays that a code needs to be in the subset (default: 100, as in the paper)"
    parser.add_argument("--subset-from", type=int, default=100, metavar="N", help=subset)
    parser.add_argument("--draws", type=int, default=1000, help="most samples for intervals (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of folds, weights and draws (default: 0)")
    parser.add_argument("--device", help="cpu, cuda, ...; default: a GPU where there is one")


def _study(args: argparse.Namespace) -> int:
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

    require_positive(args, "folds", "draws", "subset_from")
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

    words = ["concept-icd", "medications", "study", "--stays", args.stays.name]
    if args.strategies:
        words += ["--strategies", *(Path(name).name for name in args.strategies)]
    if args.select:
        words += ["--select", *args.select]
    if args.search:
        words.append("--search")
    of_search = ("search_epochs", "search_iterations", "search_executions") if args.search else ()
    named = ("split_by", "folds", "held_out", *of_search, "units", "epochs", "subset_from", "draws", "seed")
    for name in named:
        if (value := getattr(args, name)) is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _add_code(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(step=_code)
    trained = "folder of the network: a strategy's fold in the folder of the study"
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help=trained)
    prepared = "folder written by `concept-icd medications prepare`; its codes, if any, are not read"
    parser.add_argument("--stays", type=Path, required=True, metavar="DIR", help=prepared)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="Parquet, a row a stay and code")
    parser.add_argument("--overwrite", action="store_true", help="replace the codes of --out if they are there")
    parser.add_argument("--top", type=int, default=50, metavar="N", help="codes a stay (default: 50)")
    which = "billing (default), all, chapter, section, category, subcategory or code"
    parser.add_argument("--nodes", default="billing", help=which)
    parser.add_argument("--device", help="cpu, cuda, ...; default: a GPU where there is one")


def _code(args: argparse.Namespace) -> int:
    """Writes the file and says what the network did not know."""
    from concept_icd.medications.folder import load_stays
    from concept_icd.medications.model import MedicationModel, device_of
    from concept_icd.medications.predictions import holds_codes, write_codes
    from concept_icd.outputs import require_new_file

    require_new_file(args.out, holds_codes, overwrite=args.overwrite)  # before any work
    require_positive(args, "top")
    model = MedicationModel.load(args.model, device_of(args.device))
    stays = load_stays(args.stays).stays
    unknown = write_codes(model, stays, args.out, top=args.top, nodes=args.nodes)
    told = f"; {len(unknown):,} of their drugs are not known to the network" if unknown else ""
    print(f"{args.out}: {counted(len(stays.stay_ids), 'stay')}{told}")
    return 0
