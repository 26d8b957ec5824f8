"""Corpora as `CodedNote` records: one module a source, a store for what `concept-icd prepare` writes.

    >>> from concept_icd.corpora import synthetic
    >>> [coded.note.note_id for coded in synthetic(notes=2, seed=0)]
    ['synthetic-0-00000', 'synthetic-0-00001']

`read_corpus` stops at the first bad note; `read_corpus_leniently` reads the others and lists the failures. They
know nothing of models, concepts or metrics. CodiEsp needs the equivalence maps beside it and is read by `read_codiesp`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from concept_icd.artifacts import MANIFEST
from concept_icd.corpora import cmc2007, jsonl, text
from concept_icd.corpora.cmc2007 import read_cmc2007
from concept_icd.corpora.codiesp import read_codiesp
from concept_icd.corpora.jsonl import read_jsonl
from concept_icd.corpora.reading import Entry, Failure, leniently, strictly
from concept_icd.corpora.store import Corpus, load_corpus, save_corpus
from concept_icd.corpora.synthetic_notes import synthetic, synthetic_codes
from concept_icd.corpora.text import read_text_folder
from concept_icd.errors import InputError, did_you_mean
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
    "synthetic",
    "synthetic_codes",
]

#: What `format` may be; "prepared" is a folder written by `concept-icd prepare`.
FORMATS = ("cmc2007", "jsonl", "text", "prepared")


def read_corpus(path: str | Path, format: str | None = None) -> list[CodedNote]:
    """The notes of a corpus, in its order.

    Args:
        format: one of `FORMATS`; by default it follows from what is there (see `format_of`).

    Raises:
        InputError: nothing readable there, or the first note that cannot be read.
    """
    return strictly(_entries(Path(path), format))


def read_corpus_leniently(path: str | Path, format: str | None = None) -> tuple[list[CodedNote], list[Failure]]:
    """Like `read_corpus`, but a note that cannot be read does not stop the others: it is listed as a failure.

    Raises:
        InputError: the corpus as a whole cannot be read (missing, malformed XML, damaged folder).
    """
    return leniently(_entries(Path(path), format))


def format_of(path: str | Path) -> str:
    """The format of what is at `path`: by the manifest or the .xml files of a folder, else by the file's ending.

    Raises:
        InputError: nothing is there.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"cannot read {path}: no such file or folder")
    if path.is_dir():
        if (path / MANIFEST).is_file():
            return "prepared"
        return "cmc2007" if any((path / name).is_file() for name in cmc2007.SPLITS) else "text"
    if path.suffix == ".xml":
        return "cmc2007"
    return "jsonl" if path.name.endswith((".jsonl", ".jsonl.gz")) else "text"


def _entries(path: Path, format: str | None) -> Iterator[Entry]:
    format = format or format_of(path)
    if format == "cmc2007":
        return cmc2007.entries(path)
    if format == "jsonl":
        return jsonl.entries(path)
    if format == "text":
        return text.entries(path)
    if format == "prepared":
        return iter(load_corpus(path).notes)
    raise InputError(f"no corpus format {format!r}{did_you_mean(format, FORMATS)}; formats: {', '.join(FORMATS)}")
