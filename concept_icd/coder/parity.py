"""How far two scorers agree on the same notes, and whether a coder's codes would change with the scorer.

It compares matrices of scores; it neither loads models nor sees gold codes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

from concept_icd.errors import InputError
from concept_icd.heads.calibration import Threshold
from concept_icd.scoring.scorer import ConceptScores


def compare_scores(first: ConceptScores, second: ConceptScores) -> dict[str, Any]:
    """Gaps and rank correlations of two score matrices.

    Returns:
        "notes" and "questions"; "largest_gap" and "mean_gap": of |first - second|, in nats of log-odds;
        "rank_correlation": Spearman's over all scores, and "rank_correlation_within_notes": its mean and its lowest
        over notes (None where a matrix or a row is constant); "cut_differently": notes of which not the same was read.

    Raises:
        InputError: the scores are not of the same notes and concepts.
    """
    if first.note_ids != second.note_ids or first.concept_hash != second.concept_hash:
        raise InputError("the two scorers were not given the same notes and concepts")
    gaps = np.abs(first.logits.astype(np.float64) - second.logits)
    within = [rho for a, b in zip(first.logits, second.logits, strict=True) if (rho := _spearman(a, b)) is not None]
    return {
        "notes": len(first),
        "questions": int(first.logits.shape[1]),
        "largest_gap": float(gaps.max(initial=0.0)),
        "mean_gap": float(gaps.mean()) if gaps.size else 0.0,
        "rank_correlation": _spearman(first.logits.ravel(), second.logits.ravel()),
        "rank_correlation_within_notes": {
            "mean": float(np.mean(within)) if within else None,
            "lowest": float(min(within)) if within else None,
        },
        "cut_differently": sum(a != b for a, b in zip(first.truncated, second.truncated, strict=True)),
    }


def compare_codes(
    threshold: Threshold, probabilities: tuple[np.ndarray, np.ndarray], orders: tuple[np.ndarray, np.ndarray]
) -> dict[str, Any]:
    """What a coder makes of either matrix.

    Args:
        probabilities: what it gives for the first and the second scores, shape (notes, codes) each. orders: the column
            at each rank, of the same shapes.

    Returns:
        "accepted": codes accepted with the first scores; "accepted_changed": (note, code) pairs accepted with one
        matrix alone; "notes_with_changes"; "first_code_changed": notes whose first code is another;
        "largest_probability_gap".
    """
    p, q = probabilities
    accepted, (ranked, ranked_other) = threshold.accept(p), orders
    changed = accepted != threshold.accept(q)
    return {
        "codes": p.shape[1],
        "accepted": int(accepted.sum()),
        "accepted_changed": int(changed.sum()),
        "notes_with_changes": int(changed.any(axis=1).sum()),
        "first_code_changed": int((ranked[:, 0] != ranked_other[:, 0]).sum()),
        "largest_probability_gap": float(np.abs(p - q).max(initial=0.0)),
    }


def _spearman(first: np.ndarray, second: np.ndarray) -> float | None:
    """Pearson's correlation of the ranks, ties at their mean rank; None where one side is constant."""
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])
