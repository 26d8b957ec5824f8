"""The codes of new stays from their drugs: ranked, with probabilities, streamed to Parquet.

A row is a stay and a code: stay_id, rank (1 is the most probable), code, level, logit, probability, and accepted: the
probability reaches the threshold of the code's level, which the study chose on dev stays (a network without thresholds
accepts nothing). Stays are read in batches; neither their inputs nor their outputs are ever dense for all of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from concept_icd.errors import InputError
from concept_icd.medications.stays import DRUG, aligned_inputs
from concept_icd.medications.strategy import ALL, BILLING, Stays
from concept_icd.outputs import new_file
from concept_icd.progress import progress_bar

if TYPE_CHECKING:
    import pyarrow as pa

    from concept_icd.medications.model import MedicationModel


def write_codes(
    model: MedicationModel, stays: Stays, out: str | Path, *, top: int = 50, nodes: str = BILLING, batch: int = 1024
) -> list[str]:
    """Writes the `top` codes of each stay, by rename; returns the drugs that the network does not know.

    Args:
        nodes: `BILLING` (the codes that stood on bills in training), `ALL` or a level of the tree.
        batch: stays that are dense at once.

    Raises:
        InputError: the network knows no such nodes or none of the drugs, or `out` cannot be written.
    """
    import pyarrow.parquet as pq

    columns = node_columns(model, nodes)
    inputs, missing = aligned_inputs(stays, model.input_names)
    drugs, unknown = ([name for name in names if name.startswith(DRUG)] for names in (stays.input_names, missing))
    if drugs and len(unknown) == len(drugs):
        raise InputError(
            f"the network knows none of the {len(drugs):,} drugs of these stays; prepare them as its own were, both "
            "with --vocabulary-dir or both without"
        )
    chosen = [model.nodes[column] for column in columns], [model.levels[column] for column in columns]
    limits = np.array([model.thresholds.get(level, 1.0) for level in chosen[1]])
    with (
        new_file(out) as staging,
        progress_bar(len(stays.stay_ids), "codes", "stays") as bar,
        pq.ParquetWriter(staging, _schema()) as writer,
    ):
        start = 0
        for part in model.iter_logits(inputs, batch, nodes):
            ids = stays.stay_ids[start : start + len(part)]
            writer.write_table(_table(ids, part[:, columns], *chosen, limits, top))
            start += len(part)
            bar.advance(len(part))
    return unknown


def node_columns(model: MedicationModel, nodes: str) -> np.ndarray:
    """The outputs of some nodes: see `write_codes`.

    Raises:
        InputError: the network has none of them.
    """
    levels = np.array(model.levels)
    mask = model.billed if nodes == BILLING else np.full(len(levels), True) if nodes == ALL else levels == nodes
    if not mask.any():
        known = ", ".join([BILLING, ALL, *dict.fromkeys(model.levels)])
        raise InputError(f"the network has no nodes {nodes!r}; it has {known}")
    return np.flatnonzero(mask)


def top_columns(logits: np.ndarray, top: int) -> np.ndarray:
    """(stays, top) columns by falling logit, equals by column; which of equals at the cut are kept is not defined.

    >>> top_columns(np.array([[0.1, 0.9, 0.5]]), 2).tolist()
    [[1, 2]]
    """
    top = min(top, logits.shape[1])
    found = np.sort(np.argpartition(-logits, top - 1, axis=1)[:, :top], axis=1)
    order = np.argsort(-np.take_along_axis(logits, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)


def holds_codes(path: Path) -> bool:
    """Whether a file is one that `write_codes` wrote."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return bool(pq.read_schema(path).equals(_schema()))
    except (OSError, pa.ArrowInvalid):
        return False


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        {
            "stay_id": pa.string(),
            "rank": pa.int32(),
            "code": pa.string(),
            "level": pa.string(),
            "logit": pa.float32(),
            "probability": pa.float32(),
            "accepted": pa.bool_(),
        }
    )


def _table(
    ids: tuple[str, ...], logits: np.ndarray, names: list[str], levels: list[str], limits: np.ndarray, top: int
) -> pa.Table:
    import pyarrow as pa

    found = top_columns(logits, top)
    values = np.take_along_axis(logits, found, axis=1).ravel()
    rows, width = found.shape
    flat = found.ravel()
    probability = expit(values.astype(np.float64))

    def words(places: np.ndarray, of: list[str] | tuple[str, ...]) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(places), pa.array(of, pa.string())).cast(pa.string())

    columns = [
        words(np.repeat(np.arange(rows), width), ids),
        np.tile(np.arange(1, width + 1, dtype=np.int32), rows),
        words(flat, names),
        words(flat, levels),
        values,
        probability.astype(np.float32),
        probability >= limits[flat],
    ]
    return pa.table([pa.array(column) if isinstance(column, np.ndarray) else column for column in columns], _schema())
