"""From the codes on the bill of each stay to targets at every level of the tree, and the subset of the study.

Levels, as the study calls them: chapter, subchapter = section, three digits = category, four = subcategory, five =
code. A node is there when a stay has it, so full tables give the nodes that occur, not the whole tree (Marcou et al.
2024, "Data": 19, 151, 1,070, 4,380 and 3,716 nodes, 9,336 in all).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from concept_icd.errors import InputError
from concept_icd.medications.strategy import ALL, BILLING, Strategy, Targets
from concept_icd.ontology.code_shapes import category_of, in_range
from concept_icd.records import Level

if TYPE_CHECKING:
    from concept_icd.ontology.tree import Ontology

#: The levels of the tree, the widest first.
TREE_LEVELS: tuple[Level, ...] = ("chapter", "section", "category", "subcategory", "code")
#: The study's networks of a level, each a set of nodes; ours are the levels of the tree.
STUDY_GROUPS = ("chapter", "section", "category", BILLING)
#: The study's subset: codes with fewer occurrences are dropped, and these parts of the tree; of 765 what begins "765.".
FEWEST, DROPPED = 100, ("800-999", "E000-E999", "V01-V91", "765.")


@dataclass(frozen=True)
class LostCodes:
    """Billed codes that are no node of the tree, by name.

    Attributes:
        retired: code -> the nearest ancestor that the tree has; its stays have that ancestor. Never `billed`.
        outside: what is no diagnosis of the tree -> rows; left out.
        retired_rows: code -> rows.
    """

    retired: Mapping[str, str]
    outside: Mapping[str, int]
    retired_rows: Mapping[str, int]


def roll_up(
    stay_ids: Sequence[str], billed: Mapping[str, Sequence[str]], ontology: Ontology
) -> tuple[Targets, LostCodes]:
    """Targets of stays, row for row, and what could not be placed.

    Args:
        billed: stay -> the dotted diagnosis codes on its bill; a stay that is missing here has none.

    Raises:
        InputError: no stay has a code of the tree.
    """
    rows_of = Counter(code for stay in stay_ids for code in billed.get(stay, ()))
    paths, retired, outside = dict[str, tuple[str, ...]](), dict[str, str](), dict[str, int]()
    for code in sorted(rows_of):
        try:
            nearest = ontology.resolve(code)
        except InputError:
            outside[code] = rows_of[code]
            continue
        if nearest.kind != "diagnosis":
            outside[code] = rows_of[code]
            continue
        paths[code] = ontology.path(nearest.code)
        if nearest.code != code:
            retired[code] = nearest.code
    if not paths:
        raise InputError("no stay has an ICD-9-CM diagnosis code of the tree; the network has nothing to learn")
    codes = sorted(paths)
    nodes, gold = _gold(stay_ids, billed, codes, paths, ontology)
    row_of = {node: row for row, node in enumerate(nodes)}
    targets = Targets(
        nodes=nodes,
        levels=tuple(ontology.level(node) for node in nodes),
        parents=np.array([row_of.get(ontology.parent(node) or "", -1) for node in nodes], dtype=np.int64),
        billed=np.array([node in paths for node in nodes]),
        gold=gold,
    )
    return targets, LostCodes(retired, outside, {code: rows_of[code] for code in retired})


def no_targets(stays: int) -> Targets:
    """The targets of stays whose codes are not known: no node."""
    gold = csr_array((stays, 0), dtype=bool)
    return Targets((), (), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool), gold)


def subset(targets: Targets, fewest: int = FEWEST, dropped: Sequence[str] = DROPPED) -> np.ndarray:
    """The study's "cherry-picked" nodes, bool (nodes,): at least `fewest` stays, none of the dropped parts.

    All stays are counted, as in the study's filter, so that every fold asks for the same nodes.

    Args:
        dropped: nodes or ranges, with everything below them; a node that ends with a dot: only what lies below it.
    """
    frequent = np.asarray(targets.gold.sum(axis=0)).ravel() >= fewest
    outside = np.array([not any(_within(node, part) for part in dropped) for node in targets.nodes], dtype=bool)
    chosen: np.ndarray = frequent & outside
    return chosen


def groups_of(strategy: Strategy, targets: Targets) -> dict[str, np.ndarray]:
    """Group of nodes that a network of the strategy answers -> bool (nodes,); groups without a node are left out.

    With the study's networks of a level a node may be in two groups (a category on bills), or in none.
    """
    if not strategy.per_level:
        return {ALL: np.ones(len(targets.nodes), dtype=bool)}
    levels = np.array(targets.levels)
    names = tuple(dict.fromkeys(targets.levels)) if strategy.tree_levels else STUDY_GROUPS
    masks = {name: targets.billed if name == BILLING else levels == name for name in names}
    return {name: mask for name, mask in masks.items() if mask.any()}


def nodes_of(strategy: Strategy, targets: Targets) -> dict[str, np.ndarray]:
    """Group -> the rows of the nodes that its network answers, int64; the subset alone where the strategy has one.

    Raises:
        InputError: no node of the subset is in a group.
    """
    kept = subset(targets, strategy.subset_from) if strategy.subset_from else np.ones(len(targets.nodes), dtype=bool)
    found = {group: np.flatnonzero(mask & kept) for group, mask in groups_of(strategy, targets).items()}
    found = {group: nodes for group, nodes in found.items() if len(nodes)}
    if not found:
        raise InputError(f"no code of the subset has {strategy.subset_from} stays or more: there is nothing to learn")
    return found


def part_of(targets: Targets, rows: np.ndarray) -> Targets:
    """The targets of some nodes alone, in the order of `rows`, which rises; a parent is the nearest ancestor kept."""
    place = {int(row): new for new, row in enumerate(rows)}
    parents = []
    for row in rows.tolist():
        above = int(targets.parents[row])
        while above >= 0 and above not in place:
            above = int(targets.parents[above])
        parents.append(place.get(above, -1))
    return Targets(
        nodes=tuple(targets.nodes[row] for row in rows),
        levels=tuple(targets.levels[row] for row in rows),
        parents=np.array(parents, dtype=np.int64),
        billed=targets.billed[rows],
        gold=csr_array(targets.gold[:, rows]),
    )


def level_counts(targets: Targets) -> dict[str, int]:
    """Nodes of each level, of codes that were billed, and of all."""
    counts = Counter(targets.levels)
    billed = int(targets.billed.sum())
    return {**{level: counts[level] for level in TREE_LEVELS}, "billed": billed, "all": len(targets.nodes)}


def frequencies(gold: csr_array) -> np.ndarray:
    """(nodes,) float64: the share of the stays with each node; gold bool (stays, nodes).

    These are the answers of the study's dummy for every stay.

    >>> frequencies(csr_array(np.array([[True, False], [True, True]]))).tolist()
    [1.0, 0.5]

    Raises:
        ValueError: there are no stays.
    """
    if not gold.shape[0]:
        raise ValueError("there are no training stays to count")
    shares: np.ndarray = gold.astype(np.float64).sum(axis=0) / gold.shape[0]
    return shares


def _gold(
    stay_ids: Sequence[str],
    billed: Mapping[str, Sequence[str]],
    codes: Sequence[str],
    paths: Mapping[str, tuple[str, ...]],
    ontology: Ontology,
) -> tuple[tuple[str, ...], csr_array]:
    """The nodes in the tree's order (parents first), and which stays have them: (stays, codes) x (codes, nodes)."""
    present = {node for path in paths.values() for node in path}
    nodes = tuple(node for node in ontology.codes("diagnosis", billable=False) if node in present)
    node_row = {node: row for row, node in enumerate(nodes)}
    code_row = {code: row for row, code in enumerate(codes)}
    own = [[code_row[code] for code in dict.fromkeys(billed.get(stay, ())) if code in code_row] for stay in stay_ids]
    of_stays = indicator(own, len(codes))
    of_codes = indicator([[node_row[node] for node in paths[code]] for code in codes], len(nodes))
    gold = csr_array(of_stays @ of_codes)
    gold.sort_indices()
    return nodes, csr_array((np.ones(gold.nnz, dtype=bool), gold.indices, gold.indptr), shape=gold.shape)


def indicator(columns: Sequence[Sequence[int]], width: int) -> csr_array:
    """A 0/1 matrix, float32 (rows, width), from the columns of each row.

    >>> indicator([[0, 2], []], 3).toarray().tolist()
    [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """
    ends = np.cumsum([0, *map(len, columns)])
    flat = np.fromiter((column for own in columns for column in own), dtype=np.int64, count=int(ends[-1]))
    return csr_array((np.ones(len(flat), dtype=np.float32), flat, ends), shape=(len(columns), width))


def _within(node: str, part: str) -> bool:
    """Whether a node lies in a part of the tree; see `subset`."""
    first = node.split("-")[0]
    if "-" in part:
        return in_range(category_of(first), part)
    return node == part or node.startswith(part if "." in part else f"{part}.")
