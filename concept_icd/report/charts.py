"""The charts of the pages, as inline SVG: two scales, axes with ticks, marks. Colours come from `templates/page.css`.

They are made by hand and not by a plotting library, so that they follow the page's light and dark colours, carry their
values as tooltips, and need nothing at run time. The functions take `Results.to_dict()`; where there is nothing to draw
they return a sentence instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from concept_icd.report.order import BILLED, FREQUENCY


def precision_recall(results: dict[str, Any]) -> Chart:
    """Precision against recall over all (note, code) pairs, with the point at which the codes were accepted."""
    curve, figures = results["curves"]["precision_recall"], results["figures"]
    chart = Chart("Precision-recall curve", linear(1), linear(1), "recall", "precision")
    pairs = results["counts"]["notes"] * results["counts"]["codes"]
    chance = results["counts"]["gold_labels"] / pairs
    chart.line([(0, chance), (1, chance)], "faint", f"codes at random ({chance:.2g})", dashed=True)
    chart.line(zip(curve["recall"], curve["precision"], strict=True), "one", "these predictions")
    at = f"accepted codes: recall {figures['micro_recall']:.3f}, precision {figures['micro_precision']:.3f}"
    chart.dot(figures["micro_recall"], figures["micro_precision"], "two", at, 5)
    return chart


def calibration(results: dict[str, Any]) -> Chart:
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
    return chart


def rank_errors(results: dict[str, Any]) -> Chart | str:
    """Wrong codes read, from the top, before a share of the gold codes is found; intervals at the quarters."""
    curve, intervals = results["curves"]["rank_errors"], results["intervals"]
    bands = {recall: intervals.get(f"rank_errors_at_{recall}") for recall in (25, 50, 75, 100)}
    shown = [value for value in curve["step"] + curve["interp"] if value is not None]
    shown += [band["high"] for band in bands.values() if band and band["high"] is not None]
    if not any(value is not None for value in curve["step"]):
        return "No note has a gold code."
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
    return chart


def frequency(results: dict[str, Any]) -> Chart:
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
    return chart


#: Colours of systems in one picture, in page.css; the bounds that they are read by are fainter.
COLOURS = ("one", "two", "three", "four", "five", "six")


def gain(kind: str, curves: Mapping[str, Sequence[float | None]]) -> Chart | str:
    """Mean cumulative gain of one kind of codes against k, a line a system; the dummy and the bound are dashed."""
    shown = {name: gains for name, gains in curves.items() if None not in gains}
    if not shown:
        return f"No note has gold {kind}."
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
    return chart


def gains(curves: Mapping[str, Mapping[str, Sequence[float | None]]]) -> list[tuple[str, Chart | str, str]]:
    """Title, chart and note of the gain curves of each kind (kind -> system -> gains)."""
    note = "The g-th billed of a note's P codes is worth P - g + 1; codes of this kind alone, read from the top."
    return [(f"Gain, {kind}", gain(kind, own), note) for kind, own in curves.items()]


def wilson(share: float, pairs: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a share: (p + z^2/2n ± z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)."""
    centre = share + z * z / (2 * pairs)
    spread = z * math.sqrt(share * (1 - share) / pairs + z * z / (4 * pairs * pairs))
    scale = 1 + z * z / pairs
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 44

Points = Iterable[tuple[float, float]]


@dataclass(frozen=True)
class Scale:
    """Maps values to 0..1, with the values that get a tick."""

    place: Callable[[float], float]
    ticks: Sequence[float]


def linear(high: float, low: float = 0.0) -> Scale:
    """Even from `low` to `high`, ticks at 1, 2 or 5 times a power of ten."""
    step = nice_step((high - low) / 5)
    first = math.ceil(low / step - 1e-9)
    ticks = [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]
    return Scale(lambda value: (value - low) / (high - low), ticks)


