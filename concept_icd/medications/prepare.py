"""From tables, or from nothing, to a prepared folder of stays, with checks of what was found.

A check is a fact that `mimic3.checks` puts into words. Marcou et al. 2024, "Data", publish 58,976 stays, 1,164
ingredients and the nodes of each level. These stand beside the counts of tables that are MIMIC-III 1.4 by their numbers
of patients and admissions; of other tables nothing is published.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_icd import __version__
from concept_icd.artifacts import read_manifest
from concept_icd.corpora.mimic3.checks import EDITIONS, edition_of
from concept_icd.corpora.mimic3.prepare import LEAST_MEMORY
from concept_icd.corpora.mimic3.tables import database, fingerprint, require_duckdb
from concept_icd.errors import InputError
from concept_icd.medications.folder import STAGE, PreparedStays, load_stays, save_stays
from concept_icd.medications.mimic import find_mimic_tables, read_mimic_tables
from concept_icd.medications.omop import DrugTypes, find_cdm_tables, read_cdm_tables
from concept_icd.medications.omop_files import omop_fingerprint
from concept_icd.medications.stays import ReadStays
from concept_icd.medications.strategy import Targets
from concept_icd.medications.synthetic import synthetic_stays
from concept_icd.medications.targets import LostCodes, level_counts, no_targets, roll_up
from concept_icd.ontology.tree import load_ontology

if TYPE_CHECKING:
    import duckdb

#: DuckDB's share of the memory.
DUCKDB_SHARE = 0.4
Read = Callable[["duckdb.DuckDBPyConnection"], ReadStays]
Check = dict[str, Any]
#: How many names a line holds.
NAMED = 12
#: The counts of the study, by the name of their check.
STUDY: Mapping[str, int] = {
    "stays": 58_976,
    "ingredients": 1_164,
    "nodes of level chapter": 19,
    "nodes of level section": 151,
    "nodes of level category": 1_070,
    "nodes of level subcategory": 4_380,
    "nodes of level code": 3_716,
    "billed codes": 5_871,
    "nodes": 9_336,
}
#: What stands beside a count that is not 0.
WHY: Mapping[str, str] = {
    "stays without an age": "a date is missing, or birth comes after the stay; their age input is 0.5",
    "stays above 89 years": "moved to about 300 in the tables; their age input is 1",
    "stays without a sex": "read as not female",
    "stays without a ward": "no service is on record",
    "drug rows of no stay": "left out",
    "drug rows that are no prescription": "left out, as in the study; --drug-types all reads them",
    "drug rows without concept and name": "left out",
    "drug rows of concepts that the vocabulary lacks": "read by their name where there is one",
    "drug rows without a concept": "read by their name where there is one",
    "diagnosis rows without a code": "left out",
    "diagnosis rows of other vocabularies": "left out",
}


def prepare_mimic_stays(
    mimic_dir: str | Path,
    out: str | Path,
    *,
    vocabulary_dir: str | Path | None = None,
    codes: bool = True,
    memory: int = LEAST_MEMORY,
    overwrite: bool = False,
) -> PreparedStays:
    """The prepared folder of MIMIC-III's tables; where the same files made it already, leaves it as it is.

    Args:
        vocabulary_dir: CONCEPT, CONCEPT_ANCESTOR and CONCEPT_RELATIONSHIP, which lead from NDCs to ingredients.
        codes: False: stays without bills, for a trained network to read; DIAGNOSES_ICD is left alone.
        memory: bytes that the command may use, about.

    Raises:
        InputError: a table or `out` is not as it must be. MissingExtraError: no DuckDB.
    """
    require_duckdb()
    tables, vocabulary = find_mimic_tables(Path(mimic_dir), Path(vocabulary_dir) if vocabulary_dir else None, codes)
    named = {f"vocabulary/{name}": digest for name, digest in omop_fingerprint(vocabulary).items()}

    def read(connection: duckdb.DuckDBPyConnection) -> ReadStays:
        return read_mimic_tables(connection, tables, vocabulary)

    config = {"source": "mimic3", "version": __version__}
    return _prepare(config, fingerprint(tables) | named, read, Path(out), codes, memory, overwrite)


def prepare_omop_stays(
    omop_dir: str | Path,
    out: str | Path,
    *,
    vocabulary_dir: str | Path | None = None,
    drug_types: DrugTypes = "prescriptions",
    codes: bool = True,
    memory: int = LEAST_MEMORY,
    overwrite: bool = False,
) -> PreparedStays:
    """The same from OMOP CDM tables, whose vocabulary may lie in a folder of its own; raises likewise.

    Args:
        drug_types: which rows of drug_exposure are drugs of a stay, see `omop`.
    """
    require_duckdb()
    tables = find_cdm_tables(Path(omop_dir), Path(vocabulary_dir) if vocabulary_dir else None, codes)

    def read(connection: duckdb.DuckDBPyConnection) -> ReadStays:
        return read_cdm_tables(connection, tables, drug_types)

    config = {"source": "omop", "version": __version__, "drug_types": drug_types}
    return _prepare(config, omop_fingerprint(tables), read, Path(out), codes, memory, overwrite)


def prepare_synthetic_stays(number: int, seed: int, out: str | Path, *, overwrite: bool = False) -> PreparedStays:
    """Generated stays (`synthetic_stays`) as a prepared folder.

    Raises:
        InputError: fewer than one stay, or `out` exists and `overwrite` is False.
    """
    start = time.monotonic()
    made = synthetic_stays(number, seed)
    save_stays(
        out,
        made.stays,
        made.targets,
        inputs={},
        config={"source": "synthetic", "stays": number, "version": __version__},
        seed=seed,
        seconds=time.monotonic() - start,
        overwrite=overwrite,
        counts={
            "stays": number,
            "patients": len(set(made.stays.patient_ids)),
            "ingredients": len(made.stays.input_names) - 2,
            "nodes": level_counts(made.targets),
        },
    )
    return load_stays(out)


def _prepare(
    config: Mapping[str, str],
    inputs: Mapping[str, str],
    read: Read,
    out: Path,
    codes: bool,
    memory: int,
    overwrite: bool,
) -> PreparedStays:
    start = time.monotonic()
    if out.exists() and not overwrite:
        return _complete(out, inputs, config)
    with database(int(memory * DUCKDB_SHARE), out) as connection:
        found = read(connection)
    stay_ids = found.stays.stay_ids
    if codes:
        targets, lost = roll_up(stay_ids, found.billed, load_ontology())
    else:
        targets, lost = no_targets(len(stay_ids)), LostCodes({}, {}, {})
    save_stays(
        out,
        found.stays,
        targets,
        inputs=inputs,
        config=config,
        seconds=time.monotonic() - start,
        overwrite=overwrite,
        counts=dict(found.counts) | {"nodes": level_counts(targets), "rows": dict(found.rows)},
        named={name: dict(items) for name, items in found.named.items()} | asdict(lost),
        checks=all_checks(found, targets, lost),
    )
    return load_stays(out)


def _complete(out: Path, inputs: Mapping[str, str], config: Mapping[str, Any]) -> PreparedStays:
    """What is there, when the same files made it.

    Raises:
        InputError: it is something else, or damaged.
    """
    manifest = read_manifest(out) if (out / "manifest.json").is_file() else {}
    if (manifest.get("stage"), manifest.get("inputs"), manifest.get("config")) != (STAGE, inputs, config):
        raise InputError(
            f"{out} exists already and is not what these tables make; name another folder or pass --overwrite"
        )
    return load_stays(out)


def sentences(prepared: PreparedStays) -> Sequence[str]:
    """What was found, a line each, for a terminal."""
    from concept_icd.corpora.mimic3.checks import in_words

    counts, levels = prepared.manifest["counts"], prepared.manifest["counts"]["nodes"]
    nodes = f"{levels['all']:,} nodes of the tree ({levels['billed']:,} of them billed)"
    first = (
        f"{counts['stays']:,} stays of {counts['patients']:,} patients, {counts['ingredients']:,} ingredients, "
        f"{nodes if levels['all'] else 'no codes'}"
    )
    return [first, *map(in_words, prepared.manifest["checks"])]


def all_checks(read: ReadStays, targets: Targets, lost: LostCodes) -> list[Check]:
    """Every check: tables, people, drugs, codes. A count of 0 is left out unless the study publishes it."""
    return list(chain(_tables(read), _stays(read, targets), _named(read.named, lost), _nodes(read, targets)))


def _tables(read: ReadStays) -> Iterator[Check]:
    edition = edition_of(read.rows)
    known = EDITIONS[edition] if edition else {}
    why = "" if edition else "another version of MIMIC-III, a part of it, or other tables"
    yield _check("edition, by its patients and admissions", edition or "unknown", why=why)
    for table, rows in read.rows.items():
        yield _check(f"rows of {table}", rows, known.get(table))


def _stays(read: ReadStays, targets: Targets) -> Iterator[Check]:
    study = _study(read)
    for name, number in read.counts.items():
        if number or name in STUDY:
            yield _check(name, number, study.get(name), WHY.get(name, ""))
    if without := read.counts["stays"] - read.counts["stays with drugs"]:
        yield _check("stays without drugs", without, why="kept: sex and age alone speak for them")
    coded = int((targets.gold.sum(axis=1) > 0).sum())
    if targets.nodes and (uncoded := read.counts["stays"] - coded):
        yield _check("stays without a code of the tree", uncoded, why="kept, with no target")


def _named(named: Mapping[str, Mapping[str, Any]], lost: LostCodes) -> Iterator[Check]:
    words = {
        name: [f"{item!r} ({value if isinstance(value, str) else f'{value:,}'})" for item, value in items.items()]
        for name, items in named.items()
    }
    words["codes that the tree lacks, placed at their nearest ancestor"] = [
        f"{code} as {near} ({lost.retired_rows[code]:,})" for code, near in lost.retired.items()
    ]
    words["codes outside the tree, left out"] = [f"{code} ({rows:,})" for code, rows in lost.outside.items()]
    for name, own in words.items():
        if own:
            more = f" and {len(own) - NAMED:,} more" if len(own) > NAMED else ""
            yield _check(name, len(own), why=", ".join(own[:NAMED]) + more)


def _nodes(read: ReadStays, targets: Targets) -> Iterator[Check]:
    study, names = _study(read), {"billed": "billed codes", "all": "nodes"}
    for level, number in level_counts(targets).items() if targets.nodes else ():
        name = names.get(level, f"nodes of level {level}")
        yield _check(name, number, study.get(name))


def _study(read: ReadStays) -> Mapping[str, int]:
    return STUDY if edition_of(read.rows) == "MIMIC-III 1.4" else {}


def _check(name: str, found: Any, published: Any = None, why: str = "") -> Check:
    return {"name": name, "found": found, "published": published, "ok": published in (None, found), "why": why}
