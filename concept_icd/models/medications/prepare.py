"""From tables, or from nothing, to a prepared folder of stays; it puts the other modules in order and has no rule."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_icd import __version__
from concept_icd.artifacts import read_manifest
from concept_icd.errors import InputError
from concept_icd.mimic3.prepare import LEAST_MEMORY
from concept_icd.mimic3.tables import Tables, database, fingerprint, require_duckdb
from concept_icd.models.medications.checks import all_checks
from concept_icd.models.medications.folder import STAGE, PreparedStays, load_stays, save_stays
from concept_icd.models.medications.mimic_tables import find_mimic_tables, read_mimic_tables
from concept_icd.models.medications.omop_files import omop_fingerprint
from concept_icd.models.medications.omop_tables import DrugTypes, find_cdm_tables, read_cdm_tables
from concept_icd.models.medications.read_stays import ReadStays
from concept_icd.models.medications.synthetic_stays import synthetic_stays
from concept_icd.models.medications.targets import LostCodes, level_counts, no_targets, roll_up
from concept_icd.ontology import load_ontology

if TYPE_CHECKING:
    import duckdb

#: DuckDB's share of the memory.
DUCKDB_SHARE = 0.4
Read = Callable[["duckdb.DuckDBPyConnection"], ReadStays]


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
    inputs = fingerprint(tables) | _of_vocabulary(vocabulary)

    def read(connection: duckdb.DuckDBPyConnection) -> ReadStays:
        return read_mimic_tables(connection, tables, vocabulary)

    return _prepare("mimic3", inputs, read, Path(out), codes, memory, overwrite)


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
        drug_types: which rows of drug_exposure are drugs of a stay, see `omop_tables`.
    """
    require_duckdb()
    tables = find_cdm_tables(Path(omop_dir), Path(vocabulary_dir) if vocabulary_dir else None, codes)
    inputs = omop_fingerprint(tables)

    def read(connection: duckdb.DuckDBPyConnection) -> ReadStays:
        return read_cdm_tables(connection, tables, drug_types)

    return _prepare("omop", inputs, read, Path(out), codes, memory, overwrite, {"drug_types": drug_types})


def prepare_synthetic_stays(number: int, seed: int, out: str | Path, *, overwrite: bool = False) -> PreparedStays:
    """Generated stays (`synthetic_stays`) as a prepared folder.

    Raises:
        InputError: fewer than one stay, or `out` exists and `overwrite` is False.
    """
    start = time.monotonic()
    made = synthetic_stays(number, seed)
    drugs = len(made.stays.input_names) - 2
    counts = {"stays": number, "patients": len(set(made.stays.patient_ids)), "ingredients": drugs}
    save_stays(
        out,
        made.stays,
        made.targets,
        inputs={},
        config={"source": "synthetic", "stays": number, "version": __version__},
        seed=seed,
        seconds=time.monotonic() - start,
        overwrite=overwrite,
        counts=counts | {"nodes": level_counts(made.targets)},
    )
    return load_stays(out)


def _prepare(
    source: str,
    inputs: Mapping[str, str],
    read: Read,
    out: Path,
    codes: bool,
    memory: int,
    overwrite: bool,
    options: Mapping[str, str] | None = None,
) -> PreparedStays:
    start = time.monotonic()
    config = {"source": source, "version": __version__, **(options or {})}
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


def _of_vocabulary(vocabulary: Tables) -> dict[str, str]:
    return {f"vocabulary/{name}": digest for name, digest in omop_fingerprint(vocabulary).items()}


def sentences(prepared: PreparedStays) -> Sequence[str]:
    """What was found, a line each, for a terminal."""
    from concept_icd.mimic3.checks import in_words

    counts, levels = prepared.manifest["counts"], prepared.manifest["counts"]["nodes"]
    nodes = (
        f"{levels['all']:,} nodes of the tree ({levels['billed']:,} of them billed)" if levels["all"] else "no codes"
    )
    first = (
        f"{counts['stays']:,} stays of {counts['patients']:,} patients, {counts['ingredients']:,} ingredients, "
        f"{nodes if levels['all'] else 'no codes'}"
    )
    return [first, *map(in_words, prepared.manifest["checks"])]
