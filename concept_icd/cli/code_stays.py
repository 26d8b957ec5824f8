"""`concept-icd code-stays`: the codes of stays by a trained medication network."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "rank the codes of stays from their drugs, by a network that `study medications` trained"
EXAMPLE = "concept-icd code-stays --model runs/medications/multitask/fold-0 --stays runs/new --out runs/codes.parquet"
INPUTS = ("model", "stays")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A network, stays, and the file that they go to."""
    trained = "folder of the network: a strategy's fold in the folder of the study"
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help=trained)
    prepared = "folder written by `concept-icd prepare medications`; its codes, if any, are not read"
    parser.add_argument("--stays", type=Path, required=True, metavar="DIR", help=prepared)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="Parquet, a row a stay and code")
    parser.add_argument("--overwrite", action="store_true", help="replace the codes of --out if they are there")
    parser.add_argument("--top", type=int, default=50, metavar="N", help="codes a stay (default: 50)")
    which = "billing (default), all, chapter, section, category, subcategory or code"
    parser.add_argument("--nodes", default="billing", help=which)
    parser.add_argument("--device", help="cpu, cuda, ...; default: a GPU where there is one")


def run(args: argparse.Namespace) -> int:
    """Writes the file and says what the network did not know."""
    from concept_icd.errors import InputError
    from concept_icd.medications.folder import load_stays
    from concept_icd.medications.model import MedicationModel, device_of
    from concept_icd.medications.predictions import holds_codes, write_codes
    from concept_icd.outputs import require_new_file

    require_new_file(args.out, holds_codes, overwrite=args.overwrite)  # before any work
    if args.top < 1:
        raise InputError(f"--top {args.top}: a number from 1 up is needed")
    model = MedicationModel.load(args.model, device_of(args.device))
    stays = load_stays(args.stays).stays
    unknown = write_codes(model, stays, args.out, top=args.top, nodes=args.nodes)
    told = f"; {len(unknown):,} of their drugs are not known to the network" if unknown else ""
    print(f"{args.out}: {len(stays.stay_ids):,} stays{told}")
    return 0
