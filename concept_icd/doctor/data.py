"""MIMIC-III's files: which tables are there, their rows and version, their checksums, and the admission lists.

Files and rows are read by `concept_icd.corpora.mimic3.tables`, the published numbers stand in
`concept_icd.corpora.mimic3.checks`. Checksums are held against the list in the tables' folder, else against that of
1.4. What is hashed is the table itself, unpacked where the list names the plain file, so that a file that somebody
packed again still fits.
"""

from __future__ import annotations

import gzip
import hashlib
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path

from concept_icd.corpora.mimic3 import tables
from concept_icd.corpora.mimic3.checks import EDITIONS, edition_of
from concept_icd.corpora.mimic3.splits import LAYOUTS, published, published_in_words, read_splits
from concept_icd.corpora.mimic3.tables import COLUMNS, OPTIONAL, Table
from concept_icd.corpora.mimic3.tasks import TASKS, Task
from concept_icd.doctor.findings import Finding, State
from concept_icd.errors import InputError, MissingExtraError
from concept_icd.progress import ProgressBar, progress_bar

TABLE_SECTION = "MIMIC-III tables"

#: Rows of MIMIC-III 1.4.
ROWS = EDITIONS["MIMIC-III 1.4"]

#: What is lost without an optional table.
LOST = {
    "PRESCRIPTIONS": "notes will carry no drugs",
    "D_ICD_DIAGNOSES": "codes without a description are not counted",
    "D_ICD_PROCEDURES": "codes without a description are not counted",
}
_SOURCE = "take it from physionet.org/content/mimiciii/1.4 (credentialed access)"


def examine_folder(folder: Path, *, notes: bool = True) -> tuple[list[Finding], dict[str, Table]]:
    """What the folder holds, table by table, and the tables that can be read.

    Args:
        notes: the task needs NOTEEVENTS.
    """
    if not folder.is_dir():
        return [
            Finding(TABLE_SECTION, "missing", f"{folder} is no folder", "name the tables' folder with --mimic-dir")
        ], {}
    files = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
    if (folder / "hosp").is_dir() or "discharge.csv.gz" in files or "discharge.csv" in files:
        text = f"{folder} holds MIMIC-IV, as its files tell; the tasks are those of MIMIC-III 1.4"
        return [Finding(TABLE_SECTION, "missing", text, _SOURCE)], {}
    findings: list[Finding] = []
    found: dict[str, Table] = {}
    for name, columns in COLUMNS.items():
        path = files.get(f"{name.lower()}.csv") or files.get(f"{name.lower()}.csv.gz")
        needed = name not in OPTIONAL and (notes or name != "NOTEEVENTS")
        if path is None:
            if needed:
                findings.append(Finding(TABLE_SECTION, "missing", f"{name}.csv[.gz] is not in {folder}", _SOURCE))
            elif name in OPTIONAL:
                findings.append(Finding(TABLE_SECTION, "warning", f"{name} is absent: {LOST[name]}", _SOURCE))
            continue
        try:
            found[name] = Table(name, path, tables.read_header(path, columns))
        except InputError as error:
            findings.append(Finding(TABLE_SECTION, "missing" if needed else "warning", str(error), _SOURCE))
    return findings, found


def examine_rows(found: Mapping[str, Table], *, notes: bool = True) -> list[Finding]:
    """Counts the rows of each table and says which version of MIMIC they are."""
    try:
        counts, damaged = count_rows(found)
    except MissingExtraError as error:
        what, _, mend = str(error).partition("; run: ")
        return [Finding(TABLE_SECTION, "missing", f"rows are not counted: {what}", mend)]
    findings = [Finding(TABLE_SECTION, "missing", sentence, _SOURCE) for sentence in damaged]
    version = edition_of(counts)
    expected = EDITIONS.get(version or "", ROWS)
    for name, rows in counts.items():
        if rows == expected[name]:
            findings.append(Finding(TABLE_SECTION, "ok", f"{found[name].path.name}: {rows:,} rows"))
        else:
            text = f"{found[name].path.name}: {rows:,} rows, {expected[name]:,} in {version or 'MIMIC-III 1.4'}"
            findings.append(Finding(TABLE_SECTION, "warning", text, "published results are of the complete 1.4"))
    if version == "MIMIC-III 1.4":
        findings.append(Finding(TABLE_SECTION, "ok", "patients and admissions are those of MIMIC-III 1.4"))
    elif "ADMISSIONS" in counts and "PATIENTS" in counts:
        what = f"these are the tables of {version}" if version else "these are not the tables of MIMIC-III 1.4"
        findings.append(
            Finding(TABLE_SECTION, "warning", f"{what}: no result on them is comparable with published ones")
        )
    if notes and counts.get("NOTEEVENTS") == 0:
        mend = "take --task mimic3-tables, or invented notes: concept-icd synth mimic3 --out DIR"
        findings.append(Finding(TABLE_SECTION, "missing", "NOTEEVENTS has no rows: there is nothing to read", mend))
    return findings


def count_rows(found: Mapping[str, Table]) -> tuple[dict[str, int], list[str]]:
    """Rows of each table, and one sentence for each table that cannot be read to its end.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """
    counts, damaged = {}, []
    with tables.database(1 << 30, Path(tempfile.gettempdir()) / "concept-icd-doctor") as connection:
        for name, table in found.items():
            try:
                tables.load(connection, table, "SELECT 1 FROM {rows}")
            except InputError as error:
                damaged.append(str(error))
                continue
            counts[name] = connection.execute(f"SELECT count(*) FROM {name.lower()}").fetchall()[0][0]
    return counts, damaged


