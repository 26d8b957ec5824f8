"""`Results` on a terminal: the figures, other systems on the same notes, and the published rows; and a comparison."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console

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
    direction,
    field_columns,
    headline,
    own_rows,
    published_name,
)
from concept_icd.report.formatting import terminal_number
from concept_icd.report.results import Results
from concept_icd.report.table import print_table


def print_results(results: Results, *, every: bool = False) -> None:
    """Prints the tables.

    Args:
        every: all figures, not the headline alone.
    """
    for stamp in results.stamps:
        _say(stamp, "bold red")
    _print_figures(results, every)
    if results.filtered:
        filtered = [("all codes", results.figures), ("filtered", results.filtered)]
        _print_systems(FILTER, filtered, [name for name in FILTER_SHOWN if name in results.filtered])
    if systems := results.extra.get("systems"):
        rows = [("these predictions", results.figures), *systems.items()]
        _print_systems("the same notes and codes", rows, HEADLINE)
        if any(metric in results.figures for metric in READING):
            _print_systems("their wrong codes read on the way", rows, READING)
        if any(metric in results.figures for metric in ORDER):
            _print_systems("their billing order", rows, ORDER)
    if published := results.extra.get("published"):
        _print_published(results, published)


def _say(sentence: str, style: str) -> None:
    Console().print(sentence, style=style, markup=False, highlight=False, soft_wrap=True)


def _print_figures(results: Results, every: bool) -> None:
    counts, figures = results.counts, results.figures
    threshold = "" if results.threshold is None else f"p >= {results.threshold:.4g}, "
    title = f"{counts['notes']} notes, {counts['codes']} codes; accepted: {threshold}{results.threshold_source}"
    names = [name for name in SUMMARY if name in figures] if every else headline(figures)
    rows = []
    for name in names:
        width = results.intervals.get(name, {})
        low = width.get("low")  # NaN, or None once it was stored, where the figure has no interval
        spread = "" if low is None or math.isnan(low) else f"{low:.3f} - {width['high']:.3f}"
        highest = ceiling(figures, name)
        at_most = "" if highest is None else f" (at most {highest:.3f})"
        of = f" of {figures['primary_notes']} notes" if name == "primary_accuracy" else ""
        rows.append((_directed(name), f"{terminal_number(figures[name])}{at_most}{of}", spread))
    left = len([name for name in SUMMARY if name in figures]) - len(names)
    more = f"{left} more figures with --all" if left else ""
    ranked = "" if "map" in figures else f"ranked by {results.ranked_by}"
    caption = "; ".join(filter(None, [ranked, "↑ more is better, ↓ less is better", more]))
    print_table(title, ["figure", "value", f"95 % over {results.resampled}"], rows, caption=caption)


def _directed(metric: str) -> str:
    return f"{metric} {direction(metric)}".rstrip()


def _print_systems(title: str, rows: Iterable[tuple[str, Mapping[str, Any]]], metrics: Iterable[str]) -> None:
    names = [metric.replace("precision_at_", "P@") for metric in metrics]
    cells = [(name, *(terminal_number(figures.get(metric)) for metric in metrics)) for name, figures in rows]
    print_table(title, ["system", *names], cells)


def _print_published(results: Results, published: dict[str, Any]) -> None:
    if published["refusal"]:
        _say(published["refusal"], "yellow")
        return
    rows = [(f"{published_name(row)} [{n}]", row["figures"]) for n, row in enumerate(published["rows"], 1)]
    title = f"{published['task']}: beside published results"
    ours = own_rows(published, results.figures, results.filtered)
    _print_systems(title, [*ours, *rows], field_columns(published))
    sources = [f"[{n}] {describe_source(row)}" for n, row in enumerate(published["rows"], 1)]
    for note in (f"these predictions: accepted at {results.threshold_source}", *sources, *published["left_out"]):
        _say(note, "dim")


def print_comparison(found: dict[str, Any], *, every: bool = False) -> None:
    """Prints `SideBySide.to_dict()`: the figures side by side, and the differences against the first system.

    Args:
        every: all figures that are compared, not the headline alone.
    """
    for row in found["systems"]:
        for stamp in row["stamps"]:
            _say(f"{row['name']}: {stamp}", "bold red")
    counts, systems, metrics = found["counts"], found["systems"], shown(found)
    if not every:
        metrics = [metric for metric in headline(dict.fromkeys(metrics)) if metric in metrics]
    sizes = f"{counts['notes']} notes, {counts['codes']} codes; n: notes that a figure counts"
    names = [row["name"] for row in systems]
    values = []
    for metric in metrics:
        figures = (terminal_number(row["figures"].get(metric)) for row in systems)
        values.append((_directed(metric), f"{found['notes'][metric]}", *figures))
    left = len(shown(found)) - len(metrics)
    caption = "↑ more is better, ↓ less is better" + (f"; {left} more figures with --all" if left else "")
    print_table(sizes, ["figure", "n", *names], values, caption=caption)
    if len(systems) == 1:
        return
    others = [found["differences"][row["name"]] for row in systems[1:]]
    title = f"difference from {systems[0]['name']}, 95 % over {found['resampled']}; * the interval does not hold 0"
    differences = [(_directed(metric), *(_difference(other.get(metric)) for other in others)) for metric in metrics]
    print_table(title, ["figure", *names[1:]], differences)


def _difference(entry: dict[str, Any] | None) -> str:
    if entry is None or entry["difference"] is None:
        return "-"
    mark = "*" if excludes_zero(entry) else ""
    spread = "" if entry.get("low") is None else f" [{entry['low']:+.3f}, {entry['high']:+.3f}]{mark}"
    return f"{entry['difference']:+.3f}{spread}"
