"""What the medication network reads and what it is to say: stays and targets as sparse tables, row for row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from concept_icd.records import OneLine

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_array

    from concept_icd.records import Level


@dataclass(frozen=True, eq=False, repr=False)
class Stays(OneLine):
    """Stays as the network reads them (Marcou et al. 2024, "Data").

    Attributes:
        stay_ids, patient_ids: one a row; a stay id once.
        inputs: float32, (stays, inputs), sparse: 1 for each drug given, 1 for female sex, age / 89 clipped to
            [0, 1], the age being days / 365.25 where the day of birth is known.
        input_names: "drug:warfarin", ..., "female", "age".
        wards: per stay "newborn", "surgical", "medical" or None, for subgroups alone: never an input.
    """

    stay_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    inputs: csr_array
    input_names: tuple[str, ...]
    wards: tuple[str | None, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Targets(OneLine):
    """The diagnosis codes of the same stays, rolled up the tree.

    Attributes:
        nodes: codes and ranges of the ontology, parents before children.
        levels: of each node: chapter, section, category, subcategory or code (by depth: three-digit nodes are
            categories, four-digit ones subcategories, five-digit ones codes).
        parents: int64 (nodes,): row of the nearest ancestor among the nodes, -1 where there is none.
        billed: bool (nodes,): the node itself stands on a bill of these stays; it may lie at any level below section.
        gold: bool, (stays, nodes), sparse: the billed codes of a stay and all their ancestors.
    """

    nodes: tuple[str, ...]
    levels: tuple[Level, ...]
    parents: np.ndarray
    billed: np.ndarray
    gold: csr_array
