"""From MIMIC-III's raw tables to the prepared corpus of a task: reads, decides, checks, writes; nothing half-written.

It puts the other modules of this package in order and holds no rule of its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_icd import __version__
from concept_icd.artifacts import read_manifest, sha256
from concept_icd.corpora.mimic3.checks import Found, all_checks, require_known
from concept_icd.corpora.mimic3.codes import read_codes
from concept_icd.corpora.mimic3.gold import gold_labels
from concept_icd.corpora.mimic3.splits import Splits, read_splits
from concept_icd.corpora.mimic3.stays import count_rows, read_stays
from concept_icd.corpora.mimic3.summaries import load_summaries, stays_with_summary, stream_summaries
from concept_icd.corpora.mimic3.tables import Table, Tables, database, find_tables, fingerprint, require_duckdb
from concept_icd.corpora.mimic3.tasks import Task, find_task
from concept_icd.corpora.store import NOTES, save_corpus
from concept_icd.errors import InputError
from concept_icd.ontology.tree import load_ontology
from concept_icd.outputs import MANIFEST
from concept_icd.progress import track
from concept_icd.records import CodedNote, Note

if TYPE_CHECKING:
    import duckdb

#: The task that reads no notes, and the one whose lists it takes where a folder of lists is given.
WITHOUT_NOTES, ITS_LISTS = "mimic3-tables", "mimic3-full"
#: The task whose rule keeps listed stays that have none of its labels, so that its stays stay the published ones.
KEEPS_UNLABELLED = "mimic3-50-recounted"
#: Bytes of the whole command by default, the least with which the full tables pass, and DuckDB's share of them.
MEMORY, LEAST_MEMORY = 3 << 30, 2 << 30
DUCKDB_SHARE = 0.5


@dataclass(frozen=True)
class Prepared:
    """What a run left.

    Attributes:
        counts: of the corpus. checks: see `checks`. reused: it was complete already, nothing was written.
    """

    counts: Mapping[str, Any]
    checks: Sequence[Mapping[str, Any]]
    reused: bool


def prepare_mimic3(
    mimic_dir: str | Path,
    task: str,
    out: str | Path,
    *,
    splits_dir: str | Path | None = None,
    memory: int = MEMORY,
    overwrite: bool = False,
) -> Prepared:
    """Writes the corpus of a task; where the same tables and lists made it already, leaves it as it is.

    Args:
        mimic_dir: the folder of the raw tables. splits_dir: where the task's admission lists lie, at any depth.
        memory: bytes that the command may use, about.

    Raises:
        InputError: the task, a table, a list or `out` is not as it must be. MissingExtraError: no DuckDB.
    """
    require_duckdb()
    start = time.monotonic()
    chosen_task, out = find_task(task), Path(out)
    tables = find_tables(Path(mimic_dir), notes=task != WITHOUT_NOTES)
    splits = _splits(chosen_task, splits_dir)
    inputs = fingerprint(tables) | (
        {f"lists/{name}": digest for name, digest in splits.files.items()} if splits else {}
    )
    config = {"source": "mimic3", "task": task, "version": __version__}
    if out.exists() and not overwrite:
        return _complete(out, inputs, config)
    with database(int(memory * DUCKDB_SHARE), out) as connection:
        found = _find(chosen_task, tables, splits, connection)
        checks = all_checks(found, load_ontology("icd9cm"))
        if not found.chosen:
            raise InputError(f"no stay is left for {task}: none has {_needs(found)}")
        counts = save_corpus(
            out,
            track(_notes(found, tables.get("NOTEEVENTS"), connection), len(found.chosen), "writing the stays", "stays"),
            inputs=inputs,
            config=config,
            seconds=time.monotonic() - start,
            overwrite=overwrite,
            label_set=found.gold.label_set,
            aliases=found.gold.aliases,
            task=task,
            checks=checks,
        )
    return Prepared(counts, checks, reused=False)


def bytes_of(text: str) -> int:
    """ "3GB" -> bytes.

    Raises:
        InputError: no such size, or less than the command needs.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MG])i?B?", text.strip(), re.IGNORECASE)
    size = int(float(match[1]) * (1 << (20 if match[2].upper() == "M" else 30))) if match else 0
    if size < LEAST_MEMORY:
        raise InputError(f"--memory {text!r} is no size of 2GB or more, such as 3GB")
    return size


