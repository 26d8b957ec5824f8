"""`concept-icd demo`: the whole pipeline, small, with nothing but the package."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLE = "concept-icd demo"
INPUTS = ("data_dir",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to, and how many notes."""
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of all stages (default: runs/demo)")
    parser.add_argument("--notes", type=int, default=200, help="synthetic notes (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of everything (default: 0)")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="real reports instead: the folder of the CMC 2007 files"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the pipeline, codes the samples, and ends by naming the report."""
    from rich.console import Console

    from concept_icd.cli.code import print_result
    from concept_icd.coder.coder import ConceptCoder
    from concept_icd.corpora import read_cmc2007, read_text_folder, synthetic_notes
    from concept_icd.errors import InputError
    from concept_icd.pipeline import run_pipeline
    from concept_icd.resources import resource

    if args.notes < 100:
        raise InputError(f"--notes {args.notes}: the demo needs at least 100 to learn from")
    real = args.data_dir is not None
    out = args.out.with_name(f"{args.out.name}-cmc2007") if real and args.out == Path("runs/demo") else args.out
    config = "cmc2007-tiny" if real else "synthetic-tiny"
    report = run_pipeline(
        read_cmc2007(args.data_dir) if real else synthetic_notes(args.notes, args.seed),
        out,
        ["--config", config],
        title="CMC 2007 radiology reports" if real else "Demo on synthetic discharge summaries",
        seed=args.seed,
        command=f"concept-icd demo{' --data-dir DIR' if real else f' --notes {args.notes}'} --seed {args.seed}",
    )
    coder = ConceptCoder.from_pretrained(out / "coder")
    samples = read_text_folder(resource("examples/radiology" if real else "examples/discharge"))
    console = Console(stderr=False)
    for sample in samples[:2]:
        console.rule(sample.note.note_id)
        print(sample.note.text[:400].strip() + (" [...]" if len(sample.note.text) > 400 else ""))
        print_result(coder.code(sample.note, top_concepts=3, evidence=True), sample.note.text, 5, coder)
    _print_end(report, out / "coder")
    return 0


def _print_end(report: Path, coder: Path) -> None:
    """One figure, and where to go from here."""
    from concept_icd.artifacts import read_json
    from concept_icd.report.formatting import interval

    found = read_json(report.with_name("results.json"))
    for stamp in found["stamps"]:
        print(stamp)
    band = interval(found["intervals"].get("micro_f1"))
    print(
        f"micro-F1 {found['figures']['micro_f1']:.3f}{f' ({band})' if band else ''} on {found['counts']['notes']} "
        "notes that it never saw"
    )
    print(f"report: {report}")
    print(f"desk:   concept-icd serve --open --coder {coder}")
    print(f"next:   concept-icd code NOTE.txt --coder {coder}")
