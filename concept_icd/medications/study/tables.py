"""The study's results on a terminal: a table of the sets of nodes that people compare by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TextIO

#: Figure -> its heading.
_COLUMNS = {
    "ndcg": "NDCG",
    "rank_errors_at_50": "RE@50",
    "rank_errors_at_100": "RE@100",
    "micro_auprc": "micro-AUPRC",
    "micro_f1": "micro-F1",
    "macro_f1": "macro_f1",
    "macro_f1_caml": "macro_f1_caml",
}


def print_study(results: Mapping[str, Any], file: TextIO) -> None:
    """One table for all levels and one for billing codes: means over folds, of NDCG and RE@R over test stays."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=file, width=None if file.isatty() else 110)
    for name in ("all levels", "billing"):
        tested = sum(fold["test"] for fold in results["folds"].values())
        table = Table(title=f"{name}: {results['nodes'][name]:,} nodes, {tested:,} test stays")
        table.add_column("strategy")
        for heading in _COLUMNS.values():
            table.add_column(heading, justify="right")
        for strategy, summary in results["summary"].items():
            figures = summary.get(name, {})
            table.add_row(strategy, *(_cell(figures.get(key)) for key in _COLUMNS))
        console.print(table)


def _cell(figure: Mapping[str, Any] | None) -> str:
    return "-" if figure is None else f"{figure['mean']:.3f}"
