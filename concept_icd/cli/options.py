"""Options that several verbs share: how a corpus is read, where the output goes, and checks of numbers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from concept_icd.errors import InputError
from concept_icd.ontology.code_shapes import SHAPES
from concept_icd.ontology.tree import DEFAULT

if TYPE_CHECKING:
    from concept_icd.records import Note

#: Option -> the field of a note whose column it names.
COLUMNS = {
    "id": "note_id",
    "text": "text",
    "codes": "codes",
    "diagnoses": "diagnoses",
    "procedures": "procedures",
    "patient": "patient_id",
    "age": "age",
    "sex": "sex",
    "drugs": "drugs",
    "split": "split",
}


def add_format(parser: argparse.ArgumentParser, of: str = "the corpus") -> None:
    """`--format` and the columns."""
    formats = "cmc2007, jsonl, csv, parquet, json-list, text or prepared"
    parser.add_argument("--format", help=f"of {of}: {formats} (default: by what is there)")
    add_columns(parser)


def add_columns(parser: argparse.ArgumentParser) -> None:
    """`--id-column NAME` and so on; without them the usual names are taken, and the guess is said."""
    group = parser.add_argument_group("columns of a table, or fields of JSON lines, by their names in the file")
    for option, field in COLUMNS.items():
        group.add_argument(f"--{option}-column", metavar="NAME", help=f"holds {field}")


def columns_of(args: argparse.Namespace) -> dict[str, str]:
    """Field -> column, of those that were named."""
    named = ((field, getattr(args, f"{option}_column", None)) for option, field in COLUMNS.items())
    return {field: name for field, name in named if name is not None}


def add_classification(parser: argparse.ArgumentParser) -> None:
    """`--classification`, of the codes that a file lists."""
    what = "of the codes in the file (default: %(default)s)"
    parser.add_argument("--classification", choices=sorted(SHAPES), default=DEFAULT, help=what)


def add_output(parser: argparse.ArgumentParser) -> None:
    """`--out`, `--overwrite` and `--json` of a verb that writes a folder."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder if it exists")
    parser.add_argument("--json", action="store_true", help="print the counts as one JSON object")


def add_batch_sizes(parser: argparse.ArgumentParser) -> None:
    """`--chunk-tokens` and `--batch-tokens`, of the packed scorer."""
    chunk = "question tokens a pass; packed only; halved where memory runs out (default: 512)"
    parser.add_argument("--chunk-tokens", type=int, metavar="N", help=chunk)
    batch = "tokens a pass of all its notes; packed only (default: 8192, on a GPU what its free memory holds)"
    parser.add_argument("--batch-tokens", type=int, metavar="N", help=batch)


def notes_of(args: argparse.Namespace) -> list[Note]:
    """The notes of `--corpus` in `--splits`, the first `--limit` of them, without their gold codes.

    Raises:
        InputError: there is none.
    """
    from concept_icd.corpora import load_corpus

    notes = [coded.note for coded in load_corpus(args.corpus).notes if not args.splits or coded.split in args.splits]
    if not notes:
        raise InputError(f"{args.corpus} has no notes in the splits {', '.join(args.splits or ['(any)'])}")
    return notes[: args.limit]


def require_positive(args: argparse.Namespace, *names: str) -> None:
    """Refuses numbers below one.

    Raises:
        InputError: one of these options was given such a number.
    """
    for name in names:
        if (value := getattr(args, name)) is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} {value}: a number from 1 up is needed")


def positive(text: str) -> int:
    """The number that an option holds, from 1 up; for argparse's `type`.

    >>> positive("12")
    12
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
