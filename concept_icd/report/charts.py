"""The charts of a report, from the plain form of `Results`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from concept_icd.report.order import BILLED, FREQUENCY
from concept_icd.report.svg import Chart, linear, logarithmic


def precision_recall_chart(results: dict[str, Any]) -> str:
    """Precision against recall over all (note, code) pairs, with the point at which the codes were accepted."""
    curve, figures = results["curves"]["precision_recall"], results["figures"]
    chart = Chart("Precision-recall curve", linear(1), linear(1), "recall", "precision")
    pairs = results["counts"]["notes"] * results["counts"]["codes"]
    chance = results["counts"]["gold_labels"] / pairs
    chart.line([(0, chance), (1, chance)], "faint", f"codes at random ({chance:.2g})", dashed=True)
    chart.line(zip(curve["recall"], curve["precision"], strict=True), "one", "these predictions")
    at = f"accepted codes: recall {figures['micro_recall']:.3f}, precision {figures['micro_precision']:.3f}"
    chart.dot(figures["micro_recall"], figures["micro_precision"], "two", at, 5)
    return chart.render()


def calibration_chart(results: dict[str, Any]) -> str:
    """Share of positives against mean probability in ten bins of equal width, with 95 % Wilson intervals."""
    chart = Chart("Calibration", linear(1), linear(1), "mean probability in the bin", "share of gold codes")
    chart.line([(0, 0), (1, 1)], "faint", "probabilities that mean what they say", dashed=True)
    bins = results["curves"]["reliability_10_equal_width"]
    columns = list(zip(bins["confidence"], bins["accuracy"], bins["pairs"], strict=True))
    for confidence, accuracy, pairs in columns:
        chart.bar(confidence, *wilson(accuracy, pairs), "one")
    chart.line([(confidence, accuracy) for confidence, accuracy, _ in columns], "one", "these predictions")
    for confidence, accuracy, pairs in columns:
        chart.dot(
            confidence, accuracy, "one", f"probability {confidence:.3f}, gold {accuracy:.3f}, {pairs:,} pairs", 3.5
        )
    return chart.render()


def rank_error_chart(results: dict[str, Any]) -> str:
    """Wrong codes read, from the top, before a share of the gold codes is found; intervals at the quarters."""
    curve, intervals = results["curves"]["rank_errors"], results["intervals"]
    bands = {recall: intervals.get(f"rank_errors_at_{recall}") for recall in (25, 50, 75, 100)}
    shown = [value for value in curve["step"] + curve["interp"] if value is not None]
    shown += [band["high"] for band in bands.values() if band and band["high"] is not None]
    if not any(value is not None for value in curve["step"]):
        return '<p class="note">No note has a gold code.</p>'
    high = max(shown, default=0)
    scale = logarithmic(high) if high > 50 else linear(max(high * 1.05, 1))
    chart = Chart("Rank errors at recall", linear(100), scale, "gold codes found, %", "wrong codes read (mean)")
    for recall, band in bands.items():
        if band and band["low"] is not None:
            chart.bar(recall, band["low"], band["high"], "one")
    chart.line(zip(curve["recall"], curve["interp"], strict=True), "faint", "interpolated form", dashed=True)
    chart.line(zip(curve["recall"], curve["step"], strict=True), "one", "step form")
    for recall, value in zip(curve["recall"], curve["step"], strict=True):
        chart.dot(recall, value, "one", f"{recall} %: {value:.2f} wrong codes", 3.5 if recall % 25 == 0 else 2)
    return chart.render()


def frequency_chart(results: dict[str, Any]) -> str:
    """F1 of each code against how often it occurs: in training where that is known, else in these notes."""
    known = results["codes"][0]["train_count"] is not None
    column = "train_count" if known else "gold"
    rows = [row for row in results["codes"] if row["gold"]]
    high = max((row[column] for row in rows), default=1)
    label = "training notes with the code" if known else "notes with the code, of those measured here"
    chart = Chart("F1 against frequency", logarithmic(high * 1.05), linear(1), label, "F1 of the code")
    radius = 3.5 if len(rows) <= 200 else 2
    for row in rows:
        tooltip = f"{row['code']} {row['title'] or ''}: F1 {row['f1']:.3f}, {row[column]:,} notes, {row['gold']} gold"
        chart.dot(row[column], row["f1"], "one", tooltip, radius)
    return chart.render()


#: Colours of systems in one picture, in page.css; the bounds that they are read by are fainter.
COLOURS = ("one", "two", "three", "four", "five", "six")


def gain_chart(kind: str, curves: Mapping[str, Sequence[float | None]]) -> str:
    """Mean cumulative gain of one kind of codes against k, a line a system; the dummy and the bound are dashed."""
    shown = {name: gains for name, gains in curves.items() if None not in gains}
    if not shown:
        return f'<p class="note">No note has gold {kind}.</p>'
    last = max(len(gains) for gains in shown.values())
    high = max(gain for gains in shown.values() for gain in gains if gain is not None)
    chart = Chart(f"Cumulative gain, {kind}", linear(last), linear(high * 1.05 or 1), "codes read", "gain (mean)")
    systems = [name for name in shown if name not in (BILLED, FREQUENCY)]
    for name, gains in sorted(shown.items(), key=lambda item: item[0] in systems):  # systems on top of the bounds
        place = systems.index(name) if name in systems else -1
        colour = COLOURS[place % len(COLOURS)] if name in systems else "faint"
        points = [(0.0, 0.0), *((k, gain) for k, gain in enumerate(gains, start=1) if gain is not None)]
        chart.line(points, colour, name, dashed=name == BILLED or place >= len(COLOURS))
        for k, gain in points[1:]:
            chart.dot(k, gain, colour, f"{name}: {gain:.2f} after {k:.0f} codes", 2.5)
    return chart.render()


def gain_figures(gain: dict[str, Any]) -> str:
    """The gain curves, a figure a kind (kind -> system -> gains)."""
    note = "The g-th billed of a note's P codes is worth P - g + 1; codes of this kind alone, read from the top."
    return "".join(
        f"<figure><h3>Gain, {kind}</h3><p class='note'>{note}</p>{gain_chart(kind, curves)}</figure>"
        for kind, curves in gain.items()
    )


def wilson(share: float, pairs: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a share: (p + z^2/2n ± z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)."""
    centre = share + z * z / (2 * pairs)
    spread = z * math.sqrt(share * (1 - share) / pairs + z * z / (4 * pairs * pairs))
    scale = 1 + z * z / pairs
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
