"""Writes benchmarks/README.md from benchmarks/results/*.json, so that no figure is copied by hand.

    python benchmarks/summary.py

A benchmark's text is a Jinja2 template in benchmarks/templates; the keys of its result are the template's variables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from printed import band, figure

HERE = Path(__file__).resolve().parent
#: Results in the page's order; and of two that share another's template, that template.
SECTIONS = (
    *("cmc2007", "ablations", "levels", "language_models", "evidence", "calibration", "familiarity"),
    *("trees", "shipped_coder", "codiesp_tracks", "codiesp", "rivals", "questions", "asking", "asking_smollm2"),
    *("descent", "reading", "ordering", "ordering_demo_tables", "prepare_mimic3", "medication_tables"),
    *("medication_metrics", "medication_network", "medication_epoch", "medication_quality", "medication_demo"),
    *("packed_scoring", "vllm_scoring", "vllm_reports", "ray_overhead", "growth", "packed_training", "gpu"),
    *("evaluation", "interval_coverage", "heads", "ranking_head", "ranking_speed", "label_attention"),
    *("desk", "desk_kill"),
)
TEMPLATES = {
    **{"medication_epoch": "medication_network", "medication_demo": "medication_quality"},
    "asking_smollm2": "asking",
}


def estimate(row: Mapping[str, Any], name: str = "mean", digits: int = 3, sign: str = "") -> str:
    """A figure and its interval: "0.862 [0.845, 0.877]"."""
    return figure(row[name], digits, sign) + band(row, digits, sign)


def spread(row: Mapping[str, Any], digits: int = 3) -> str:
    """A mean over seeds and its standard deviation: "0.8398 ± 0.0051"."""
    return figure(row["mean"], digits) + ("" if row["sd"] is None else f" ± {figure(row['sd'], digits)}")


def about(row: Mapping[str, Any]) -> str:
    """A mean and its interval, each with three digits that count."""

    def short(value: float) -> str:
        return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"

    return short(row["mean"]) + ("" if row["low"] is None else f" [{short(row['low'])}, {short(row['high'])}]")


def span(counts: Iterable[int]) -> str:
    """ "45", or "41 to 45"."""
    return " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))


def columns(*names: str | Iterable[str]) -> str:
    """The first two lines of a table: its columns' names, single or several at a time, and what Markdown asks for."""
    flat = [each for name in names for each in ([name] if isinstance(name, str) else name)]
    return "|" + "".join(f" {name} |".replace("  ", " ") for name in flat) + "\n|" + "---|" * len(flat)


def minus(found: Mapping[str, Mapping[str, float]], a: str, b: str) -> Mapping[str, float]:
    """The stored difference a - b, or b - a turned round."""
    if f"{a} - {b}" in found:
        return found[f"{a} - {b}"]
    row = found[f"{b} - {a}"]
    return {"difference": -row["difference"], "low": -row["high"], "high": -row["low"]}


PAGES = Environment(
    loader=FileSystemLoader(HERE / "templates"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
PAGES.globals |= {"columns": columns, "minus": minus}
PAGES.filters |= {
    "f": lambda value, spec=".3f": format(value, spec),
    "mib": lambda size: f"{size / 2**20:,.0f} MiB",
    "gib": lambda size: f"{size / 2**30:.1f} GiB",
    **{function.__name__: function for function in (estimate, band, spread, about, span, median)},
    "mean": fmean,
}


def section(name: str, result: Mapping[str, Any]) -> str:
    """A benchmark's text and tables, and where its figures come from."""
    text = PAGES.get_template(f"{TEMPLATES.get(name, name)}.md").render(result, result=result).strip()
    took = f", {result['minutes']:.0f} minutes" if "minutes" in result else ""
    dirty = ", **uncommitted changes**" if str(result.get("commit")).endswith("+") else ""
    return f"{text}\n\n`{result['command']}` ({result['date']}, {result['machine']}{took}{dirty})"


def page() -> str:
    """The whole page."""
    paths = {name: HERE / "results" / f"{name}.json" for name in SECTIONS}
    found = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}
    parts = [PAGES.get_template("about.md").render(), *(section(name, result) for name, result in found.items())]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    (HERE / "README.md").write_text(page(), encoding="utf-8")
