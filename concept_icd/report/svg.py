"""A small chart as inline SVG: two scales, axes with ticks, and marks. Colours come from the page's style sheet.

Made by hand rather than by a plotting library so that the charts follow the page's light and dark colours, carry
their values as tooltips, and need nothing at run time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

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
    """Collects marks; `render` gives the `<svg>`. Mark classes are colours of page.css: `one`, `two`, `faint`."""

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

    def _legend_row(self) -> str:
        keys = "".join(
            f'<span><svg class="key" viewBox="0 0 24 8"><line class="{style}" x1="1" x2="23" y1="4" y2="4"/></svg>'
            f"{escape(label)}</span>"
            for style, label in self._legend
        )
        return f'<p class="legend">{keys}</p>' if keys else ""
