"""A prepared folder of stays: sparse matrices in safetensors, names in Parquet, and the manifest. No pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from concept_icd.artifacts import read_manifest, sha256, write_manifest
from concept_icd.errors import InputError
from concept_icd.medications.strategy import Stays, Targets
from concept_icd.outputs import new_folder
from concept_icd.records import OneLine

STAGE = "prepare medications"
MATRICES, STAYS, INPUTS, NODES = "matrices.safetensors", "stays.parquet", "inputs.parquet", "nodes.parquet"
#: Raised when the files change, so that an older package says so instead of misreading.
FORMAT_VERSION = 2


@dataclass(frozen=True, eq=False, repr=False)
class PreparedStays(OneLine):
    """What a prepared folder holds; stays and targets are row for row."""

    stays: Stays
    targets: Targets
    manifest: Mapping[str, Any]


def save_stays(
    folder: str | Path,
    stays: Stays,
    targets: Targets,
    *,
    inputs: Mapping[str, str],
    config: Mapping[str, Any],
    seed: int | None = None,
    seconds: float = 0.0,
    overwrite: bool = False,
    counts: Mapping[str, Any] | None = None,
    named: Mapping[str, Any] | None = None,
    checks: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Writes the folder, by rename.

    Args:
        inputs: what was read (name -> SHA-256). counts, named: see `ReadStays`. checks: see `prepare.all_checks`.

    Raises:
        InputError: the folder exists and `overwrite` is False, or it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save_file

    text = pa.string()
    tables = {
        STAYS: {
            "stay_id": pa.array(stays.stay_ids, text),
            "patient_id": pa.array(stays.patient_ids, text),
            "ward": pa.array(stays.wards, text),
        },
        INPUTS: {"name": pa.array(stays.input_names, text)},
        NODES: {
            "node": pa.array(targets.nodes, text),
            "level": pa.array(targets.levels, text),
            "parent": pa.array(targets.parents, pa.int64()),
            "billed": pa.array(targets.billed, pa.bool_()),
        },
    }
    values, gold = csr_array(stays.inputs), csr_array(targets.gold)
    matrices = {
        "inputs.ends": values.indptr.astype(np.int64),
        "inputs.columns": values.indices.astype(np.int32),
        "inputs.values": values.data.astype(np.float32),
        "gold.ends": gold.indptr.astype(np.int64),
        "gold.columns": gold.indices.astype(np.int32),
    }
    with new_folder(folder, STAGE, overwrite=overwrite) as staging:
        for name, columns in tables.items():
            pq.write_table(pa.table(columns), staging / name)
        save_file(matrices, staging / MATRICES)
        write_manifest(
            staging,
            STAGE,
            inputs=inputs,
            config=config,
            seed=seed,
            seconds=seconds,
            format_version=FORMAT_VERSION,
            counts=dict(counts or {}),
            named=dict(named or {}),
            checks=list(checks),
            files={name: sha256(staging / name) for name in (MATRICES, *tables)},
        )


def load_stays(folder: str | Path) -> PreparedStays:
    """Reads a folder that `save_stays` wrote.

    Raises:
        InputError: it is no such folder, of another version, or a file of it is missing or damaged.
    """
    import pyarrow.parquet as pq
    from safetensors.numpy import load_file

    folder = Path(folder)
    manifest = read_manifest(folder, STAGE)
    if manifest.get("format_version") != FORMAT_VERSION:
        raise InputError(f"{folder} was written by another version of concept-icd; prepare it again")
    for name, digest in manifest["files"].items():
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise InputError(f"{folder / name} is missing or was changed since it was written; prepare the stays again")
    who, names, nodes = (pq.read_table(folder / name).to_pydict() for name in (STAYS, INPUTS, NODES))
    found = load_file(folder / MATRICES)
    rows = len(who["stay_id"])
    inputs = csr_array(
        (found["inputs.values"], found["inputs.columns"], found["inputs.ends"]), shape=(rows, len(names["name"]))
    )
    columns = found["gold.columns"]
    gold = csr_array((np.ones(len(columns), dtype=bool), columns, found["gold.ends"]), shape=(rows, len(nodes["node"])))
    stays = Stays(tuple(who["stay_id"]), tuple(who["patient_id"]), inputs, tuple(names["name"]), tuple(who["ward"]))
    targets = Targets(
        tuple(nodes["node"]),
        tuple(nodes["level"]),
        np.array(nodes["parent"], dtype=np.int64),
        np.array(nodes["billed"], dtype=bool),
        gold,
    )
    return PreparedStays(stays, targets, manifest)
