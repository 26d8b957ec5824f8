"""The score matrix on disk: Parquet shards that appear whole, so that a killed run goes on where it stopped.

OUT/scoring.json          what is being scored, by hash: a run with anything else is refused
OUT/concepts.json         the columns    OUT/prompt.yaml  the words around note and concept
OUT/fill.json             where a plan decides what is asked: the logit of a concept that a note was not asked about
OUT/shards/00000.parquet  one record a note (`concept_icd.scoring.store`). Which notes a shard holds follows from the
                          settings, so that a resumed run batches them as an unbroken one would and gives the same bits.
OUT/failures.json         notes that could not be scored: id and reason
OUT/manifest.json         when all is done
OUT/.lock                 held by the one process that may write
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from concept_icd.artifacts import hash_of, read_json, read_manifest, write_json, write_manifest
from concept_icd.corpora.reading import flaw
from concept_icd.errors import InputError
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.outputs import MANIFEST, new_file, private_folder, require_own, writing
from concept_icd.progress import TokenRates, progress_bar
from concept_icd.records import Note, OneLine
from concept_icd.scoring.executors import Executor, LocalExecutor, Record, Shard
from concept_icd.scoring.scorer import ConceptScores, NoteFailure, NoteScores, QuestionPlan, Scorer

if TYPE_CHECKING:
    from scipy.sparse import csr_array

CONCEPTS, PROMPT = "concepts.json", "prompt.yaml"
_AGAIN = "run the same `concept-icd score` again, it scores only what is damaged"
_SETTINGS, _FAILURES, _FILL, _LOCK = "scoring.json", "failures.json", "fill.json", ".lock"


@dataclass(frozen=True, repr=False)
class Job(OneLine):
    """Notes, and what makes the one scorer for them; it is called only when some of them are missing.

    Ray needs a `ScorerSpec` for it; in this process any function does.
    """

    name: str
    notes: Sequence[Note]
    make_scorer: Callable[[], Scorer]


def fill_store(
    folder: str | Path,
    jobs: Iterable[Job],
    concepts: ConceptSet,
    prompt: PromptTemplate,
    *,
    settings: Mapping[str, Any],
    shard_notes: int = 64,
    plan: QuestionPlan | None = None,
    executor: Executor | None = None,
) -> bool:
    """Scores what the store lacks and completes it. In a complete store, it checks the shards and mends the damaged.

    Args:
        settings: what else decides the scores (scorer, model, weights, longest prompt), plus "out_of_fold".
        shard_notes: notes that are scored together and, after a kill, are lost together.
        plan: which concepts a note is asked about; None: all. executor: by default this process.

    Returns:
        Whether there was anything to do.

    Raises:
        InputError: the store was begun with other settings, another process fills it, the disk is full, or what
            befalls any note (see `Executor.run`). What is scored stays.
    """
    start, folder, jobs = time.monotonic(), Path(folder), list(jobs)
    notes = sorted((note for job in jobs for note in job.notes), key=lambda note: note.note_id)
    if len({note.note_id for note in notes}) < len(notes):
        raise InputError("two notes have the same id; a score belongs to one note")
    settings = {**settings, "concepts": concepts.hash, "prompt": prompt.hash, "plan": plan.hash if plan else None}
    settings |= {"notes": _notes_hash(notes), "shard_notes": shard_notes}
    with _locked(folder):
        _begin(folder, settings)
        concepts.save(folder / CONCEPTS)
        prompt.save(folder / PROMPT)
        if plan is not None:
            write_json(folder / _FILL, plan.fill.tolist())
        failures = {note.note_id: reason for note in notes if (reason := flaw(note.text))}
        total, missing, identity = len(notes) - len(failures), [], hash_of(settings)
        cut = 0
        shards = _shards(folder, jobs, failures, shard_notes)
        for shard in shards:
            if (table := read_shard(shard.path, shard.number, identity)) is None:
                missing.append(shard)
            else:
                failures |= failures_of(table)
                cut += pc.count(table.column("truncated")).as_py()
        if not missing and _is_complete(folder, settings, len(shards), failures):
            return False
        left = sum(len(shard.notes) for shard in missing)
        with progress_bar(total, "scoring", done=total - left) as bar:
            rates = TokenRates(bar)

            def tell(record: Record) -> None:
                if isinstance(record, NoteScores):
                    rates.count(record.computed, record.reused)
                bar.advance()

            for shard, records in (executor or LocalExecutor()).run(missing, concepts.concepts, plan, tell):
                write_shard(shard, records, identity)
                failures |= {record.note_id: record.reason for record in records if isinstance(record, NoteFailure)}
                cut += sum(isinstance(record, NoteScores) and record.truncated is not None for record in records)
        write_json(folder / _FAILURES, dict(sorted(failures.items())))
        write_manifest(
            folder,
            "score",
            inputs={},
            config=dict(settings),
            seed=None,
            seconds=time.monotonic() - start,
            notes=len(notes),
            failures=len(failures),
            truncated=cut,
            shards=len(shards),
        )
    return True


def load_scores(folder: str | Path) -> ConceptScores:
    """Reads a complete store, notes in the order of their ids. It needs no lock.

    Raises:
        InputError: the store is not complete, or a shard is damaged.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file() and (folder / _SETTINGS).is_file():
        raise InputError(f"{folder} is not complete; run the same `concept-icd score` again, it goes on where it was")
    try:
        manifest = read_manifest(folder, "score")
        settings: dict[str, Any] = manifest["config"]
        count, found = manifest["shards"], len(list((folder / "shards").glob("*.parquet")))
        fill = read_json(folder / _FILL) if settings["plan"] else None
        if type(count) is not int or count < found or not {"concepts", "out_of_fold"} <= settings.keys():
            raise InputError(f"{folder / MANIFEST} does not fit the {found} shards beside it")
    except (InputError, KeyError) as error:
        raise InputError(f"{error}: {_AGAIN}") from error
    shards = []
    for number in range(count):
        path = shard_path(folder, number)
        if (shard := read_shard(path, number, hash_of(settings))) is None:
            raise InputError(f"{path} is missing or damaged: {_AGAIN}")
        shards.append(shard)
    table = pa.concat_tables(shards) if shards else SCHEMA.empty_table()
    table = table.filter(pc.is_null(table.column("failure"))).sort_by("note_id")
    if not len(table):
        raise InputError(f"{folder} holds no scored note")
    asked = [None if row.values is None else row.values.to_numpy() for row in table.column("asked")]
    try:
        logits = np.empty((len(table), len(fill or table.column("logits")[0])), dtype=np.float32)
        logits[:] = np.float32(fill or 0)
        for row, (columns, scores) in enumerate(zip(asked, table.column("logits"), strict=True)):
            logits[row, slice(None) if columns is None else columns] = scores.values.to_numpy()
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(f"{folder / _FILL} does not fit the shards: {_AGAIN}") from error
    return ConceptScores(
        note_ids=tuple(table.column("note_id").to_pylist()),
        concept_hash=settings["concepts"],
        logits=logits,
        truncated=tuple(table.column("truncated").to_pylist()),
        out_of_fold=bool(settings["out_of_fold"]),
        asked=_asked(asked, logits.shape[1]) if settings["plan"] else None,
    )


