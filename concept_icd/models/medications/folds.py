"""Which stays train, choose and test: the study's Monte-Carlo draws by stay, or by patient, and folds of patients.

By patient is the honest default: MIMIC-III's patients come back (58,976 stays of 46,520), and a returning patient's
drugs and codes are known. By stay is what Marcou et al. did, for comparison with their figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from concept_icd.errors import InputError
from concept_icd.folds import group_folds

#: Stays of the study, and of them those of dev and of test; the rest trains.
STUDY_STAYS, STUDY_HELD_OUT = 58_976, 5_000


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows of stays, int64, each sorted; no stay in two, and by patient no patient."""

    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray


def monte_carlo_folds(
    patient_ids: Sequence[str],
    seed: int,
    number: int = 3,
    by: Literal["patient", "stay"] = "patient",
    held_out: int | None = None,
) -> list[Fold]:
    """Independent random draws of dev and test, 5,000 stays each where there are the study's 58,976.

    Args:
        patient_ids: one a stay. held_out: stays of dev, and of test; None: the study's share, at least one.
        by: "patient" fills them with whole patients, as near to the number as they allow without more.

    Raises:
        InputError: dev, test or training would be empty.
    """
    stays = len(patient_ids)
    size = max(1, round(stays * STUDY_HELD_OUT / STUDY_STAYS)) if held_out is None else held_out
    groups = np.unique(np.asarray(patient_ids), return_inverse=True)[1] if by == "patient" else np.arange(stays)
    folds = []
    for draw in range(number):
        part = _drawn(groups, size, np.random.default_rng([seed, draw]))
        fold = Fold(*(np.flatnonzero(part == which) for which in range(3)))
        folds.append(_require_full(fold, stays, by))
    return folds


def patient_folds(patient_ids: Sequence[str], number: int, seed: int) -> list[Fold]:
    """Every stay is tested once: fold i tests, fold i + 1 is dev, the others train; a patient is in one fold alone.

    Raises:
        InputError: fewer than three folds, or fewer patients than folds.
    """
    patients = len(set(patient_ids))
    if number < 3 or patients < number:
        raise InputError(f"{number} folds of {patients} patients: three or more folds are needed, a patient in each")
    of = group_folds(patient_ids, number, seed)
    folds = []
    for test in range(number):
        dev = (test + 1) % number
        rest = np.flatnonzero((of != test) & (of != dev))
        folds.append(Fold(rest, np.flatnonzero(of == dev), np.flatnonzero(of == test)))
    return folds


def _drawn(groups: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """0 train, 1 dev, 2 test for each stay: groups in random order fill test, then dev, each where it still fits."""
    sizes = np.bincount(groups)
    part_of, room = np.zeros(len(sizes), dtype=np.int64), {2: size, 1: size}
    for group in rng.permutation(len(sizes)):
        for part in room:
            if sizes[group] <= room[part]:
                part_of[group] = part
                room[part] -= int(sizes[group])
                break
        if not any(room.values()):
            break
    return np.asarray(part_of[groups])


def _require_full(fold: Fold, stays: int, by: str) -> Fold:
    empty = [name for name in ("train", "dev", "test") if not len(getattr(fold, name))]
    if empty:
        raise InputError(
            f"{stays} stays drawn by {by} leave {' and '.join(empty)} without a stay; more stays are needed, or "
            "another number of held-out stays"
        )
    return fold
