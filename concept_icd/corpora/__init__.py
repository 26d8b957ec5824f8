"""Corpora as `CodedNote` records: one module a source, a store for what `concept-icd prepare` writes.

    >>> from concept_icd.corpora import synthetic_notes
    >>> [coded.note.note_id for coded in synthetic_notes(notes=2, seed=0)]
    ['synthetic-0-00000', 'synthetic-0-00001']

`read_corpus` stops at the first bad note; `read_corpus_leniently` reads the others and lists the failures. They
know nothing of models, concepts or metrics. CodiEsp needs the equivalence maps beside it and is read by `read_codiesp`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from concept_icd.corpora import cmc2007, jsonl, text
from concept_icd.corpora.cmc2007 import read_cmc2007
from concept_icd.corpora.codiesp import read_codiesp
from concept_icd.corpora.jsonl import read_jsonl
from concept_icd.corpora.reading import Entry, Failure, leniently, strictly
from concept_icd.corpora.store import Corpus, load_corpus, save_corpus
from concept_icd.corpora.synthetic.notes import synthetic_codes, synthetic_notes
from concept_icd.corpora.tables import csv_entries, json_entries, parquet_entries
from concept_icd.corpora.text import read_text_folder
from concept_icd.errors import InputError, did_you_mean
from concept_icd.files import ending, lines, printable
from concept_icd.ontology.tree import DEFAULT
from concept_icd.outputs import MANIFEST
from concept_icd.records import CodedNote

__all__ = [
    "FORMATS",
    "Corpus",
    "Failure",
    "load_corpus",
    "read_cmc2007",
    "read_codiesp",
    "read_corpus",
    "read_corpus_leniently",
    "read_jsonl",
    "read_text_folder",
    "save_corpus",
    "synthetic_codes",
    "synthetic_notes",
]

#: What `format` may be; "csv" is any table of text, "parquet" is Feather too, "json-list" a list of records,
#: "prepared" a folder written by `concept-icd prepare`.
FORMATS = ("cmc2007", "jsonl", "csv", "parquet", "json-list", "text", "prepared")
#: Ending, without .gz -> format. What ends otherwise has to be told.
ENDINGS: Mapping[str, str] = {
    ".xml": "cmc2007",
    **dict.fromkeys((".jsonl", ".ndjson", ".jsonlines"), "jsonl"),
    **dict.fromkeys((".csv", ".tsv", ".psv", ".tab"), "csv"),
    **dict.fromkeys((".parquet", ".pq", ".feather", ".arrow"), "parquet"),
    ".json": "json-list",
    **dict.fromkeys(text.ENDINGS, "text"),
}


def read_corpus(
    path: str | Path,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    classification: str = DEFAULT,
) -> list[CodedNote]:
    """The notes of a corpus, in its order.

    Args:
        format: one of `FORMATS`; by default it follows from what is there (see `format_of`).
        columns: of a table or of JSON lines: a field such as "text" -> the file's name for it.
        classification: of the codes there; a prepared folder says it itself.

    Raises:
        InputError: nothing readable there, or the first note that cannot be read.
    """
    return strictly(entries(Path(path), format, columns, classification))


def read_corpus_leniently(
    path: str | Path,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    classification: str = DEFAULT,
) -> tuple[list[CodedNote], list[Failure]]:
    """Like `read_corpus`, but a note that cannot be read does not stop the others: it is listed as a failure.

    Raises:
        InputError: the corpus as a whole cannot be read (missing, malformed XML, damaged folder).
    """
    return leniently(entries(Path(path), format, columns, classification))


def format_of(path: str | Path) -> str:
    """The format of what is at `path`: by the manifest or the .xml files of a folder, else by the file's ending.

    Raises:
        InputError: nothing is there, or the ending tells no format: such a file is not taken for one note.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"cannot read {printable(path)}: no such file or folder")
    if path.is_dir():
        if (path / MANIFEST).is_file():
            return "prepared"
        return "cmc2007" if any((path / name).is_file() for name in cmc2007.SPLITS) else "text"
    found = ENDINGS.get(ending(path))
    if found is None:
        raise InputError(
            f"{printable(path)}: its ending does not tell what it is; name it with --format: {', '.join(FORMATS)}"
        )
    return "jsonl" if found == "json-list" and _is_json_lines(path) else found


def _is_json_lines(path: Path) -> bool:
    """Whether the first line of a .json file is an object, and not the only one."""
    start = [line for _, line in itertools.islice(lines(path, json=True), 2)]
    try:
        return len(start) == 2 and isinstance(json.loads(start[0]), dict)
    except (ValueError, RecursionError):
        return False


def entries(
    path: Path,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    classification: str = DEFAULT,
) -> Iterator[Entry]:
    """One entry a note, as `read_corpus` reads them; see `reading`."""
    told, format = format is not None, format or format_of(path)
    tables = {"jsonl": jsonl.entries, "csv": csv_entries, "parquet": parquet_entries, "json-list": json_entries}
    if format in tables:
        return tables[format](path, columns, classification)
    if columns:
        raise InputError(f"{printable(path)} is read as {format}, which has no columns to be named")
    if format == "cmc2007":
        return cmc2007.entries(path)
    if format == "text":
        return text.entries(path, told=told)
    if format == "prepared":
        return iter(load_corpus(path).notes)
    raise InputError(f"no corpus format {format!r}{did_you_mean(format, FORMATS)}; formats: {', '.join(FORMATS)}")
