"""The figures of a handful of stays, worked by hand: sets of nodes, thresholds per level, and both rank errors."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from concept_icd.models.medications.dummy import frequencies
from concept_icd.models.medications.figures import PER_STAY, choose_thresholds, node_sets, study_figures
from concept_icd.models.medications.records import Targets

LEVELS = ("chapter", "chapter", "category", "category", "code")
#: Stay 0 has a chapter, a category and a code; stay 1 a chapter and a category; stay 2 nothing.
GOLD = np.array([[1, 0, 1, 0, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], dtype=bool)
P = np.array([[0.9, 0.8, 0.3, 0.5, 0.1], [0.6, 0.7, 0.4, 0.2, 0.3], [0.1, 0.1, 0.2, 0.1, 0.1]])
TARGETS = Targets(
    nodes=("A", "B", "A.1", "B.1", "B.12"),
    levels=LEVELS,
    parents=np.array([-1, -1, 0, 1, 3]),
    billed=np.array([False, False, True, True, True]),
    gold=csr_array(GOLD),
)


def rows(sets):
    return {name: found.tolist() for name, found in sets.items()}


def test_sets_of_nodes():
    assert rows(node_sets(TARGETS)) == {
        "all levels": [0, 1, 2, 3, 4], "chapter": [0, 1], "category": [2, 3], "code": [4], "billing": [2, 3, 4],
    }  # fmt: skip
    with_subset = node_sets(TARGETS, np.array([True, True, True, False, False]))
    assert with_subset["billing, subset"].tolist() == [2]
    assert with_subset["all levels, subset"].tolist() == [0, 1, 2]
    assert "code, subset" not in with_subset  # no node is left


def test_thresholds_of_each_level():
    found = choose_thresholds(GOLD, P, LEVELS)
    # Chapters, by falling probability: .9 gold, .8 not, .7 gold, .6 not: F1 2/3, 1/2, 4/5, 2/3 -> between .7 and .6.
    assert found["chapter"] == pytest.approx(0.65)
    # Categories: .5 not, .4 not, .3 gold, .2 gold and .2 not, .1 not: F1 0, 0, 2/5, 4/7, 1/2 -> between .2 and .1.
    assert found["category"] == pytest.approx(0.15)
    assert found["code"] == pytest.approx(0.05)  # the gold one is among the lowest: everything is accepted
    assert choose_thresholds(np.zeros_like(GOLD), P, LEVELS)["chapter"] == 1.0


def test_figures():
    thresholds = {"chapter": 0.65, "category": 0.25, "code": 0.5}
    figures, stays = study_figures(GOLD, P, TARGETS, node_sets(TARGETS), thresholds)
    everything = figures["all levels"]
    assert (everything["nodes"], everything["stays_with_gold"]) == (5, 2)
    # Stay 0: ranks of its gold nodes 1, 4, 5, so 0, 2, 2 wrong above them. Stay 1: ranks 1 and 5, so 0 and 3.
    assert everything["rank_errors_at_50"] == (2 + 0) / 2
    assert everything["rank_errors_at_50_interp"] == (2 + 1.5) / 2
    assert everything["rank_errors_at_100"] == everything["rank_errors_at_100_interp"] == (2 + 3) / 2
    assert everything["recall_at_5"] == 1.0
    column = {name: place for place, name in enumerate(PER_STAY)}
    assert stays["all levels"].shape == (3, len(PER_STAY))
    assert stays["all levels"][:2, column["rank_errors_at_100"]].tolist() == [2.0, 3.0]
    assert np.isnan(stays["all levels"][2]).all()
    # A node is accepted by its own level's threshold: chapters .9 .8 .7, categories .3 .5 .4, no code.
    # True among them: .9, .7, .3. Gold: five nodes.
    assert everything["micro_f1"] == pytest.approx(2 * 3 / (6 + 5))
    assert figures["code"]["stays_with_gold"] == 1
    assert figures["chapter"]["brier"] == pytest.approx((0.01 + 0.64 + 0.36 + 0.09 + 0.01 + 0.01) / 6)


def test_the_dummy():
    assert frequencies(csr_array(GOLD)).tolist() == pytest.approx([1 / 3] * 5)
    with pytest.raises(ValueError, match="no training stays"):
        frequencies(csr_array(GOLD)[:0])
