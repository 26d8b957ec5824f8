"""A prepared corpus: a folder with `notes.parquet` and `manifest.json`, what every later stage reads.

Codes are strings in every column, so that "001.0" and "04.07" come back as they went in.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concept_icd.artifacts import new_folder, read_manifest, sha256, write_manifest
from concept_icd.errors import InputError
from concept_icd.records import CodedNote, Note

NOTES = "notes.parquet"
#: Raised when the columns change, so that an older package says so instead of misreading.
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Corpus:
    """The notes of a prepared folder, in order, and its manifest."""

    notes: tuple[CodedNote, ...]
    manifest: Mapping[str, Any]

    def split(self, name: str) -> tuple[CodedNote, ...]:
        """The notes of one split: "train", "dev" or "test"."""
        return tuple(note for note in self.notes if note.split == name)


def corpus_counts(notes: Sequence[CodedNote]) -> dict[str, Any]:
    """Notes (all, with codes), patients, distinct codes, labels and notes per split ("none": no split)."""
    coded = sum(bool(note.codes) for note in notes)
    labels = sum(len(note.codes) for note in notes)
    return {
        "notes": len(notes),
        "coded_notes": coded,
        "patients": len({note.note.patient_id for note in notes} - {None}),
        "diagnosis_codes": len({code for note in notes for code in note.diagnoses}),
        "procedure_codes": len({code for note in notes for code in note.procedures}),
        "labels": labels,
        "labels_per_coded_note": round(labels / coded, 3) if coded else 0.0,
        "splits": dict(sorted(Counter(note.split or "none" for note in notes).items())),
    }


def save_corpus(
    folder: str | Path,
    notes: Sequence[CodedNote],
    *,
    inputs: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int | None = None,
    seconds: float = 0.0,
    overwrite: bool = False,
) -> None:
    """Writes the folder, by rename.

    Args:
        inputs: what was read (name -> SHA-256). config: the resolved options. seconds: time of reading.

    Raises:
        InputError: no notes, or the folder exists and `overwrite` is False.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not notes:
        raise InputError(f"there are no notes to write to {folder}")
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
        ]
    )
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
        }
        for coded in notes
    ]
    with new_folder(folder, overwrite=overwrite) as staging:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), staging / NOTES, compression="zstd")
        write_manifest(
            staging,
            "prepare",
            inputs=inputs or {},
            config=config or {},
            seed=seed,
            seconds=seconds,
            format_version=FORMAT_VERSION,
            counts=corpus_counts(notes),
            files={NOTES: sha256(staging / NOTES)},
        )


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

    return Corpus(tuple(_coded_note(row) for row in pq.read_table(path).to_pylist()), manifest)


def _coded_note(row: dict[str, Any]) -> CodedNote:
    note = Note(row["note_id"], row["text"], row["patient_id"], row["age"], row["sex"], tuple(row["drugs"]))
    annotations = {name: tuple(codes) for name, codes in json.loads(row["annotations"]).items()}
    return CodedNote(note, tuple(row["diagnoses"]), tuple(row["procedures"]), annotations, row["split"])
