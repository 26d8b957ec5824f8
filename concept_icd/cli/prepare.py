"""`concept-icd prepare`: reads a corpus, checks it, and writes it as a folder that the later stages read."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_icd.cli.options import add_classification, add_columns, add_output, columns_of
from concept_icd.corpora.codiesp_tasks import TASKS as CODIESP_TASKS
from concept_icd.corpora.codiesp_tracks import TRACKS
from concept_icd.corpora.mimic3.tasks import TASKS
from concept_icd.errors import InputError, counted
from concept_icd.ontology.tree import DEFAULT

if TYPE_CHECKING:
    from concept_icd.records import CodedNote

EXAMPLE = "concept-icd prepare jsonl notes.jsonl --out runs/notes"
INPUTS = ("path", "codiesp_dir", "maps_dir", "mimic_dir", "splits_dir")

SOURCES = {
    "cmc2007": "the XML file, or the folder with train.xml and test_without_codes.xml, of the CMC 2007 challenge",
    "jsonl": "a file of JSON lines: note_id, text and, where known, diagnoses, procedures, patient_id, split ...",
    "csv": "a table of text with a column a field, cells parted by comma, semicolon, tab or |: CSV, TSV",
    "parquet": "a Parquet or Feather file with a column a field",
    "json-list": "a JSON file that holds a list of notes",
    "text": "a folder of .txt files, or one file: notes without codes",
}
#: Those with columns or fields that may have other names.
WITH_COLUMNS = ("jsonl", "csv", "parquet", "json-list")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares one sub-verb a source."""
    names = "|".join((*SOURCES, "codiesp", "mimic3"))
    sources = parser.add_subparsers(dest="source", metavar=names, required=True)
    for name, what in SOURCES.items():
        source = sources.add_parser(name, help=what, description=f"Reads {what}.")
        source.add_argument("path", type=Path, metavar="PATH", help=what)
        if name in WITH_COLUMNS:
            add_columns(source)
            add_classification(source)
        add_output(source)
    what = "CodiEsp's cases with their ICD-10 codes, or a named benchmark of their diagnoses carried to ICD-9-CM"
    codiesp = sources.add_parser("codiesp", help=what, description=f"Prepares {what}.")
    codiesp.add_argument("--task", required=True, metavar="NAME", help=", ".join((*TRACKS, *CODIESP_TASKS)))
    told = "es, the official text with the passages of the codes, or en, its translation (default: es for {}, en else)"
    codiesp.add_argument("--language", choices=("es", "en"), help=told.format(", ".join(TRACKS)))
    folder = "the published folder final_dataset_v4_to_publish (with train, dev, test), or train.jsonl.gz and so on"
    codiesp.add_argument("--codiesp-dir", type=Path, required=True, metavar="DIR", help=folder)
    folder = "of codiesp9 tasks: the folder with icd10cmtoicd9gem.csv and icd9toicd10cmgem.csv, plain or gzipped"
    codiesp.add_argument("--maps-dir", type=Path, metavar="DIR", help=folder)
    add_output(codiesp)
    what = "a named benchmark of MIMIC-III from its raw tables and the admission lists of its paper"
    mimic3 = sources.add_parser("mimic3", help=what, description=f"Prepares {what}.")
    folder = "the folder with the tables (NOTEEVENTS.csv.gz, DIAGNOSES_ICD.csv.gz ...; .csv or .csv.gz)"
    mimic3.add_argument("--mimic-dir", type=Path, required=True, metavar="DIR", help=folder)
    tasks = ", ".join(TASKS)
    mimic3.add_argument("--task", required=True, metavar="NAME", help=f"{tasks} (the last without notes)")
    lists = "the folder with the admission lists, at any depth: a checkout of the paper's repository, for one"
    mimic3.add_argument("--splits-dir", type=Path, metavar="DIR", help=lists)
    memory = "about how much memory the command may take, 2GB or more (default: 3GB); temporary files go beside --out"
    mimic3.add_argument("--memory", default="3GB", metavar="SIZE", help=memory)
    add_output(mimic3)


def run(args: argparse.Namespace) -> int:
    """Reads the whole corpus, then writes the folder; the first note that cannot be read is an InputError."""
    from concept_icd.outputs import require_replaceable

    if args.overwrite:  # before the long reading
        require_replaceable(args.out, "prepare", overwrite=True)
    if args.source == "mimic3":
        return _run_mimic3(args)
    if args.source == "codiesp":
        return _run_codiesp(args)
    from concept_icd.corpora import read_corpus
    from concept_icd.files import printable

    started, columns = time.monotonic(), columns_of(args)
    classification = getattr(args, "classification", DEFAULT)
    notes = read_corpus(args.path, args.source, columns, classification)
    config = {"source": args.source, "path": printable(args.path), **({"columns": columns} if columns else {})}
    return write_corpus(args, notes, started, inputs=_hash(args.path), config=config, classification=classification)


