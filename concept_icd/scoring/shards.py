"""One shard of a store: a Parquet file that is whole or not there, and that knows when it was damaged or exchanged.

Columns: note_id; truncated; asked (list of int32: rows of the concepts that a plan asked; null: all of them); logits
(list of float32, one for each asked); failure (why the note could not be scored; asked and logits are null then);
computed and reused (prompt tokens).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from concept_icd.artifacts import new_file
from concept_icd.scoring.engines import Record, Shard
from concept_icd.scoring.scores import NoteFailure

SCHEMA = pa.schema(
    {
        "note_id": pa.string(),
        "truncated": pa.string(),
        "asked": pa.list_(pa.int32()),
        "logits": pa.list_(pa.float32()),
        "failure": pa.string(),
        "computed": pa.int64(),
        "reused": pa.int64(),
    }
)


def shard_path(folder: Path, number: int) -> Path:
    """Where a shard of a store lies."""
    return folder / "shards" / f"{number:05d}.parquet"


def write_shard(shard: Shard, records: Iterable[Record], identity: str) -> None:
    """Writes the records in the order of the shard's notes; the name comes last.

    Args:
        identity: of the run, as `read_shard` will be given it.

    Raises:
        InputError: the disk is full. RuntimeError: the engine did not give each note exactly one record.
    """
    records = list(records)
    found = {record.note_id: record for record in records}
    if len(records) != len(shard.notes) or found.keys() != {note.note_id for note in shard.notes}:
        raise RuntimeError(f"the engine gave {len(records)} records for the {len(shard.notes)} notes of {shard.path}")
    columns = zip(*(_row(found[note.note_id]) for note in shard.notes), strict=True)
    table = pa.table([pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)], SCHEMA)
    table = table.replace_schema_metadata({"sha256": _digest(table, shard.number, identity)})
    with new_file(shard.path) as staging:
        pq.write_table(table, staging, compression="zstd", use_dictionary=False, write_page_checksum=True)


def read_shard(path: Path, number: int, identity: str) -> pa.Table | None:
    """The shard, or None where it is missing, damaged, another shard or another run's."""
    try:
        table = pq.read_table(path, page_checksum_verification=True, partitioning=None)
        written = (table.schema.metadata or {})[b"sha256"].decode()
        whole = table.schema.equals(SCHEMA) and written == _digest(table, number, identity)
    except (OSError, pa.ArrowException, KeyError, ValueError, MemoryError):  # what a flipped byte can lead to
        return None
    return table if whole else None


def failures_of(table: pa.Table) -> dict[str, str]:
    """Note id -> why it could not be scored."""
    pairs = zip(table.column("note_id").to_pylist(), table.column("failure").to_pylist(), strict=True)
    return {note_id: reason for note_id, reason in pairs if reason is not None}


def _row(record: Record) -> tuple[object, ...]:
    if isinstance(record, NoteFailure):
        return record.note_id, None, None, None, record.reason, 0, 0
    logits = np.asarray(record.logits, dtype=np.float32)
    return record.note_id, record.truncated, record.asked, logits, None, record.computed, record.reused


def _digest(table: pa.Table, number: int, identity: str) -> str:
    """Of the content, not of the bytes: another version of pyarrow may write the same rows in other bytes."""
    digest = hashlib.sha256(f"{identity} {number} {table.num_rows}\n".encode())
    for name in ("note_id", "truncated", "failure", "computed", "reused"):
        digest.update(repr(table.column(name).to_pylist()).encode())
    for name in ("asked", "logits"):
        for row in table.column(name):
            digest.update(b"-" if row.values is None else b"%d:" % len(row) + row.values.to_numpy().tobytes())
    return digest.hexdigest()
