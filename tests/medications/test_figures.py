"""The figures of a handful of stays, worked by hand: sets of nodes, thresholds per level, and both rank errors."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from concept_icd.medications.strategy import Targets
from concept_icd.medications.study.figures import PER_STAY, TARGET_METRICS, choose_thresholds, node_sets, study_figures
from concept_icd.medications.targets import frequencies

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
        "billing, top 50": [2, 3, 4],
    }  # fmt: skip
    with_subset = node_sets(TARGETS, np.array([True, True, True, False, False]))
    assert with_subset["billing, subset"].tolist() == [2]
    assert with_subset["all levels, subset"].tolist() == [0, 1, 2]
    assert "code, subset" not in with_subset  # no node is left


def test_the_most_frequent_billing_codes():
    """Of 60 billed nodes with 60, 59, ... stays, the first 50; and an unbilled one with all stays is not among them."""
    gold = np.tril(np.ones((61, 61), dtype=bool)).T  # column k is had by the first k + 1 stays
    targets = Targets(
        nodes=tuple(f"{k:03}" for k in range(61)),
        levels=("category",) * 61,
        parents=np.full(61, -1),
        billed=np.arange(61) < 60,
        gold=csr_array(gold.astype(bool)),
    )
    assert node_sets(targets)["billing, top 50"].tolist() == list(range(10, 60))


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
    sets = node_sets(TARGETS)
    figures, stays = study_figures(GOLD, dict.fromkeys(sets, P), TARGETS, sets, thresholds)
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
    assert (everything["micro_precision"], everything["micro_recall"]) == pytest.approx((3 / 6, 3 / 5))
    # At .5, above it: .9 .8 .6 .7, of which .9 and .7 are true; 2 of the 5 gold nodes.
    assert everything["micro_precision_at_half"] == pytest.approx(2 / 4)
    assert everything["micro_recall_at_half"] == pytest.approx(2 / 5)
    assert everything["micro_f1_at_half"] == pytest.approx(2 * 2 / (4 + 5))
    # Per node: A 1 of 2 taken, 1 gold: 2/3; B likewise; A.1, B.1 and B.12 have none.
    assert everything["macro_f1_at_half"] == pytest.approx((2 / 3 + 2 / 3) / 5)
    # Recall at 1, 2, 3, ...: stay 0 finds one of three at ranks 1, 4, 5; stay 1 one of two at 1 and 5.
    assert everything["recall_curve"][:6] == pytest.approx([5 / 12] * 3 + [7 / 12, 1, 1])
    assert len(everything["recall_curve"]) == 100
    assert [everything[f"rank_errors_at_{recall}"] for recall in (10, 25, 33, 66, 75, 90)] == [0, 0, 0, 2.5, 2.5, 2.5]
    assert set(TARGET_METRICS) <= set(everything)
    assert figures["code"]["stays_with_gold"] == 1
    # Predicted side of chapters: confidences .9 .8 .6 .7 .9 .9, right: yes no no yes yes yes; the study's ECE and MCE
    # have a bin for each confidence, so .9 has three pairs that are right: .1; .8 and .6 are wrong, .7 is right: .3.
    assert figures["chapter"]["ece"] == pytest.approx((3 * 0.1 + 0.8 + 0.6 + 0.3) / 6)
    assert figures["chapter"]["mce"] == pytest.approx(0.8)
    # Ours, of the probability: .9 true, .8 false, .6 false, .7 true, .1 and .1 false.
    assert figures["chapter"]["ece_positive"] == pytest.approx((0.1 + 0.8 + 0.6 + 0.3 + 2 * 0.1) / 6)
    assert figures["chapter"]["brier"] == pytest.approx((0.01 + 0.64 + 0.36 + 0.09 + 0.01 + 0.01) / 6)


def test_the_dummy():
    assert frequencies(csr_array(GOLD)).tolist() == pytest.approx([1 / 3] * 5)
    with pytest.raises(ValueError, match="no training stays"):
        frequencies(csr_array(GOLD)[:0])