def logarithmic(high: float) -> Scale:
    """log(1 + value) from 0 to `high`: zero has a place, and thousands fit."""
    top = math.log1p(max(high, 1))
    ticks = [0.0] + [10.0**n for n in range(math.floor(math.log10(max(high, 1))) + 1)]
    if len(ticks) < 4:
        ticks = sorted({*ticks, *(tick * m for tick in ticks[1:] for m in (2, 5) if tick * m <= high)})
    return Scale(lambda value: math.log1p(value) / top, ticks)


def nice_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9)))


class Chart:
    """Collects marks; `render` gives the `<svg>`. Mark classes are colours of page.css: `one`, `two`, `faint`.

    A template prints it as it is (`__html__`); its labels are escaped here.
    """

    def __init__(self, title: str, x: Scale, y: Scale, x_label: str, y_label: str) -> None:
        self.title, self.x, self.y, self.x_label, self.y_label = title, x, y, x_label, y_label
        self._marks: list[str] = []
        self._legend: list[tuple[str, str]] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point."""
        across = LEFT + self.x.place(x) * (WIDTH - LEFT - RIGHT)
        return round(across, 1), round(HEIGHT - BOTTOM - self.y.place(y) * (HEIGHT - TOP - BOTTOM), 1)

    def line(self, points: Points, colour: str, label: str | None = None, dashed: bool = False) -> None:
        """A line through the points, named in the legend where it has a label."""
        path = " ".join(f"{x},{y}" for x, y in (self.at(*point) for point in points))
        style = f"line {colour}{' dashed' if dashed else ''}"
        self._marks.append(f'<polyline class="{style}" points="{path}"/>')
        if label:
            self._legend.append((style, label))

    def dot(self, x: float, y: float, colour: str, tooltip: str = "", radius: float = 3) -> None:
        """A filled circle with a tooltip."""
        across, down = self.at(x, y)
        text = f"<title>{escape(tooltip)}</title>" if tooltip else ""
        self._marks.append(f'<circle class="dot {colour}" cx="{across}" cy="{down}" r="{radius}">{text}</circle>')

    def bar(self, x: float, low: float, high: float, colour: str) -> None:
        """A vertical line from `low` to `high`: an interval."""
        (across, bottom), (_, top) = self.at(x, low), self.at(x, high)
        self._marks.append(f'<line class="line {colour}" x1="{across}" x2="{across}" y1="{bottom}" y2="{top}"/>')

    def render(self) -> str:
        """The chart as an `<svg>` element."""
        parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.title)}">']
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        for tick in self.y.ticks:
            down = round(bottom - self.y.place(tick) * (bottom - TOP), 1)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{down}" y2="{down}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{down + 4}" text-anchor="end">{tick:,.6g}</text>')
        for tick in self.x.ticks:
            across = round(LEFT + self.x.place(tick) * (right - LEFT), 1)
            parts.append(f'<line class="axis" x1="{across}" x2="{across}" y1="{bottom}" y2="{bottom + 4}"/>')
            parts.append(f'<text x="{across}" y="{bottom + 17}" text-anchor="middle">{tick:,.6g}</text>')
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        middle = (TOP + bottom) / 2
        centre = (LEFT + right) / 2
        parts.append(f'<text x="{centre}" y="{HEIGHT - 6}" text-anchor="middle">{escape(self.x_label)}</text>')
        turned = f'transform="rotate(-90 12 {middle})"'
        parts.append(f'<text x="12" y="{middle}" text-anchor="middle" {turned}>{escape(self.y_label)}</text>')
        parts += self._marks
        return "".join(parts) + "</svg>" + self._legend_row()

    __html__ = render

    def _legend_row(self) -> str:
        keys = "".join(
            f'<span><svg class="key" viewBox="0 0 24 8"><line class="{style}" x1="1" x2="23" y1="4" y2="4"/></svg>'
            f"{escape(label)}</span>"
            for style, label in self._legend
        )
        return f'<p class="legend">{keys}</p>' if keys else ""
