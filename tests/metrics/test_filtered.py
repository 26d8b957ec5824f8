"""Figures over the codes with a gold example alone (Edin et al. 2023), worked by hand."""

import numpy as np
import pytest

from concept_icd.metrics import classification_metrics, codes_with_gold, ranking_metrics

# Codes A, B, C have gold; D is nobody's, and is ranked first for two of the notes.
GOLD = np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
P = np.array([[0.8, 0.3, 0.1, 0.9], [0.2, 0.7, 0.1, 0.4], [0.3, 0.1, 0.6, 0.9]])
# Accepted at .5: A D; B; C D. Of all codes TP 3, FP 2, FN 1, and one note is right; without D no FP, and two are right.


def test_micro_figures_and_exact_match():
    whole, filtered = (classification_metrics(GOLD, P, codes_with_gold_only=only) for only in (False, True))
    assert (whole["micro_f1"], filtered["micro_f1"]) == pytest.approx((6 / 9, 6 / 7))
    assert (whole["micro_precision"], filtered["micro_precision"]) == pytest.approx((3 / 5, 1))
    assert whole["micro_recall"] == filtered["micro_recall"] == 3 / 4
    assert (whole["exact_match"], filtered["exact_match"]) == pytest.approx((1 / 3, 2 / 3))
    # F1 of A, B, C: 1, 2/3, 1. The mean over codes with gold is the same figure either way.
    assert (whole["macro_f1"], filtered["macro_f1"]) == pytest.approx(((8 / 3) / 4, (8 / 3) / 3))
    assert whole["macro_f1_present"] == filtered["macro_f1_present"] == filtered["macro_f1"]


def test_ranks():
    whole, filtered = (ranking_metrics(GOLD, P, ks=(1, 2), codes_with_gold_only=only) for only in (False, True))
    # Ranks of the gold codes: 2, 3; 1; 2. Without D 1, 2; 1; 1.
    assert (whole["map"], filtered["map"]) == pytest.approx(((((1 / 2 + 2 / 3) / 2) + 1 + 1 / 2) / 3, 1))
    assert (whole["precision_at_1"], filtered["precision_at_1"]) == pytest.approx((1 / 3, 1))
    assert (whole["r_precision"], filtered["r_precision"]) == pytest.approx(((1 / 2 + 1 + 0) / 3, 1))


def test_nothing_changes_where_every_code_has_gold():
    kept = codes_with_gold(GOLD > 0)
    assert kept.tolist() == [True, True, True, False]
    for metric in (classification_metrics, ranking_metrics):
        once = metric(GOLD[:, kept], P[:, kept])
        assert metric(GOLD[:, kept], P[:, kept], codes_with_gold_only=True) == once
        assert metric(GOLD, P, codes_with_gold_only=True) == once


def test_no_code_left():
    for metric in (classification_metrics, ranking_metrics):
        with pytest.raises(ValueError, match="no code has a gold example"):
            metric(np.zeros((2, 3), int), np.full((2, 3), 0.5), codes_with_gold_only=True)
