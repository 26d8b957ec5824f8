"""From predictions to `results.json` and one self-contained `report.html`.

given = EvaluationInputs(gold, probabilities, codes, note_ids, threshold=t, threshold_source="...")
results = evaluate(given)
write_report(results, "runs/test")
"""

from __future__ import annotations

from pathlib import Path

from concept_icd.artifacts import write_json
from concept_icd.outputs import new_folder
from concept_icd.report.comparison import SideBySide
from concept_icd.report.page import render_comparison, render_results
from concept_icd.report.results import EvaluationInputs, Results, evaluate

__all__ = ["EvaluationInputs", "Results", "evaluate", "write_comparison", "write_report"]


def write_report(
    results: Results, folder: str | Path, *, title: str = "Evaluation of ICD-9-CM codes", overwrite: bool = False
) -> Path:
    """Writes `results.json` and `report.html`, by rename.

    Returns:
        The path of `report.html`.

    Raises:
        InputError: `folder` exists and `overwrite` is False, or it cannot be written.
    """
    plain = results.to_dict()
    with new_folder(folder, "evaluate", overwrite=overwrite) as staging:
        write_json(staging / "results.json", plain)
        (staging / "report.html").write_text(render_results(plain, title), encoding="utf-8")
    return Path(folder) / "report.html"


def write_comparison(found: SideBySide, folder: str | Path, *, title: str, overwrite: bool = False) -> Path:
    """Writes `compare.json` and `compare.html`, by rename.

    Returns:
        The path of `compare.html`.

    Raises:
        InputError: `folder` exists and `overwrite` is False, or it cannot be written.
    """
    as_json = found.to_dict()
    with new_folder(folder, "compare", overwrite=overwrite) as staging:
        write_json(staging / "compare.json", as_json)
        (staging / "compare.html").write_text(render_comparison(as_json, title), encoding="utf-8")
    return Path(folder) / "compare.html"
