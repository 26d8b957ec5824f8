"""The network's logits of stays that it was not trained on: what stacks with other scores, and what to trust of it.

Each fold's stays are read by a network trained on the others' (`fit`). Patients stay together, so that no network knows
a patient whose stay it reads. The network for new stays is `fit` on all rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from concept_icd.corpora.folds import group_folds
from concept_icd.errors import InputError
from concept_icd.medications.model import MedicationModel
from concept_icd.medications.strategy import Stays, Strategy, Targets
from concept_icd.medications.training import train

#: One of so many parts of the patients chooses the epoch; the others train.
DEV_PARTS = 10


def fit(
    stays: Stays, targets: Targets, rows: np.ndarray, strategy: Strategy, *, seed: int = 0, device: str = "cpu"
) -> MedicationModel:
    """A network of these rows: a tenth of their patients chooses the epoch, the others train.

    Raises:
        InputError: fewer than two patients, or no gold code to choose by.
    """
    part = group_folds([stays.patient_ids[row] for row in rows], DEV_PARTS, seed)
    model, _ = train(stays, targets, rows[part != 0], rows[part == 0], strategy, seed=seed, device=device)
    return model


def out_of_fold_logits(
    stays: Stays,
    targets: Targets,
    folds: int | Sequence[int] | np.ndarray,
    strategy: Strategy,
    *,
    nodes: Sequence[str] | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> np.ndarray:
    """Logits float32 (stays, nodes); each stay's by a network that saw no stay of its patient.

    Args:
        folds: how many, drawn by patient; or the fold of each stay, (stays,), a patient in one alone.
        nodes: names of the nodes wanted, in the order wanted; None: all of `targets.nodes`, dense.

    Raises:
        InputError: a node that the targets lack, fewer than two folds, a patient in two of them, or what `fit` says.
    """
    row_of = {node: row for row, node in enumerate(targets.nodes)}
    if missing := [node for node in nodes or () if node not in row_of]:
        raise InputError(f"{missing[0]!r} is no node of these stays: nobody has it, so nothing can be learnt of it")
    columns = np.array([row_of[node] for node in (targets.nodes if nodes is None else nodes)], dtype=np.int64)
    of = group_folds(stays.patient_ids, folds, seed) if isinstance(folds, int) else np.asarray(folds)
    _check_folds(of, stays.patient_ids)
    logits = np.empty((len(of), len(columns)), dtype=np.float32)
    for fold in np.unique(of):
        held = np.flatnonzero(of == fold)
        model = fit(stays, targets, np.flatnonzero(of != fold), strategy, seed=seed, device=device)
        start = 0
        for part in model.iter_logits(stays.inputs[held]):
            logits[held[start : start + len(part)]] = part[:, columns]
            start += len(part)
    return logits


def _check_folds(of: np.ndarray, patients: Sequence[str]) -> None:
    if len(of) != len(patients):
        raise ValueError(f"{len(patients)} stays but folds of {len(of)}")
    if len(np.unique(of)) < 2:
        raise InputError("out-of-fold logits need two folds or more, and a patient in each")
    first: dict[str, int] = {}
    for patient, fold in zip(patients, of.tolist(), strict=True):
        if first.setdefault(patient, fold) != fold:
            raise InputError(f"patient {patient} has stays in two folds; keep a patient's stays together")