def _splits(task: Task, folder: str | Path | None) -> Splits | None:
    if folder is not None:
        return read_splits(folder, task if task.lists else find_task(ITS_LISTS))
    if task.lists is not None:
        raise InputError(
            f"{task.name} needs its admission lists; --splits-dir names the folder with them, such as a checkout of "
            f"the paper's repository ({task.source})"
        )
    return None


def _complete(out: Path, inputs: Mapping[str, str], config: Mapping[str, Any]) -> Prepared:
    """What is there, when the same inputs made it.

    Raises:
        InputError: it is something else, or damaged.
    """
    if (out / MANIFEST).is_file():
        manifest = read_manifest(out)
        same = (manifest.get("stage"), manifest.get("inputs"), manifest.get("config")) == ("prepare", inputs, config)
        notes = out / NOTES
        if same and notes.is_file() and sha256(notes) == manifest.get("files", {}).get(NOTES):
            return Prepared(manifest["counts"], manifest.get("checks", []), reused=True)
    what = "and is not what these tables, lists and task make"
    raise InputError(f"{out} exists already {what}; name another folder or pass --overwrite")


def _find(task: Task, tables: Tables, splits: Splits | None, connection: duckdb.DuckDBPyConnection) -> Found:
    """Reads the tables, small ones first so that what is wrong with them is told at once, and decides on the stays."""
    codes = read_codes(connection, tables)
    stays = read_stays(connection, tables)
    if splits is not None:
        require_known(splits, stays.keys())
    usable = codes.stays & stays.keys()
    summaries = with_summary = None
    if "NOTEEVENTS" in tables:
        summaries = load_summaries(connection, tables["NOTEEVENTS"])
        with_summary = stays_with_summary(connection)
        usable &= with_summary
    listed = usable if task.lists is None or splits is None else usable & splits.split_of.keys()
    gold = gold_labels(task, codes, usable, listed, connection)
    chosen = frozenset(stay for stay in listed if gold.of(stay) or task.name == KEEPS_UNLABELLED)
    rows = count_rows(connection)
    return Found(task, rows, stays, codes, summaries, with_summary, splits, gold, chosen, "PRESCRIPTIONS" in tables)


def _notes(found: Found, noteevents: Table | None, connection: duckdb.DuckDBPyConnection) -> Iterator[CodedNote]:
    """The stays in the order of their ids' numbers."""
    texts: Iterator[tuple[str, str]]
    if noteevents is None:
        texts = ((stay, "") for stay in sorted(found.chosen, key=lambda stay: (int(stay), stay)))
    else:
        texts = stream_summaries(connection, noteevents, found.chosen)
    split_of = found.splits.split_of if found.splits else {}
    for stay, text in texts:
        own = found.stays[stay]
        note = Note(stay, text, own.patient_id, own.age, own.sex, own.drugs)
        diagnoses, procedures = found.gold.diagnoses.get(stay, ()), found.gold.procedures.get(stay, ())
        first = found.codes.diagnoses.by_stay.get(stay, ())[:1]
        principal = first[0] if first and first != diagnoses[:1] else None  # the label set left it out
        yield CodedNote(note, diagnoses, procedures, split=split_of.get(stay), principal=principal)


def _needs(found: Found) -> str:
    parts = ["a discharge summary"] if found.with_summary is not None else []
    parts += ["a place in the lists"] if found.splits is not None else []
    return ", ".join([*parts, "a code of the label set" if found.gold.label_set is not None else "a code"])
