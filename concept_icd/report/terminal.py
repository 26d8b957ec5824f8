"""`Results` on a terminal: the figures, other systems on the same notes, and the published rows; and a comparison."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from concept_icd.report.comparison import excludes_zero, shown
from concept_icd.report.definitions import (
    FILTER,
    FILTER_SHOWN,
    HEADLINE,
    ORDER,
    READING,
    SUMMARY,
    ceiling,
    describe_source,
    field_columns,
    own_rows,
    published_name,
)
from concept_icd.report.formatting import terminal_number
from concept_icd.report.results import Results


def print_results(results: Results) -> None:
    """Prints the tables."""
    console = Console()
    for stamp in results.stamps:
        console.print(stamp, style="bold red", markup=False)
    console.print(_figures(results))
    if results.filtered:
        filtered = [("all codes", results.figures), ("filtered", results.filtered)]
        console.print(_systems(FILTER, filtered, [name for name in FILTER_SHOWN if name in results.filtered]))
    if systems := results.extra.get("systems"):
        rows = [("these predictions", results.figures), *systems.items()]
        console.print(_systems("the same notes and codes", rows, HEADLINE))
        if any(metric in results.figures for metric in READING):
            console.print(_systems("their wrong codes read on the way", rows, READING))
        if any(metric in results.figures for metric in ORDER):
            console.print(_systems("their billing order", rows, ORDER))
    if published := results.extra.get("published"):
        _print_published(console, results, published)


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], min_width: int | None = None) -> Table:
    """The first column is text, the others are numbers."""
    first, *others = columns
    table = Table(title=title, title_justify="left")
    table.add_column(first, min_width=min_width)
    for name in others:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _figures(results: Results) -> Table:
    counts, figures = results.counts, results.figures
    threshold = "" if results.threshold is None else f"p >= {results.threshold:.4g}, "
    title = f"{counts['notes']} notes, {counts['codes']} codes; accepted: {threshold}{results.threshold_source}"
    rows = []
    for name in (name for name in SUMMARY if name in figures):
        width = results.intervals.get(name, {})
        low = width.get("low")  # NaN, or None once it was stored, where the figure has no interval
        spread = "" if low is None or math.isnan(low) else f"{low:.3f} - {width['high']:.3f}"
        highest = ceiling(figures, name)
        at_most = "" if highest is None else f" (at most {highest:.3f})"
        of = f" of {figures['primary_notes']} notes" if name == "primary_accuracy" else ""
        rows.append((name, f"{terminal_number(figures[name])}{at_most}{of}", spread))
    table = _table(title, ["figure", "value", f"95 % over {results.resampled}"], rows)
    if "map" not in figures:
        table.caption = f"ranked by {results.ranked_by}"
    return table


def _systems(title: str, rows: Iterable[tuple[str, Mapping[str, Any]]], metrics: Iterable[str]) -> Table:
    names = [metric.replace("precision_at_", "P@").replace("_", "\n") for metric in metrics]
    cells = [(escape(name), *(terminal_number(figures.get(metric)) for metric in metrics)) for name, figures in rows]
    return _table(escape(title), ["system", *names], cells, min_width=20)


def _print_published(console: Console, results: Results, published: dict[str, Any]) -> None:
    if published["refusal"]:
        console.print(published["refusal"], style="yellow", markup=False)
        return
    rows = [(f"{published_name(row)} [{n}]", row["figures"]) for n, row in enumerate(published["rows"], 1)]
    title = f"{published['task']}: beside published results"
    ours = own_rows(published, results.figures, results.filtered)
    console.print(_systems(title, [*ours, *rows], field_columns(published)))
    sources = [f"[{n}] {describe_source(row)}" for n, row in enumerate(published["rows"], 1)]
    for note in (f"these predictions: accepted at {results.threshold_source}", *sources, *published["left_out"]):
        console.print(note, style="dim", markup=False, highlight=False)


def print_comparison(found: dict[str, Any]) -> None:
    """Prints `SideBySide.to_dict()`: the figures side by side, and the differences against the first system."""
    console = Console()
    for row in found["systems"]:
        for stamp in row["stamps"]:
            console.print(f"{row['name']}: {stamp}", style="bold red", markup=False)
    counts, systems, metrics = found["counts"], found["systems"], shown(found)
    sizes = f"{counts['notes']} notes, {counts['codes']} codes; n: notes that a figure counts"
    names = [escape(row["name"]) for row in systems]
    values = [
        (metric, f"{found['notes'][metric]}", *(terminal_number(row["figures"].get(metric)) for row in systems))
        for metric in metrics
    ]
    console.print(_table(sizes, ["figure", "n", *names], values))
    if len(systems) == 1:
        return
    others = [found["differences"][row["name"]] for row in systems[1:]]
    title = f"difference from {systems[0]['name']}, 95 % over {found['resampled']}; * the interval does not hold 0"
    differences = [(metric, *(_difference(other.get(metric)) for other in others)) for metric in metrics]
    console.print(_table(escape(title), ["figure", *names[1:]], differences))


def _difference(entry: dict[str, Any] | None) -> str:
    if entry is None or entry["difference"] is None:
        return "-"
    mark = "*" if excludes_zero(entry) else " "
    spread = "" if entry.get("low") is None else f" [{entry['low']:+.3f}, {entry['high']:+.3f}]{mark}"
    return escape(f"{entry['difference']:+.3f}{spread}")
