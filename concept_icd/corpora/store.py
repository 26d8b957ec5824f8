"""A prepared corpus: a folder with `notes.parquet` and `manifest.json`, what every later stage reads.

Codes are strings in every column, so that "001.0" and "04.07" come back as they went in.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_icd.artifacts import read_manifest, sha256, write_manifest
from concept_icd.errors import InputError
from concept_icd.ontology.tree import DEFAULT
from concept_icd.outputs import new_folder
from concept_icd.records import CodedNote, Mention, Note, OneLine

if TYPE_CHECKING:
    import pyarrow as pa

NOTES = "notes.parquet"
#: Raised when the columns change, so that an older package says so instead of misreading.
FORMAT_VERSION = 2
#: Notes that are turned into a row group, and back, at a time: a corpus of 50,000 long notes stays small in memory.
ROWS = 1000


@dataclass(frozen=True, repr=False)
class Corpus(OneLine):
    """The notes of a prepared folder, in order, and its manifest."""

    notes: tuple[CodedNote, ...]
    manifest: Mapping[str, Any]

    @property
    def label_set(self) -> tuple[str, ...] | None:
        """The labels that predictions are measured on, where the corpus fixes them (a benchmark's), or None."""
        labels = self.manifest.get("label_set")
        return None if labels is None else tuple(labels)

    @property
    def aliases(self) -> dict[str, str]:
        """Label -> the code that it means, for the labels that are not spelled as their code."""
        return dict(self.manifest.get("aliases") or {})

    @property
    def classification(self) -> str:
        """Name of the ontology of its codes."""
        name: str = self.manifest.get("classification", DEFAULT)
        return name

    @property
    def task(self) -> str | None:
        """The name of the benchmark that the corpus was prepared for, or None."""
        task: str | None = self.manifest.get("task")
        return task

    def split(self, name: str) -> tuple[CodedNote, ...]:
        """The notes of one split: "train", "dev" or "test"."""
        return tuple(note for note in self.notes if note.split == name)


class CorpusCounts:
    """Counts notes as they pass."""

    def __init__(self) -> None:
        self._notes = self._coded = self._labels = 0
        self._patients: set[str] = set()
        self._diagnoses: set[str] = set()
        self._procedures: set[str] = set()
        self._splits: Counter[str] = Counter()

    def counting(self, notes: Iterable[CodedNote]) -> Iterator[CodedNote]:
        """The same notes, counted."""
        for note in notes:
            self._notes += 1
            self._coded += bool(note.codes)
            self._labels += len(note.codes)
            if note.note.patient_id is not None:
                self._patients.add(note.note.patient_id)
            self._diagnoses.update(note.diagnoses)
            self._procedures.update(note.procedures)
            self._splits[note.split or "none"] += 1
            yield note

    def to_dict(self) -> dict[str, Any]:
        """Notes (all, with codes), patients, distinct codes, labels, and notes per split ("none": no split)."""
        return {
            "notes": self._notes,
            "coded_notes": self._coded,
            "patients": len(self._patients),
            "diagnosis_codes": len(self._diagnoses),
            "procedure_codes": len(self._procedures),
            "labels": self._labels,
            "labels_per_coded_note": round(self._labels / self._coded, 3) if self._coded else 0.0,
            "splits": dict(sorted(self._splits.items())),
        }


def save_corpus(
    folder: str | Path,
    notes: Iterable[CodedNote],
    *,
    inputs: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int | None = None,
    seconds: float = 0.0,
    overwrite: bool = False,
    label_set: Sequence[str] | None = None,
    aliases: Mapping[str, str] | None = None,
    task: str | None = None,
    classification: str = DEFAULT,
    checks: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Writes the folder, by rename, reading `notes` once and holding few of them; returns its counts.

    Args:
        inputs: what was read (name -> SHA-256). config: the resolved options. seconds: time of reading.
        label_set, aliases, task, classification: see `Corpus`. checks: what was compared with published counts, and
            what came out.

    Raises:
        InputError: no notes, or the folder exists and `overwrite` is False.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    strings = pa.list_(pa.string())
    schema = pa.schema(
        [
            pa.field("note_id", pa.string(), nullable=False),
            ("patient_id", pa.string()),
            pa.field("text", pa.string(), nullable=False),
            ("age", pa.float64()),
            ("sex", pa.string()),
            ("drugs", strings),
            ("diagnoses", strings),
            ("procedures", strings),
            ("annotations", pa.string()),  # JSON: annotator -> codes
            ("split", pa.string()),
            ("principal", pa.string()),
            ("evidence", pa.string()),  # JSON: [code, [[start, end] ...]] of each mention; older folders lack it
        ]
    )
    counts = CorpusCounts()
    rest = counts.counting(notes)
    with new_folder(folder, "prepare", overwrite=overwrite) as staging:
        # Arrow takes no path whose name is not UTF-8, but it takes a file.
        with (staging / NOTES).open("wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            while rows := list(itertools.islice(rest, ROWS)):
                writer.write_table(_table(rows, schema))
        if not counts.to_dict()["notes"]:
            raise InputError(f"there are no notes to write to {folder}")
        benchmark = {"label_set": label_set and list(label_set), "aliases": aliases and dict(aliases), "task": task}
        benchmark |= {"classification": classification} if classification != DEFAULT else {}
        write_manifest(
            staging,
            "prepare",
            inputs=inputs or {},
            config=config or {},
            seed=seed,
            seconds=seconds,
            format_version=FORMAT_VERSION,
            counts=counts.to_dict(),
            **{name: value for name, value in benchmark.items() if value},
            **({"checks": [dict(check) for check in checks]} if checks else {}),
            files={NOTES: sha256(staging / NOTES)},
        )
    return counts.to_dict()


def _table(notes: Sequence[CodedNote], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    rows = [
        {
            "note_id": coded.note.note_id,
            "patient_id": coded.note.patient_id,
            "text": coded.note.text,
            "age": coded.note.age,
            "sex": coded.note.sex,
            "drugs": coded.note.drugs,
            "diagnoses": coded.diagnoses,
            "procedures": coded.procedures,
            "annotations": json.dumps({name: list(codes) for name, codes in coded.annotations.items()}),
            "split": coded.split,
            "principal": coded.principal,
            "evidence": json.dumps([[mention.code, mention.spans] for mention in coded.evidence]),
        }
        for coded in notes
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def load_corpus(folder: str | Path) -> Corpus:
    """Reads a folder that `save_corpus` wrote.

    Raises:
        InputError: not such a folder, another version's, or its notes are damaged.
    """
    manifest = read_manifest(folder, "prepare")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{folder} has corpus format {manifest.get('format_version')}, this version of concept-icd reads "
            f"{FORMAT_VERSION}; run `concept-icd prepare` again"
        )
    path = Path(folder) / NOTES
    if not path.is_file() or sha256(path) != manifest.get("files", {}).get(NOTES):
        raise InputError(f"{path} is missing or not the one of the manifest; run `concept-icd prepare` again")

    import pyarrow.parquet as pq

    with path.open("rb") as stored, pq.ParquetFile(stored) as file:
        rows = (row for batch in file.iter_batches(ROWS) for row in batch.to_pylist())
        return Corpus(tuple(_coded_note(row) for row in rows), manifest)


def require_classification(folder: str | Path, name: str) -> None:
    """Refuses a prepared corpus whose gold codes are of another classification; without codes it may be read by any.

    Args:
        name: of the classification of what is to read it: concepts, scores or a coder.

    Raises:
        InputError: it is coded in another one, or no prepared folder.
    """
    corpus = Corpus((), read_manifest(folder, "prepare"))
    if corpus.manifest["counts"]["labels"] and corpus.classification != name:
        raise InputError(f"{folder} is coded in {corpus.classification}, not in {name}")


def _coded_note(row: dict[str, Any]) -> CodedNote:
    note = Note(row["note_id"], row["text"], row["patient_id"], row["age"], row["sex"], tuple(row["drugs"]))
    annotations = {name: tuple(codes) for name, codes in json.loads(row["annotations"]).items()}
    evidence = tuple(
        Mention(code, tuple((start, end) for start, end in spans))
        for code, spans in json.loads(row.get("evidence") or "[]")
    )
    diagnoses, procedures = (tuple(row[kind]) for kind in ("diagnoses", "procedures"))
    return CodedNote(note, diagnoses, procedures, annotations, row["split"], row["principal"], evidence)
