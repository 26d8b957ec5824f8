"""Bills rolled up the tree by hand, and the study's subset."""

import numpy as np
import pytest

from concept_icd.errors import InputError
from concept_icd.medications.targets import level_counts, part_of, roll_up, subset
from concept_icd.ontology.tree import load_ontology

ONTOLOGY = load_ontology()
BILLED = {
    "1": ("428.0", "V58.61", "585", "428.0"),
    "2": ("585.9", "E812.0", "765.18", "999.99", "12345", "36.01", "V99.1"),
}


def gold_of(targets, row):
    return [targets.nodes[column] for column in targets.gold[[row]].indices]


def test_codes_and_all_their_ancestors():
    targets, _ = roll_up(["1", "2", "3"], BILLED, ONTOLOGY)
    assert gold_of(targets, 0) == [
        "390-459", "420-429", "428", "428.0", "580-629", "580-589", "585", "V01-V91", "V50-V59", "V58", "V58.6",
        "V58.61",
    ]  # fmt: skip
    assert gold_of(targets, 2) == []
    assert targets.gold.dtype == bool
    assert targets.gold.shape == (3, len(targets.nodes))


def test_parents_levels_and_what_was_billed():
    targets, _ = roll_up(["1", "2", "3"], BILLED, ONTOLOGY)
    for row, node in enumerate(targets.nodes):
        parent = targets.parents[row]
        assert (targets.nodes[parent] if parent >= 0 else None) == ONTOLOGY.parent(node)
        assert parent < row
        assert targets.levels[row] == ONTOLOGY.level(node)
    billed = {node for node, own in zip(targets.nodes, targets.billed, strict=True) if own}
    assert billed == {"428.0", "V58.61", "585", "585.9", "E812.0", "765.18"}  # 585 at the third digit, as it was billed
    assert level_counts(targets) == {
        "chapter": 6, "section": 6, "category": 6, "subcategory": 6, "code": 2, "billed": 6, "all": 26,
    }  # fmt: skip


def test_what_the_tree_lacks_is_placed_or_left_out_by_name():
    targets, lost = roll_up(["1", "2"], BILLED, ONTOLOGY)
    assert lost.retired == {"999.99": "999.9"}
    assert lost.retired_rows == {"999.99": 1}
    assert {"999.9", "999", "800-999"} <= set(gold_of(targets, 1))
    assert lost.outside == {"12345": 1, "36.01": 1, "V99.1": 1}  # malformed, a procedure, in no chapter


def test_all_19_chapters_are_there_where_their_codes_are():
    codes = tuple(ONTOLOGY.codes("diagnosis"))
    targets, _ = roll_up(["1"], {"1": codes}, ONTOLOGY)
    counts = level_counts(targets)
    assert (counts["chapter"], counts["section"], counts["billed"]) == (19, 154, 14_567)
    assert counts["all"] == 17_726


def test_no_code_at_all_stops_with_a_sentence():
    with pytest.raises(InputError, match="no stay has an ICD-9-CM diagnosis code of the tree"):
        roll_up(["1"], {"1": ("12345",)}, ONTOLOGY)


def test_the_subset_drops_rare_codes_and_parts_of_the_tree():
    targets, _ = roll_up(["1", "2", "3"], BILLED, ONTOLOGY)
    kept = {node for node, own in zip(targets.nodes, subset(targets, fewest=1), strict=True) if own}
    assert kept == {
        "390-459", "420-429", "428", "428.0", "580-629", "580-589", "585", "585.9", "760-779", "764-779", "765",
    }  # fmt: skip  # of 765 only what begins with "765." goes
    twice = {node for node, own in zip(targets.nodes, subset(targets, fewest=2), strict=True) if own}
    assert twice == {"580-629", "580-589", "585"}


def test_the_dropped_parts_are_those_of_the_tree():
    codes = tuple(ONTOLOGY.codes("diagnosis"))
    targets, _ = roll_up(["1"], {"1": codes}, ONTOLOGY)
    kept = subset(targets, fewest=0)
    for node, own in zip(targets.nodes, kept, strict=True):
        dropped = node.startswith("765.") or not {"800-999", "E000-E999", "V01-V91"}.isdisjoint(ONTOLOGY.path(node))
        assert own != dropped, node


def test_a_part_of_the_targets_keeps_the_nearest_ancestors():
    targets, _ = roll_up(["1", "2", "3"], BILLED, ONTOLOGY)
    wanted = ["390-459", "428.0", "585", "585.9"]
    rows = np.array([targets.nodes.index(node) for node in wanted])
    part = part_of(targets, rows)
    assert part.nodes == tuple(wanted)
    assert part.levels == ("chapter", "subcategory", "category", "subcategory")
    assert part.parents.tolist() == [-1, 0, -1, 2]
    assert part.gold.toarray().tolist() == targets.gold.toarray()[:, rows].tolist()
