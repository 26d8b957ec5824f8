"""The folder of raw MIMIC-III tables: which are there, how many rows they have, which version they are.

Files and rows are read by `concept_icd.mimic3.tables`; the published numbers stand in `concept_icd.mimic3.editions`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from concept_icd.doctor.findings import Finding
from concept_icd.errors import InputError, MissingExtraError
from concept_icd.mimic3 import tables
from concept_icd.mimic3.editions import EDITIONS, edition_of
from concept_icd.mimic3.tables import COLUMNS, OPTIONAL, Table

SECTION = "MIMIC-III tables"

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
        return [Finding(SECTION, "missing", f"{folder} is no folder", "name the tables' folder with --mimic-dir")], {}
    files = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
    if (folder / "hosp").is_dir() or "discharge.csv.gz" in files or "discharge.csv" in files:
        text = f"{folder} holds MIMIC-IV, as its files tell; the tasks are those of MIMIC-III 1.4"
        return [Finding(SECTION, "missing", text, _SOURCE)], {}
    findings: list[Finding] = []
    found: dict[str, Table] = {}
    for name, columns in COLUMNS.items():
        path = files.get(f"{name.lower()}.csv") or files.get(f"{name.lower()}.csv.gz")
        needed = name not in OPTIONAL and (notes or name != "NOTEEVENTS")
        if path is None:
            if needed:
                findings.append(Finding(SECTION, "missing", f"{name}.csv[.gz] is not in {folder}", _SOURCE))
            elif name in OPTIONAL:
                findings.append(Finding(SECTION, "warning", f"{name} is absent: {LOST[name]}", _SOURCE))
            continue
        try:
            found[name] = Table(name, path, tables.read_header(path, columns))
        except InputError as error:
            findings.append(Finding(SECTION, "missing" if needed else "warning", str(error), _SOURCE))
    return findings, found


def examine_rows(found: Mapping[str, Table], *, notes: bool = True) -> list[Finding]:
    """Counts the rows of each table and says which version of MIMIC they are."""
    try:
        counts, damaged = count_rows(found)
    except MissingExtraError as error:
        what, _, mend = str(error).partition("; run: ")
        return [Finding(SECTION, "missing", f"rows are not counted: {what}", mend)]
    findings = [Finding(SECTION, "missing", sentence, _SOURCE) for sentence in damaged]
    version = edition_of(counts)
    expected = EDITIONS.get(version or "", ROWS)
    for name, rows in counts.items():
        if rows == expected[name]:
            findings.append(Finding(SECTION, "ok", f"{found[name].path.name}: {rows:,} rows"))
        else:
            text = f"{found[name].path.name}: {rows:,} rows, {expected[name]:,} in {version or 'MIMIC-III 1.4'}"
            findings.append(Finding(SECTION, "warning", text, "published results are of the complete 1.4"))
    if version == "MIMIC-III 1.4":
        findings.append(Finding(SECTION, "ok", "patients and admissions are those of MIMIC-III 1.4"))
    elif "ADMISSIONS" in counts and "PATIENTS" in counts:
        what = f"these are the tables of {version}" if version else "these are not the tables of MIMIC-III 1.4"
        findings.append(Finding(SECTION, "warning", f"{what}: no result on them is comparable with published ones"))
    if notes and counts.get("NOTEEVENTS") == 0:
        mend = "take --task mimic3-tables, or invented notes: concept-icd synth mimic3 --out DIR"
        findings.append(Finding(SECTION, "missing", "NOTEEVENTS has no rows: there is nothing to read", mend))
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
