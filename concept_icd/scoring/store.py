"""The score matrix on disk: Parquet shards that appear whole, so that a killed run goes on where it stopped.

OUT/scoring.json          what is being scored, by hash: a run with anything else is refused
OUT/concepts.json         the columns    OUT/prompt.yaml  the words around note and concept
OUT/shards/00000.parquet  note_id, truncated, logits (float32 per concept), each with its own checksum. Which notes
                          a shard holds follows from the settings, so that a resumed run batches them as an
                          unbroken one would and gives the same bits.
OUT/failures.json         notes that could not be scored: id and reason
OUT/manifest.json         when all is done
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from concept_icd.artifacts import MANIFEST, begun_folder, new_file, read_json, read_manifest, write_json, write_manifest
from concept_icd.concepts import ConceptSet
from concept_icd.corpora.reading import flaw
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
    groups = [(list(notes), make) for notes, make in jobs]
    notes = sorted((note for group, _ in groups for note in group), key=lambda note: note.note_id)
    if len({note.note_id for note in notes}) < len(notes):
        raise InputError("two notes have the same id; a score belongs to one note")
    settings = {**settings, "concepts": concepts.hash, "prompt": prompt.hash}
    settings |= {"notes": _notes_hash(notes), "shard_notes": shard_notes}
    with begun_folder(folder, lambda: _holds_scores(folder)):
        _begin(folder, settings)
        concepts.save(folder / CONCEPTS)
        prompt.save(folder / PROMPT)
        failures = {note.note_id: reason for note in notes if (reason := flaw(note.text))}
        plan = _plan(folder, groups, failures, shard_notes)
        missing = [shard for shard in plan if _read_shard(shard.path) is None]
        total = len(notes) - len(failures)
        with progress_bar(total, "scoring", done=total - sum(len(shard.notes) for shard in missing)) as bar:
            for make_scorer, shards in groupby(missing, key=lambda shard: shard.make_scorer):
                scorer = make_scorer()
                for shard in shards:
                    rows = []
                    for scores in scorer.iter_scores(shard.notes, concepts.concepts):
                        rows.append(scores)
                        bar.advance()
                    _write_shard(shard.path, rows)
                del scorer  # two large models do not fit at once
        write_json(folder / _FAILURES, failures)
        write_manifest(
            folder,
            "score",
            inputs={},
            config=dict(settings),
            seed=None,
            seconds=time.monotonic() - start,
            notes=len(notes),
            failures=len(failures),
            shards=len(plan),
        )


def load_scores(folder: str | Path) -> ConceptScores:
    """Reads a complete store, notes in the order of their ids.

    Raises:
        InputError: the store is not complete, or a shard is damaged.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file() and (folder / _SETTINGS).is_file():
        raise InputError(f"{folder} is not complete; run the same `concept-icd score` again, it goes on where it was")
    manifest = read_manifest(folder, "score")
    shards = []
    for number in range(manifest["shards"]):
        path = _shard_path(folder, number)
        if (shard := _read_shard(path)) is None:
            again = f"delete {folder / MANIFEST} and run the same `concept-icd score` again, it scores only this part"
            raise InputError(f"{path} is missing or damaged: {again}")
        shards.append(shard)
    if not shards:
        raise InputError(f"{folder} holds no scored note")
    table = pa.concat_tables(shards).sort_by("note_id")
    logits = np.stack([np.asarray(row.values, dtype=np.float32) for row in table.column("logits")])
    return ConceptScores(
        note_ids=tuple(table.column("note_id").to_pylist()),
        concept_hash=manifest["config"]["concepts"],
        logits=logits,
        truncated=tuple(table.column("truncated").to_pylist()),
        out_of_fold=bool(manifest["config"]["out_of_fold"]),
    )


def read_failures(folder: str | Path) -> dict[str, str]:
    """Note id -> reason, of the notes that could not be scored."""
    failures: dict[str, str] = read_json(Path(folder) / _FAILURES)
    return failures


@dataclass(frozen=True)
class _Shard:
    path: Path
    notes: list[Note]
    make_scorer: Any


def _plan(folder: Path, jobs: Iterable[tuple[list[Note], Any]], failures: Mapping[str, str], size: int) -> list[_Shard]:
    """Every shard of the store. Notes of like length stand together, since they are scored together."""
    plan: list[_Shard] = []
    for notes, make_scorer in jobs:
        scorable = [note for note in notes if note.note_id not in failures]
        scorable.sort(key=lambda note: (len(note.text), note.note_id))
        for start in range(0, len(scorable), size):
            plan.append(_Shard(_shard_path(folder, len(plan)), scorable[start : start + size], make_scorer))
    return plan


def _begin(folder: Path, settings: Mapping[str, Any]) -> None:
    """Records the settings, or checks that a store which holds scores has the same; clears what a kill left behind."""
    record = folder / _SETTINGS
    earlier = read_json(record) if record.is_file() else {}
    changed = [key for key in settings if earlier.get(key) != settings[key]]
    if changed and _holds_scores(folder):
        raise InputError(f"{folder} was begun with other settings ({', '.join(changed)}); name another folder")
    if changed:
        write_json(record, dict(settings))
    for leftover in (*folder.glob(".*-*"), *(folder / _SHARDS).glob(".*-*")):
        leftover.unlink()


def _holds_scores(folder: Path) -> bool:
    return any((folder / _SHARDS).glob("*.parquet"))


def _notes_hash(notes: Iterable[Note]) -> str:
    digest = hashlib.sha256()
    for note in notes:
        digest.update(json.dumps([note.note_id, note.text]).encode())
    return digest.hexdigest()


def _shard_path(folder: Path, number: int) -> Path:
    return folder / _SHARDS / f"{number:05d}.parquet"


def _write_shard(path: Path, shard: Sequence[_Scored]) -> None:
    """Writes a shard under its checksum; the name comes last, so that a shard is whole or not there."""
    table = pa.table(
        {
            "note_id": pa.array([scores.note_id for scores in shard], pa.string()),
            "truncated": pa.array([scores.truncated for scores in shard], pa.string()),
            "logits": pa.array([scores.logits for scores in shard], pa.list_(pa.float32())),
        }
    )
    table = table.replace_schema_metadata({"sha256": _digest(table)})
    with new_file(path) as staging:
        pq.write_table(table, staging, compression="zstd")


def _read_shard(path: Path) -> pa.Table | None:
    """The shard, or None where it is missing or damaged."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException):
        return None
    return table if (table.schema.metadata or {}).get(b"sha256", b"").decode() == _digest(table) else None


def _digest(table: pa.Table) -> str:
    digest = hashlib.sha256()
    for column in ("note_id", "truncated"):
        digest.update(repr(table.column(column).to_pylist()).encode())
    for row in table.column("logits"):
        digest.update(np.asarray(row.values, dtype=np.float32).tobytes())
    return digest.hexdigest()
