"""The JSON lines that every baseline writes, one note a line, as `concept-icd evaluate` and `compare` read them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from concept_icd import __version__
from concept_icd.heads.calibration import Threshold

PREDICTIONS = "predictions.jsonl"


def by_probability(probabilities: np.ndarray) -> np.ndarray:
    """Columns (codes,) by falling probability (codes,), equals in the label set's order."""
    return np.argsort(-probabilities, kind="stable")


def prediction_line(
    note_id: str,
    kinds: Mapping[str, str],
    probabilities: np.ndarray,
    accepted: np.ndarray,
    order: np.ndarray,
    versions: Mapping[str, str],
    *,
    truncated: str | None = None,
    top_codes: int = 0,
) -> str:
    """One line, with its end.

    Args:
        kinds: label -> "diagnosis" or "procedure", in the order of the columns.
        probabilities: (codes,). accepted: bool (codes,). order: columns, first-ranked first.
        truncated: what was not read of the note. top_codes: codes of the line, the first-ranked; 0: all.
    """
    codes = list(kinds)
    ranked = [
        {
            "rank": rank,
            "code": codes[column],
            "kind": kinds[codes[column]],
            "probability": float(probabilities[column]),
            "accepted": bool(accepted[column]),
        }
        for rank, column in enumerate(order[: top_codes or None].tolist(), start=1)
    ]
    line = {"note_id": note_id, "codes": ranked, "truncated": truncated, "versions": dict(versions)}
    return json.dumps(line, ensure_ascii=False) + "\n"


def kinds_of(diagnoses: Sequence[str], procedures: Sequence[str]) -> dict[str, str]:
    """Label -> kind, diagnoses first."""
    return dict.fromkeys(diagnoses, "diagnosis") | dict.fromkeys(procedures, "procedure")


def versions_of(model: str, threshold: Threshold) -> dict[str, str]:
    """What produced a prediction."""
    return {
        "concept-icd": __version__,
        "model": model,
        "threshold": f"{threshold.value:.3f}: {threshold.source}",
    }