LIST_SECTION = "admission lists"


def examine_lists(folder: Path | None, task: Task | None) -> list[Finding]:
    """The lists of one task, or of all; those that are absent are missing only where a task asks for them."""
    if task is not None and task.lists is None:
        return [Finding(LIST_SECTION, "ok", f"{task.name} needs no admission lists")]
    state: State = "missing" if task else "warning"
    findings = []
    for wanted in [task] if task else _one_a_list(TASKS.values()):
        assert wanted.lists is not None
        mend = f"get {LAYOUTS[wanted.lists][0].origin} and name the folder with --splits-dir"
        if folder is None:
            findings.append(Finding(LIST_SECTION, state, f"{wanted.name} needs its published admission lists", mend))
            continue
        try:
            splits = read_splits(folder, wanted)
        except InputError as error:
            findings.append(Finding(LIST_SECTION, state, str(error), mend))
            continue
        sizes = ", ".join(f"{name} {len(splits.ids(name)):,}" for name in ("train", "dev", "test"))
        sentence = published_in_words(splits, wanted.lists)
        same = all(published(splits, wanted.lists).values())
        findings.append(Finding(LIST_SECTION, "ok" if same else "warning", f"{wanted.name}: {sizes} stays. {sentence}"))
    return findings


def _one_a_list(tasks: Iterable[Task]) -> list[Task]:
    """The first task of each kind of lists."""
    return list({task.lists: task for task in reversed([task for task in tasks if task.lists])}.values())[::-1]


CHECKSUM_SECTION = "checksums"

#: MD5 of the unpacked tables of MIMIC-III 1.4, from PhysioNet's checksum_md5_unzipped.txt as public code repeats it.
#: That of NOTEEVENTS stands in two independent places, the others in one.
MD5 = {
    "ADMISSIONS": "57d940b69dd066da5ba57e008cc7f92c",
    "PATIENTS": "3b06f45153c66e2b7c49b35805971145",
    "DIAGNOSES_ICD": "e2c0a05d768a6273038ae84e576186a7",
    "PROCEDURES_ICD": "ed7e6f1efa7e334404f6fb26e4c3c7d2",
    "NOTEEVENTS": "df33ab9764256b34bfc146828f440c2b",
    "PRESCRIPTIONS": "43f469da09c65bae252d02a51787ad85",
    "D_ICD_DIAGNOSES": "d0a7026ca3618f4360d8329643d9041d",
    "D_ICD_PROCEDURES": "a9707e5361f939f45ca2bc2eb8bd5652",
}
#: Lists that come with a download, the surest first: "digest  name" lines.
LISTS = ("SHA256SUMS.txt", "checksum_md5_zipped.txt", "checksum_md5_unzipped.txt")


def examine_checksums(folder: Path, found: Mapping[str, Table]) -> list[Finding]:
    """Hashes every table, shows progress, and says which are not the published ones."""
    listed = read_lists(folder)
    findings = []
    size = sum(table.path.stat().st_size for table in found.values())
    with progress_bar(max(1, size >> 20), "hashing", "MB") as bar:
        for name, table in found.items():
            file = table.path.name
            digest, packed, source = _expected(name, table.path, listed)
            try:
                same = _digest(table.path, "md5" if len(digest) == 32 else "sha256", bar, packed=packed) == digest
            except (OSError, EOFError, zlib.error):
                mend = "take the file again from its source"
                findings.append(Finding(CHECKSUM_SECTION, "missing", f"{file} is truncated or damaged", mend))
                continue
            text = f"{file} is {'' if same else 'not '}the file of {source}"
            again = None if same else "take the file again, or work on knowing that it is another"
            findings.append(Finding(CHECKSUM_SECTION, "ok" if same else "warning", text, again))
    return findings


def read_lists(folder: Path) -> dict[str, tuple[str, str]]:
    """File name in lower case -> (digest, the list that names it), from the lists in the folder."""
    listed: dict[str, tuple[str, str]] = {}
    for name in LISTS:
        path = folder / name
        if not path.is_file():
            continue
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            digest, _, file = line.strip().partition(" ")
            if len(digest) in (32, 64):
                listed.setdefault(file.strip(" *").lower(), (digest.lower(), name))
    return listed


def _expected(name: str, path: Path, listed: Mapping[str, tuple[str, str]]) -> tuple[str, bool, str]:
    """The digest, whether it is of the file as it lies (packed), and whose it is."""
    for file, packed in ((path.name.lower(), True), (path.name.lower().removesuffix(".gz"), False)):
        if file in listed:
            digest, source = listed[file]
            return digest, packed, source
    return MD5[name], False, "MIMIC-III 1.4"


def _digest(path: Path, algorithm: str, bar: ProgressBar, *, packed: bool) -> str:
    """Hex digest of the file, or of what it unpacks to; the bar counts bytes of the file."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    seen = 0
    unpack = path.suffix.lower() == ".gz" and not packed
    with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) if unpack else nullcontext(raw) as content:
        while chunk := content.read(1 << 22):
            digest.update(chunk)
            bar.advance((raw.tell() >> 20) - (seen >> 20))
            seen = raw.tell()
    return digest.hexdigest()
