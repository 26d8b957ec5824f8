"""The metrics of ICD coding, formula first. They know matrices (notes, codes) and nothing else.

Every function takes NumPy arrays, checks them first (ValueError), computes in float64 and returns floats by name.
Conventions (ties, notes or codes without gold, 0/0) stand in the text of each module.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from concept_icd.metrics.auc import area_metrics, precision_recall_curve
from concept_icd.metrics.calibration import calibration_metrics, equal_count_bins, equal_width_bins
from concept_icd.metrics.decisions import code_scores, confusion, decision_metrics, level_metrics
from concept_icd.metrics.inputs import check_pair, codes_with_gold
from concept_icd.metrics.intervals import bootstrap_intervals, headline_intervals, metric_intervals
from concept_icd.metrics.order import gain_curve, note_order, order_metrics
from concept_icd.metrics.ranking import rank_errors_at_recall, ranking_metrics

__all__ = [
    "area_metrics",
    "bootstrap_intervals",
    "calibration_metrics",
    "check_pair",
    "classification_metrics",
    "code_scores",
    "codes_with_gold",
    "confusion",
    "decision_metrics",
    "equal_count_bins",
    "equal_width_bins",
    "gain_curve",
    "headline_intervals",
    "level_metrics",
    "metric_intervals",
    "note_order",
    "order_metrics",
    "precision_recall_curve",
    "rank_errors_at_recall",
    "ranking_metrics",
]


def classification_metrics(
    gold: ArrayLike, probabilities: ArrayLike, threshold: float = 0.5, codes_with_gold_only: bool = False
) -> dict[str, float]:
    """Metrics of accepting a code at p >= threshold (`decisions`), and the areas, which need no threshold (`areas`).

    Args:
        gold: 0/1 (notes, codes). probabilities: (notes, codes) in 0..1.
        codes_with_gold_only: leave out codes without a gold example here, also of the micro figures and the exact
            match, as Edin et al. 2023 do. A code accepted in vain then costs nothing if it is nobody's.

    Returns:
        micro_f1, micro_precision, micro_recall, macro_f1, macro_f1_present, macro_f1_caml, macro_precision,
        macro_recall, exact_match; micro_ and macro_ auc, auprc (trapezoid) and average_precision.

    Raises:
        ValueError: see `inputs.check_pair`; no code is left.

    >>> gold, probabilities = [[1, 0, 0], [0, 1, 0]], [[0.9, 0.1, 0.6], [0.2, 0.8, 0.3]]
    >>> classification_metrics(gold, probabilities)["exact_match"]
    0.5
    >>> classification_metrics(gold, probabilities, codes_with_gold_only=True)["exact_match"]
    1.0
    """
    truth, values = check_pair(gold, probabilities, probabilities=True)
    if codes_with_gold_only:
        kept = codes_with_gold(truth)
        truth, values = truth[:, kept], values[:, kept]
    return decision_metrics(truth, values >= threshold) | area_metrics(truth, values)
