"""Metrics of a decision per (note, code): precision, recall, F1 in all the field's averages, exact match.

    P_c = TP_c / (TP_c + FP_c)    R_c = TP_c / (TP_c + FN_c)    F_c = 2 TP_c / (2 TP_c + FP_c + FN_c)

    micro_precision, micro_recall, micro_f1   the same with TP, FP, FN pooled over codes
    macro_f1           mean of F_c over all codes of the set
    macro_f1_present   mean of F_c over codes with a gold example (Edin et al. 2023)
    macro_f1_caml      2 P R / (P + R) with P, R the means of P_c, R_c over all codes (Mullenbach et al. 2018)
    exact_match        share of notes whose accepted set is the gold set

Conventions: 0/0 is 0, so a code without gold and without prediction lowers macro_f1 (as scikit-learn's default and
CAML's script do). `macro_f1_present` only leaves codes out of the mean; Edin's filter leaves them out of every figure
(`codes_with_gold_only` of `classification_metrics`). `exact_match` is over all notes; an empty set matches an empty
gold set.

`level_metrics` says how well concepts are scored: areas over the concepts of one level of the hierarchy at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from concept_icd.metrics.auc import area_metrics
from concept_icd.metrics.inputs import Bools, Floats, check_binary, check_pair


def decision_metrics(gold: ArrayLike, decisions: ArrayLike) -> dict[str, float]:
    """Precision, recall, the F1 family and exact match of accepted codes.

    Args:
        gold: 0/1 (notes, codes). decisions: 0/1, same shape: the code was accepted for the note.

    Raises:
        ValueError: see `inputs.check_binary`; different shapes.

    >>> found = decision_metrics([[1, 0], [1, 1]], [[1, 1], [1, 0]])  # TP 2 and 0, FP 0 and 1, FN 0 and 1
    >>> round(found["micro_f1"], 3), found["macro_f1"], found["exact_match"]
    (0.667, 0.5, 0.0)
    """
    truth, accepted = check_decisions(gold, decisions)
    family = f1_family(*confusion(truth, accepted))
    exact = float((truth == accepted).all(axis=1).mean())
    return {name: float(value) for name, value in family.items()} | {"exact_match": exact}


def check_decisions(gold: ArrayLike, decisions: ArrayLike) -> tuple[Bools, Bools]:
    """Both as bool matrices of one shape; ValueError otherwise."""
    truth, accepted = check_binary(gold, "gold"), check_binary(decisions, "decisions")
    if truth.shape != accepted.shape:
        raise ValueError(f"gold has shape {truth.shape} and the decisions {accepted.shape}; both are (notes, codes)")
    return truth, accepted


def confusion(gold: Bools, decisions: Bools) -> tuple[Floats, Floats, Floats]:
    """TP, FP, FN per code, each (codes,).

    >>> [counts.tolist() for counts in confusion(np.array([[1, 0], [1, 1]]) > 0, np.array([[1, 1], [1, 0]]) > 0)]
    [[2.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    """
    tp = (gold & decisions).sum(axis=0, dtype=np.float64)
    return tp, decisions.sum(axis=0, dtype=np.float64) - tp, gold.sum(axis=0, dtype=np.float64) - tp


def f1_family(tp: Floats, fp: Floats, fn: Floats) -> dict[str, Floats]:
    """The module's averages from counts (..., codes); each value has the leading shape (samples of the jackknife)."""
    precision, recall, f1 = code_scores(tp, fp, fn)
    micro_precision, micro_recall, micro_f1 = code_scores(tp.sum(axis=-1), fp.sum(axis=-1), fn.sum(axis=-1))
    macro_precision, macro_recall = precision.mean(axis=-1), recall.mean(axis=-1)
    return {
        "micro_f1": micro_f1,
        "micro_precision": micro_precision,
        "micro_recall": micro_recall,
        "macro_f1": f1.mean(axis=-1),
        "macro_f1_present": _ratio(f1.sum(axis=-1), (tp + fn > 0).sum(axis=-1)),  # without gold, F_c is 0
        "macro_f1_caml": _ratio(2 * macro_precision * macro_recall, macro_precision + macro_recall),
        "macro_precision": macro_precision,
        "macro_recall": macro_recall,
    }


def code_scores(tp: Floats, fp: Floats, fn: Floats) -> tuple[Floats, Floats, Floats]:
    """P_c, R_c, F_c of the module's formulas, elementwise.

    >>> [values.tolist() for values in code_scores(np.array([1.0, 0.0]), np.array([1.0, 0.0]), np.array([3.0, 2.0]))]
    [[0.5, 0.0], [0.25, 0.0], [0.3333333333333333, 0.0]]
    """
    return _ratio(tp, tp + fp), _ratio(tp, tp + fn), _ratio(2 * tp, 2 * tp + fp + fn)


def _ratio(numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    out: NDArray[np.float64] = np.zeros(np.broadcast_shapes(top.shape, bottom.shape))
    return np.divide(top, bottom, out=out, where=bottom != 0)


def level_metrics(scores: ArrayLike, weak_labels: ArrayLike, levels: Sequence[str]) -> dict[str, dict[str, float]]:
    """`micro_auc`, `macro_auc`, `micro_average_precision`, `macro_average_precision` and sizes, for each level.

    Args:
        scores: (notes, concepts) logits or probabilities. weak_labels: 0/1 (notes, concepts): the concept covers a
            gold code of the note. levels: (concepts,) the level of each concept; the result keeps their order.

    Returns:
        level -> the areas, `concepts` (of the level), `concepts_present` (with a positive note), `positives` (share).

    Raises:
        ValueError: see `inputs.check_pair`; not one level per concept.

    >>> found = level_metrics([[2.0, 0.5], [-3.0, 0.7]], [[1, 1], [0, 0]], ["chapter", "code"])
    >>> {level: row["micro_auc"] for level, row in found.items()}
    {'chapter': 1.0, 'code': 0.0}
    """
    truth, values = check_pair(weak_labels, scores)
    if len(levels) != truth.shape[1]:
        raise ValueError(f"{truth.shape[1]} concepts but {len(levels)} levels")
    found: dict[str, dict[str, float]] = {}
    for level in dict.fromkeys(levels):
        columns = np.array([name == level for name in levels])
        areas = area_metrics(truth[:, columns], values[:, columns])
        found[level] = {
            "concepts": float(columns.sum()),
            "concepts_present": float(truth[:, columns].any(axis=0).sum()),
            "positives": float(truth[:, columns].mean()),
            **{
                f"{mean}_{area}": areas[f"{mean}_{area}"]
                for area in ("auc", "average_precision")
                for mean in ("micro", "macro")
            },
        }
    return found
