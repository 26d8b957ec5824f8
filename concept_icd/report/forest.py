"""A forest plot: differences of several figures with their intervals, a row each, around the line of no difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from concept_icd.report.charts import COLOURS, linear
from concept_icd.report.definitions import direction

WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 460, 20, 170, 14, 8, 26


class Forest:
    """The plot as an `<svg>` element; a template prints it as it is (`__html__`), its labels are escaped here.

    Args:
        rows: label, name, difference, low and high of each row, where right of the line is better; rows of one label
            stand together, and names have colours.
    """

    def __init__(self, rows: Sequence[tuple[str, str, float, float, float]]) -> None:
        self.rows = rows
        self.names = list(dict.fromkeys(name for _, name, *_ in rows))

    def render(self) -> str:
        """The element, and below it what the colours mean."""
        ends = [0.0, *(value for *_, low, high in self.rows for value in (low, high))]
        room = max(max(ends) - min(ends), 1e-3) * 0.05
        scale = linear(max(ends) + room, min(ends) - room)
        height = TOP + ROW * len(self.rows) + BOTTOM

        def across(value: float) -> float:
            return round(LEFT + scale.place(value) * (WIDTH - LEFT - RIGHT), 1)

        bottom = height - BOTTOM
        parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Differences with their intervals">']
        for tick in scale.ticks:
            style = "axis" if abs(tick) < 1e-12 else "grid"
            parts.append(f'<line class="{style}" x1="{across(tick)}" x2="{across(tick)}" y1="{TOP}" y2="{bottom}"/>')
            text = f"{tick:+.6g}" if abs(tick) >= 1e-12 else "0"
            parts.append(f'<text x="{across(tick)}" y="{bottom + 17}" text-anchor="middle">{text}</text>')
        last = ""
        for number, (label, name, value, low, high) in enumerate(self.rows):
            down = TOP + ROW * number + ROW / 2
            colour = COLOURS[self.names.index(name) % len(COLOURS)]
            if label != last:
                parts.append(f'<text x="{LEFT - 8}" y="{down + 4}" text-anchor="end">{escape(label)}</text>')
            last = label
            said = escape(f"{name}, {label}: {value:+.3f} ({low:+.3f} to {high:+.3f})")
            ends_of = f'x1="{across(low)}" x2="{across(high)}" y1="{down}" y2="{down}"'
            parts.append(f'<line class="line {colour}" {ends_of}/>')
            parts.append(
                f'<circle class="dot {colour}" cx="{across(value)}" cy="{down}" r="4"><title>{said}</title></circle>'
            )
        keys = "".join(
            f'<span><svg class="key" viewBox="0 0 24 8"><line class="line {COLOURS[place % len(COLOURS)]}" x1="1" '
            f'x2="23" y1="4" y2="4"/></svg>{escape(name)}</span>'
            for place, name in enumerate(self.names)
        )
        return "".join(parts) + f'</svg><p class="legend">{keys}</p>'

    __html__ = render


def forest(found: Mapping[str, Any], metrics: Sequence[str]) -> Forest | str:
    """The differences of `SideBySide.to_dict()` that are shares; counts of codes have another scale.

    What is better when less is turned round, and says so.
    """
    rows = []
    for metric in (name for name in metrics if not name.startswith(("rank_errors", "reading_", "cumulative"))):
        turned = direction(metric) == "↓"
        for system in found["systems"][1:]:
            entry = found["differences"][system["name"]].get(metric)
            if entry and entry.get("low") is not None and entry["difference"] is not None:
                value, low, high = entry["difference"], entry["low"], entry["high"]
                if turned:
                    value, low, high = -value, -high, -low
                rows.append((f"{'less ' if turned else ''}{metric}", system["name"], value, low, high))
    return Forest(rows) if rows else "No difference has an interval."
