"""`concept-icd prepare medications`: stays with their drugs, and codes at every level, for the medication network."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

HELP = "drugs, sex, age and diagnosis codes of stays, from MIMIC-III or OMOP tables, for the medication network"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares where the stays come from; the output's options are the verb's."""
    source = parser.add_mutually_exclusive_group(required=True)
    mimic = "MIMIC-III's tables ADMISSIONS, PATIENTS, PRESCRIPTIONS, DIAGNOSES_ICD and, for wards, SERVICES"
    source.add_argument("--mimic-dir", type=Path, metavar="DIR", help=mimic)
    omop = "OMOP tables visit_occurrence, person, drug_exposure, condition_occurrence, concept, concept_ancestor"
    source.add_argument("--omop-dir", type=Path, metavar="DIR", help=omop)
    source.add_argument("--synthetic", type=int, metavar="N", help="N generated stays instead")
    parser.add_argument("--seed", type=int, default=0, help="of the generated stays (default: 0)")
    vocabulary = "an OMOP vocabulary (CONCEPT, CONCEPT_ANCESTOR; for MIMIC-III also CONCEPT_RELATIONSHIP)"
    parser.add_argument("--vocabulary-dir", type=Path, metavar="DIR", help=vocabulary)
    types = "drugs of OMOP tables: prescriptions (default, as the study), or all rows, administrations too"
    parser.add_argument("--drug-types", choices=("prescriptions", "all"), default="prescriptions", help=types)
    without = "stays whose codes are to be found by a trained network: their bills are not read"
    parser.add_argument("--without-codes", action="store_true", help=without)
    memory = "about how much memory the command may take, 2GB or more (default: 2GB)"
    parser.add_argument("--memory", default="2GB", metavar="SIZE", help=memory)


def run(args: argparse.Namespace) -> int:
    """Writes the folder and says what was found."""
    from concept_icd.corpora.mimic3.prepare import bytes_of
    from concept_icd.medications import prepare

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
    if args.json:
        manifest = prepared.manifest
        print(json.dumps({"folder": str(args.out), "counts": manifest["counts"], "checks": manifest["checks"]}))
    else:
        first, *others = prepare.sentences(prepared)
        print(f"{args.out}: {first}", *others, sep="\n")
    return 0