def write_corpus(
    args: argparse.Namespace,
    notes: Sequence[CodedNote],
    started: float,
    *,
    classification: str = DEFAULT,
    **facts: Any,
) -> int:
    """Writes the folder of these notes with the facts of its manifest, and prints what is in it."""
    from concept_icd.corpora import save_corpus

    checks = code_checks(notes, classification)
    facts["classification"] = classification
    seconds = time.monotonic() - started
    counts = save_corpus(args.out, notes, seconds=seconds, overwrite=args.overwrite, checks=checks, **facts)
    if args.json:
        print(json.dumps({"folder": str(args.out), "counts": counts, **({"checks": checks} if checks else {})}))
    else:
        _print(args.out, counts)
        print(*(check["why"] + "\n" for check in checks), sep="", end="")
    return 0


def code_checks(notes: Sequence[CodedNote], classification: str) -> list[dict[str, Any]]:
    """What is to be told of gold codes that cannot be billed, as a check of the manifest; nothing where all can."""
    from concept_icd.ontology.code_checks import not_billable
    from concept_icd.ontology.tree import load_ontology

    counts = Counter(code for coded in notes for code in coded.codes)
    why = not_billable(counts, load_ontology(classification), "gold assignments")
    return (
        [{"name": "gold codes that cannot be billed", "found": why, "published": None, "ok": True, "why": why}]
        if why
        else []
    )


def _run_codiesp(args: argparse.Namespace) -> int:
    """A track or a named benchmark; told in words what became of the ICD-10 codes."""
    from concept_icd.corpora.codiesp_tasks import prepare_codiesp
    from concept_icd.corpora.codiesp_tracks import LANGUAGE, prepare_track
    from concept_icd.corpora.mimic3.checks import in_words

    if args.task in TRACKS:
        counts, checks = prepare_track(
            args.codiesp_dir, args.task, args.out, language=args.language or LANGUAGE, overwrite=args.overwrite
        )
    else:
        if args.language == "es":
            raise InputError(f"{args.task} is of the translation: leave out --language, or name {', '.join(TRACKS)}")
        if not args.maps_dir and args.task in CODIESP_TASKS:
            raise InputError(f"{args.task} carries codes to ICD-9-CM: name the folder of the maps with --maps-dir")
        counts, checks = prepare_codiesp(args.codiesp_dir, args.maps_dir, args.task, args.out, overwrite=args.overwrite)
    if args.json:
        print(json.dumps({"folder": str(args.out), "counts": counts, "checks": checks}))
        return 0
    _print(args.out, counts)
    print(*map(in_words, checks), sep="\n")
    return 0


def _run_mimic3(args: argparse.Namespace) -> int:
    """A named benchmark; told in words what was found beside what is published."""
    from concept_icd.corpora.mimic3.checks import in_words
    from concept_icd.corpora.mimic3.prepare import bytes_of, prepare_mimic3

    prepared = prepare_mimic3(
        args.mimic_dir,
        args.task,
        args.out,
        splits_dir=args.splits_dir,
        memory=bytes_of(args.memory),
        overwrite=args.overwrite,
    )
    if args.json:
        whole = {"folder": str(args.out), "counts": prepared.counts, "checks": prepared.checks}
        print(json.dumps(whole | {"reused": prepared.reused}))
        return 0
    _print(args.out, dict(prepared.counts))
    # What was looked for and does not occur stands in the manifest alone.
    worth_a_line = (check for check in prepared.checks if check["found"] or check["published"] is not None)
    print(*map(in_words, worth_a_line), sep="\n")
    if prepared.reused:
        print(f"{args.out} is complete: the same tables, lists and task made it, and nothing was written")
    return 0


def _hash(path: Path) -> dict[str, str]:
    """Its name and, of a file its SHA-256, of a folder that of its notes' and .xml files' names and hashes."""
    from concept_icd.artifacts import hash_of, sha256
    from concept_icd.corpora.cmc2007 import SPLITS
    from concept_icd.corpora.text import note_files
    from concept_icd.files import printable

    name = printable(path.name)
    if path.is_file():
        return {name: sha256(path)}
    files = [path / split for split in SPLITS if (path / split).is_file()] or note_files(path)[0]
    return {name: hash_of({printable(file.relative_to(path)): sha256(file) for file in files})}


def _print(folder: Path, counts: dict[str, Any]) -> None:
    splits = ", ".join(f"{name} {number:,}" for name, number in counts["splits"].items())
    patients = counted(counts["patients"], "patient") if counts["patients"] else "unnamed patients"
    print(f"{folder}: {counted(counts['notes'], 'note')} of {patients} ({splits})")
    print(
        f"{counted(counts['labels'], 'label')}, {counts['labels_per_coded_note']:.2f} a coded note: "
        f"{counted(counts['diagnosis_codes'], 'diagnosis code')}, "
        f"{counted(counts['procedure_codes'], 'procedure code')}"
    )