def _is_complete(folder: Path, settings: Mapping[str, Any], shards: int, failures: Mapping[str, str]) -> bool:
    """Whether what is written last says the same as the shards; a kill or a bad disk can leave it otherwise."""
    try:
        manifest = read_manifest(folder, "score")
        said = {name: manifest.get("config", {}).get(name) for name in settings}
        return (manifest["shards"], said, read_failures(folder)) == (shards, dict(settings), dict(failures))
    except InputError:
        return False


def read_failures(folder: str | Path) -> dict[str, str]:
    """Note id -> reason, of the notes that could not be scored."""
    failures = read_json(Path(folder) / _FAILURES)
    if not isinstance(failures, dict):
        raise InputError(f"{Path(folder) / _FAILURES} is damaged: {_AGAIN}")
    return failures


def _asked(rows: Sequence[np.ndarray | None], width: int) -> csr_array:
    """(notes, concepts), bool, sparse: True where a concept was asked; None stands for all of them."""
    from scipy.sparse import csr_array

    columns = [np.arange(width, dtype=np.int32) if row is None else row for row in rows]
    starts = np.cumsum([0, *map(len, columns)])
    return csr_array((np.ones(starts[-1], dtype=bool), np.concatenate(columns), starts), shape=(len(rows), width))


def _shards(folder: Path, jobs: Iterable[Job], failures: Mapping[str, str], size: int) -> list[Shard]:
    """Every shard of the store. Notes of like length stand together, since they are scored together."""
    shards: list[Shard] = []
    for job in jobs:
        notes = [note for note in job.notes if note.note_id not in failures]
        notes.sort(key=lambda note: (len(note.text), note.note_id))
        for start in range(0, len(notes), size):
            number, part = len(shards), tuple(notes[start : start + size])
            shards.append(Shard(number, shard_path(folder, number), part, job.name, job.make_scorer))
    return shards


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps other processes out of the folder, which it makes; a new one goes away if bad input comes before any score.

    The lock is one of POSIX: it goes with its process, however that ends, and a fork such as vLLM's engine, which can
    outlive the process for a while, does not inherit it.
    """
    import fcntl

    require_own(folder, (_SETTINGS, _LOCK))
    new = not folder.exists()
    with writing(folder):
        private_folder(folder)
        file = open(os.open(folder / _LOCK, os.O_CREAT | os.O_WRONLY, 0o600), "a")  # noqa: SIM115
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise InputError(f"cannot lock {folder}: {error.strerror}; name a folder on another disk") from error
            raise InputError(f"another process is filling {folder}; wait until it has ended, or stop it") from error
        if not os.fstat(file.fileno()).st_nlink:
            raise InputError(f"another process has just deleted {folder}; run the same command again")
        try:
            yield
        except InputError:
            if new and not _holds_scores(folder):
                shutil.rmtree(folder, ignore_errors=True)
            raise


def _begin(folder: Path, settings: Mapping[str, Any]) -> None:
    """Records the settings, or checks that a store which holds scores has the same; clears what a kill left behind."""
    record = folder / _SETTINGS
    try:
        earlier = read_json(record)
    except InputError:
        earlier = None
    if isinstance(earlier, dict):
        changed = [key for key in settings if earlier.get(key) != settings[key]]
        if changed and (_holds_scores(folder) or (folder / MANIFEST).is_file()):
            raise InputError(f"{folder} was begun with other settings ({', '.join(changed)}); name another folder")
    else:  # missing or damaged: the shards themselves know what they are of
        changed, identity, shards = [*settings], hash_of(settings), sorted((folder / "shards").glob("*.parquet"))
        if shards and all(read_shard(path, number, identity) is None for number, path in enumerate(shards)):
            raise InputError(f"{record} is damaged, and the shards are of other settings; name another folder")
    if changed:
        write_json(record, dict(settings))
    own = (_SETTINGS, CONCEPTS, PROMPT, _FILL, _FAILURES, MANIFEST)
    begun = [file for name in own for file in folder.glob(f".{name}-*")]
    for leftover in (*begun, *(folder / "shards").glob(".*.parquet-*")):
        leftover.unlink()


def begun_settings(folder: str | Path) -> dict[str, Any] | None:
    """What a store was begun with, if scores are in it already; None: nothing binds a run yet."""
    folder = Path(folder)
    if not (_holds_scores(folder) or (folder / MANIFEST).is_file()):
        return None
    try:
        settings = read_json(folder / _SETTINGS)
    except InputError:
        return None
    return settings if isinstance(settings, dict) else None


def _holds_scores(folder: Path) -> bool:
    return any((folder / "shards").glob("*.parquet"))


def _notes_hash(notes: Iterable[Note]) -> str:
    digest = hashlib.sha256()
    for note in notes:
        digest.update(json.dumps([note.note_id, note.text]).encode())
    return digest.hexdigest()


# One shard of a store: a Parquet file that is whole or not there, and that knows when it was damaged or exchanged.
#
# Columns: note_id; truncated; asked (list of int32: rows of the concepts that a plan asked; null: all of them); logits
# (list of float32, one for each asked); failure (why the note could not be scored; asked and logits are null then);
# computed and reused (prompt tokens).

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
        InputError: the disk is full. RuntimeError: the executor did not give each note exactly one record.
    """
    records = list(records)
    found = {record.note_id: record for record in records}
    if len(records) != len(shard.notes) or found.keys() != {note.note_id for note in shard.notes}:
        raise RuntimeError(f"the executor gave {len(records)} records for the {len(shard.notes)} notes of {shard.path}")
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
