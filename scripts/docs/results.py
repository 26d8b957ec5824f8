"""Writes docs/results.md and docs/plots/*.svg from benchmarks/results/*.json, so that no figure is copied by hand.

    python scripts/docs/results.py

The text is the template results.md.j2 beside this file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import plots
import printed
import summary

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def estimate(row: Mapping[str, Any], name: str = "value", digits: int = 3, sign: str = "") -> str:
    """ ".862 [.845, .877]": a figure with its interval."""
    return printed.short(summary.estimate(row, name, digits, sign))


def spread(row: Mapping[str, Any], digits: int = 3) -> str:
    """ ".447 ± .051": a mean over seeds and its standard deviation, where there is one."""
    return printed.short(summary.spread(row if round(row["sd"], digits) else {**row, "sd": None}, digits))


def minus(found: Mapping[str, Mapping[str, float]], a: str, b: str) -> str:
    """The stored difference a - b with its interval."""
    return estimate(summary.minus(found, a, b), "difference", 3, "+")


def figure(value: float, digits: int = 3, sign: str = "") -> str:
    """ ".862": a figure as the pages print it, without the 0 before the point."""
    return printed.short(printed.figure(value, digits, sign))


def results() -> dict[str, Any]:
    """The stored results by name."""
    paths = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def page() -> str:
    """docs/results.md."""
    loader = FileSystemLoader(HERE)
    templates = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    templates.filters |= {"combine": lambda a, b: {**a, **b}, "f": figure, "estimate": estimate, "spread": spread}
    names = {"SYSTEMS": plots.SYSTEMS, "CODIESP": plots.CODIESP, "ABLATIONS": plots.ABLATIONS, "ORDERS": plots.ORDERS}
    return templates.get_template("results.md.j2").render(**results(), **names, minus=minus) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "results.md").write_text(page(), encoding="utf-8")
    for name, drawing in plots.plots(results()).items():
        (ROOT / "docs" / "plots" / f"{name}.svg").write_text(drawing, encoding="utf-8")
