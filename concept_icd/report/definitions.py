"""What each figure means, in a line: the rows of the report's table, in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from concept_icd.metrics.order import KS


def _of_kind(kind: str) -> dict[str, str]:
    """The billing order of the codes of one kind."""
    return {
        f"graded_ndcg_{kind}": "gain P - g + 1 of the g-th billed of P codes, discount 1/log2(1 + rank), whole list",
        **{f"graded_ndcg_at_{k}_{kind}": f"the same, first {k}" for k in KS},
        f"kendall_tau_{kind}": "share of pairs of gold codes in billing order, less the share turned round; "
        "notes with two such codes",
        **{f"cumulative_gain_at_{k}_{kind}": f"gain of the first {k}, summed" for k in KS},
        **{f"graded_dcg_at_{k}_{kind}": f"discounted gain of the first {k}, summed" for k in KS},
    }


#: group -> metric -> definition.
DEFINITIONS: dict[str, dict[str, str]] = {
    "Accepted codes": {
        "micro_f1": "TP, FP, FN pooled over codes",
        "micro_precision": "share of accepted codes that are gold",
        "micro_recall": "share of gold codes that are accepted",
        "macro_f1": "mean of per-code F1 over all codes of the set",
        "macro_f1_present": "mean of per-code F1 over codes with a gold example here",
        "macro_f1_caml": "harmonic mean of macro precision and macro recall (as CAML); not comparable with macro_f1",
        "macro_precision": "mean of per-code precision over all codes of the set",
        "macro_recall": "mean of per-code recall over all codes of the set",
        "exact_match": "share of notes whose accepted set is the gold set",
    },
    "Areas (no threshold)": {
        "micro_auc": "ROC, all (note, code) pairs; ties count one half",
        "macro_auc": "ROC, mean over codes with a gold example",
        "micro_average_precision": "step sum under the precision-recall curve, all pairs",
        "macro_average_precision": "the same, mean over codes with a gold example",
        "micro_auprc": "trapezoid under the same curve (as Marcou et al.), all pairs",
        "macro_auprc": "the same, mean over codes with a gold example",
    },
    "Order of the codes (notes with a gold code)": {
        "precision_at_5": "share of the first 5 codes that are gold",
        "precision_at_8": "of the first 8",
        "precision_at_15": "of the first 15",
        "precision_ceiling_at_5": "the highest precision_at_5 that the gold allows: mean of min(gold codes, 5) / 5",
        "precision_ceiling_at_8": "of precision_at_8",
        "precision_ceiling_at_15": "of precision_at_15",
        "recall_at_5": "share of the gold codes among the first 5",
        "recall_at_8": "among the first 8",
        "recall_at_15": "among the first 15",
        "r_precision": "share of the first P codes that are gold, P gold codes in the note",
        "map": "mean average precision",
        "ndcg": "binary gain, discount 1/log2(1 + rank), whole list",
        "ndcg_at_5": "the same, first 5 codes",
        "ndcg_at_8": "first 8",
        "ndcg_at_15": "first 15",
        "coverage": "rank of the last gold code",
        "rank_errors_at_25": "wrong codes read before 25 % of the gold codes are found, step form",
        "rank_errors_at_50": "before 50 %",
        "rank_errors_at_75": "before 75 %",
        "rank_errors_at_100": "before all (= coverage less the gold codes)",
        "rank_errors_interp_at_25": "interpolated form (as the code of Marcou et al.), 25 %",
        "rank_errors_interp_at_50": "50 %",
        "rank_errors_interp_at_75": "75 %",
        "rank_errors_interp_at_100": "100 %",
    },
    "How far to read: the first suggestions for an expected recall of 90 % (notes with a gold code)": {
        "reading_depth_at_90": "suggestions to read",
        "reading_expected_at_90": "recall expected among them; above .9, since a whole number of them is read",
        "reading_recall_at_90": "recall found among them: the share of the note's gold codes, mean over notes",
        "reading_reached_at_90": "share of notes in which the recall found is at least .9",
        "reading_errors_at_90": "wrong codes among them: read in vain",
        "reading_fixed_depth_at_90": "the one number for all notes with the same recall found; chosen on these notes, "
        "linear between whole numbers",
    },
    "The principal diagnosis": {
        "primary_accuracy": "share of notes whose top-ranked diagnosis is the principal diagnosis",
        "primary_notes": "notes whose principal diagnosis is in the label set: the denominator of this group",
        "primary_mrr": "mean 1/rank of the principal diagnosis among diagnoses",
        **{f"primary_hit_at_{k}": f"share with the principal diagnosis among the first {k} diagnoses" for k in KS},
    },
    "Billing order, diagnoses (notes with a gold diagnosis)": _of_kind("diagnoses"),
    "Billing order, procedures (notes with a gold procedure)": _of_kind("procedures"),
    "Calibration": {
        "brier": "mean squared error of the probabilities, all pairs",
        "ece": "expected calibration error of the predicted side: confidence max(p, 1 - p) against the share that is "
        "right, 500 bins of equal count (Marcou et al. 2024)",
        "mce": "the largest error of a bin, same bins",
        "ece_positive": "expected calibration error of the probability itself: p against the share of positives, 500 "
        "bins of equal count; not comparable with ece",
        "mce_positive": "the largest error of a bin, same bins",
        "ece_equal_width": "as ece_positive, 500 bins of equal width",
        "mce_equal_width": "the largest error of a bin, same bins",
        "brier_above_1_percent": "pairs with a probability above .01 only",
        "ece_above_1_percent": "as ece_positive, pairs above .01 only",
        "mce_above_1_percent": "the largest error of a bin, same bins",
    },
}
#: What "filtered" means.
FILTER = "codes without a gold example in the test notes are left out, false alarms on them too (Edin et al. 2023)"
FILTER_SHOWN = ("micro_f1", "macro_f1", "macro_f1_caml", "exact_match", "precision_at_8", "map")
#: The row that is shown for each system where several are compared.
HEADLINE = (
    *("micro_f1", "macro_f1", "macro_f1_present", "macro_f1_caml"),
    *("micro_auc", "macro_auc", "precision_at_5", "map", "ndcg"),
)
#: The same for what is read in vain, and how far to read.
READING = (
    *("rank_errors_at_50", "rank_errors_at_75", "rank_errors_at_100"),
    *("reading_depth_at_90", "reading_recall_at_90", "reading_errors_at_90"),
)
#: The same for the billing order, where the gold has one.
ORDER = (
    *("primary_accuracy", "primary_mrr", "graded_ndcg_diagnoses", "graded_ndcg_procedures"),
    *("kendall_tau_diagnoses", "kendall_tau_procedures"),
)
#: The columns beside published rows; those after the first three are shown where a published row has them.
FIELD = (
    *("micro_f1", "macro_f1", "macro_f1_caml", "macro_f1_present"),
    *("micro_auc", "macro_auc", "precision_at_5", "precision_at_8", "precision_at_15"),
)
#: The rows of the table that the command prints.
SUMMARY = (
    *("micro_f1", "micro_precision", "micro_recall", "macro_f1", "macro_f1_present", "macro_f1_caml", "exact_match"),
    *("micro_auc", "macro_auc", "micro_average_precision", "macro_average_precision"),
    *("precision_at_5", "precision_at_8", "precision_at_15", "recall_at_8", "r_precision", "map", "ndcg"),
    *(f"rank_errors_at_{recall}" for recall in (25, 50, 75, 100)),
    *(f"reading_{name}_at_90" for name in ("depth", "expected", "recall", "reached", "errors", "fixed_depth")),
    *(*ORDER, "ece", "ece_positive", "brier"),
)


#: What a reader looks at first: the first six of these that there are.
FIRST = (
    *("micro_f1", "macro_f1", "micro_auc", "precision_at_5", "rank_errors_at_100", "ece_positive"),
    *("micro_precision", "micro_recall", "macro_f1_present", "exact_match"),
)
_LESS = ("rank_errors_", "reading_errors_", "reading_depth_", "reading_fixed_", "brier", "ece", "mce", "coverage")
_NEITHER = ("primary_notes", "reading_expected_", "precision_ceiling_")


def headline(figures: Mapping[str, Any]) -> list[str]:
    """The six metrics that a reader looks at first.

    >>> headline({"micro_f1": 0.8, "exact_match": 0.5, "map": 0.9})
    ['micro_f1', 'exact_match']
    """
    return [name for name in FIRST if name in figures][:6]


def direction(metric: str) -> str:
    """An arrow: whether more or less of this figure is better; empty where neither is.

    >>> direction("micro_f1"), direction("rank_errors_at_100"), direction("ece"), direction("primary_notes")
    ('↑', '↓', '↓', '')
    """
    if metric.startswith(_NEITHER):
        return ""
    return "↓" if metric.startswith(_LESS) else "↑"


def ceiling(figures: Mapping[str, float | None], metric: str) -> float | None:
    """The highest value that the gold codes allow for a precision at k, where it is below 1."""
    found = figures.get(metric.replace("precision_at_", "precision_ceiling_at_")) if "precision_at_" in metric else None
    return None if found is None or found >= 1 else found


def field_columns(published: Mapping[str, Any]) -> tuple[str, ...]:
    """The metrics of `FIELD` to show beside these published rows: both macro-F1s always."""
    found = {metric for row in published["rows"] for metric in row["figures"]}
    return tuple(metric for metric in FIELD if metric in FIELD[:3] or metric in found)


def own_rows(
    published: Mapping[str, Any], figures: Mapping[str, Any], filtered: Mapping[str, Any]
) -> list[tuple[str, Mapping[str, Any]]]:
    """These predictions, and filtered where a published row is: that row compares with the filtered figures alone."""
    rows = [("these predictions", figures)]
    if filtered and any(row.get("filtered") for row in published["rows"]):
        rows.append(("these predictions, filtered", filtered))
    return rows


def published_name(row: Mapping[str, Any]) -> str:
    """What a published row is called in a table."""
    return f"{row['system']} {row['year']}" + (", filtered" if row.get("filtered") else "")


def describe_source(row: Mapping[str, Any]) -> str:
    """Where a published row is from, how it is known, and its caveat, in words."""
    accepted = f"; accepted at {row['threshold']}" if row["threshold"] else ""
    accepted += f"; {FILTER}" if row.get("filtered") else ""
    caveat = f". Caveat: {row['caveat']}" if row["caveat"] else ""
    return f"{row['source']}; {row['known']}{accepted}{caveat}"
