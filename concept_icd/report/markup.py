"""Pieces of HTML that every page of this package is made of: the document with its styles, tables, numbers in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page that opens anywhere: styles inside, no script, nothing fetched."""
    css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    body = "\n".join(parts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(title)}</title>
<style>
{css}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{body}
</body>
</html>
"""


def stamps(sentences: Iterable[str]) -> str:
    """What belongs beside every figure."""
    return "".join(f"<p class='stamp'>{escape(sentence)}</p>" for sentence in sentences)


def definition_list(rows: Iterable[tuple[str, str]]) -> str:
    """Names, and what stands beside them as HTML."""
    return "<dl class='facts'>" + "".join(f"<dt>{escape(name)}</dt><dd>{html}</dd>" for name, html in rows) + "</dl>"


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A table whose first column is text and whose others are numbers; cells are HTML."""
    names = (escape(name).replace("_", "_<wbr>") for name in columns)  # long names may break
    head = "".join(f"<th{' class=number' if n else ''}>{name}</th>" for n, name in enumerate(names))
    body = "".join(
        "<tr>" + "".join(f"<td{' class=number' if n else ''}>{cell}</td>" for n, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<div class='scroll'><table class='wide'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def number(value: float | None) -> str:
    """Three decimals for shares, fewer for ranks, none for counts, more where three would show nothing."""
    if value is None or value != value:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) > 1:
        return f"{value:.2f}"
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.2g}"


def span(low: float | None, high: float | None) -> str:
    """An interval."""
    between = " to " if low is not None and low < 0 else " – "
    return f"{number(low)}{between}{number(high)}"


def interval_fact(bands: Iterable[Mapping[str, Any]], resampled: str, seed: int) -> str:
    """How intervals were made, in words. resampled: "patients" or "notes"."""
    samples = sorted({band["draws"] for band in bands})
    number_of = f"{samples[0]:,}" if len(samples) == 1 else f"{samples[0]:,} to {samples[-1]:,}"
    return f"95 % jackknife over {resampled}: {number_of} samples without one, or one group, of them; seed {seed}"


def count(things: int, noun: str) -> str:
    """ "1 note", "1,729 notes"."""
    return f"{things:,} {noun}{'' if things == 1 else 's'}"
