"""The score matrix on disk: Parquet shards that appear whole, so that a killed run goes on where it stopped.

    OUT/scoring.json          what is being scored, by hash: a run with anything else is refused
    OUT/concepts.json         the columns    OUT/prompt.yaml  the words around note and concept
    OUT/shards/00000.parquet  note_id, truncated, logits (float32 per concept), each with its own checksum
    OUT/failures.json         notes that could not be scored: id and reason
    OUT/manifest.json         when all is done
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from concept_icd.artifacts import MANIFEST, new_file, read_json, read_manifest, write_json, write_manifest
from concept_icd.concepts import ConceptSet
from concept_icd.errors import InputError
from concept_icd.progress import progress_bar
from concept_icd.prompts import PromptTemplate
from concept_icd.records import Concept, Note
from concept_icd.scoring.scores import ConceptScores

CONCEPTS, PROMPT = "concepts.json", "prompt.yaml"
_SETTINGS, _FAILURES, _SHARDS = "scoring.json", "failures.json", "shards"


class _Scored(Protocol):
    note_id: str
    logits: np.ndarray
    truncated: str | None


class Scorer(Protocol):
    """What can fill a store."""

    def iter_scores(self, notes: Sequence[Note], concepts: Sequence[Concept]) -> Iterator[Any]:
        """Yields records with note_id, logits (concepts,) and truncated, in any order."""


def fill_store(
    folder: str | Path,
    jobs: Iterable[tuple[Sequence[Note], Any]],
    concepts: ConceptSet,
    prompt: PromptTemplate,
    *,
    settings: Mapping[str, Any],
    shard_notes: int = 256,
) -> None:
    """Scores what the store lacks and completes it.

    Args:
        jobs: pairs of notes and a function without arguments that makes the scorer for them. It is called only when
            some of its notes are missing.
        settings: what else decides the scores (model, weights, longest prompt), plus "out_of_fold".

    Raises:
        InputError: the store was begun with other settings, or the disk is full. What is scored stays.
    """
    start, folder = time.monotonic(), Path(folder)
    if (folder / MANIFEST).is_file():
        raise InputError(f"{folder} is complete; name another folder or delete it to score again")
    settings = {**settings, "concepts": concepts.hash, "prompt": prompt.hash}
    _begin(folder, settings)
    concepts.save(folder / CONCEPTS)
    prompt.save(folder / PROMPT)
    done = {row["note_id"] for shard in _shards(folder) for row in shard.select(["note_id"]).to_pylist()}
    failures: dict[str, str] = {}
    jobs = [(list(notes), make) for notes, make in jobs]
    with progress_bar(sum(len(notes) for notes, _ in jobs), "scoring") as bar:
        bar.advance(len(done))
        for notes, make_scorer in jobs:
            failures |= {note.note_id: "the note is empty" for note in notes if not note.text.strip()}
            missing = [note for note in notes if note.note_id not in done and note.note_id not in failures]
            if not missing:
                continue
            stream = make_scorer().iter_scores(missing, concepts.concepts)
            while shard := list(islice(stream, shard_notes)):
                _write_shard(folder, shard)
                bar.advance(len(shard))
    write_json(folder / _FAILURES, failures)
    write_manifest(
        folder,
        "score",
        inputs={},
        config=dict(settings),
        seed=None,
        seconds=time.monotonic() - start,
        notes=sum(len(notes) for notes, _ in jobs),
        failures=len(failures),
    )


def load_scores(folder: str | Path) -> ConceptScores:
    """Reads a complete store, notes in the order of their ids.

    Raises:
        InputError: the store is not complete, or a shard is damaged.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file() and (folder / _SETTINGS).is_file():
        raise InputError(f"{folder} is not complete; run the same `concept-icd score` again, it goes on where it was")
    settings = read_manifest(folder, "score")["config"]
    shards = _shards(folder)
    rows = sum(shard.num_rows for shard in shards)
    failures = read_failures(folder)
    if rows + len(failures) != read_manifest(folder)["notes"]:
        raise InputError(f"{folder} lacks notes that it once had: delete its {MANIFEST} and score again")
    if not shards:
        raise InputError(f"{folder} holds no scored note")
    table = pa.concat_tables(shards).sort_by("note_id")
    logits = np.stack([np.asarray(row.values, dtype=np.float32) for row in table.column("logits")])
    return ConceptScores(
        note_ids=tuple(table.column("note_id").to_pylist()),
        concept_hash=settings["concepts"],
        logits=logits,
        truncated=tuple(table.column("truncated").to_pylist()),
        out_of_fold=bool(settings["out_of_fold"]),
    )


def read_failures(folder: str | Path) -> dict[str, str]:
    """Note id -> reason, of the notes that could not be scored."""
    failures: dict[str, str] = read_json(Path(folder) / _FAILURES)
    return failures


def _begin(folder: Path, settings: Mapping[str, Any]) -> None:
    record = folder / _SETTINGS
    if record.is_file():
        if (earlier := read_json(record)) != dict(settings):
            changed = [key for key in settings if earlier.get(key) != settings[key]]
            raise InputError(f"{folder} was begun with another {' and '.join(changed)}; name another folder")
    else:
        write_json(record, dict(settings))


def _write_shard(folder: Path, shard: Sequence[_Scored]) -> None:
    """Writes a shard under its checksum; the name comes last, so that a shard is whole or not there."""
    table = pa.table(
        {
            "note_id": pa.array([scores.note_id for scores in shard], pa.string()),
            "truncated": pa.array([scores.truncated for scores in shard], pa.string()),
            "logits": pa.array([scores.logits for scores in shard], pa.list_(pa.float32())),
        }
    )
    (folder / _SHARDS).mkdir(exist_ok=True)
    taken = [int(path.name.split(".")[0]) for path in (folder / _SHARDS).glob("*.parquet*")]
    number = max(taken, default=-1) + 1
    table = table.replace_schema_metadata({"sha256": _digest(table)})
    with new_file(folder / _SHARDS / f"{number:05d}.parquet") as staging:
        pq.write_table(table, staging, compression="zstd")


def _shards(folder: Path) -> list[pa.Table]:
    """The sound shards; a damaged one is set aside under another name and its notes count as missing."""
    sound = []
    for path in sorted((folder / _SHARDS).glob("*.parquet")):
        try:
            table = pq.read_table(path)
            if (table.schema.metadata or {}).get(b"sha256", b"").decode() == _digest(table):
                sound.append(table)
                continue
        except (OSError, pa.ArrowInvalid):
            pass
        path.replace(path.with_suffix(".parquet.damaged"))
    return sound


def _digest(table: pa.Table) -> str:
    digest = hashlib.sha256()
    for column in ("note_id", "truncated"):
        digest.update(repr(table.column(column).to_pylist()).encode())
    for row in table.column("logits"):
        digest.update(np.asarray(row.values, dtype=np.float32).tobytes())
    return digest.hexdigest()
