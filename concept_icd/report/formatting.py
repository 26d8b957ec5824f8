"""Numbers, intervals and provenance in words, as every page and table prints them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def number(value: float | None) -> str:
    """Three decimals for shares, fewer for ranks, none for counts, more where three would show nothing.

    >>> number(0.12345), number(0.00012), number(12.345), number(1729), number(None)
    ('0.123', '0.00012', '12.35', '1,729', '–')
    """
    if value is None or value != value:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) > 1:
        return f"{value:.2f}"
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.2g}"


def interval(band: Mapping[str, Any] | None) -> str:
    """The ends of an interval; empty where there is none.

    >>> interval({"low": 0.25, "high": 0.5}), interval({"low": -0.1, "high": 0.2}), interval(None)
    ('0.250 – 0.500', '-0.100 to 0.200', '')
    """
    if not band:
        return ""
    between = " to " if band["low"] is not None and band["low"] < 0 else " – "
    return f"{number(band['low'])}{between}{number(band['high'])}"


def count(things: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "note"), count(1729, "note")
    ('1 note', '1,729 notes')
    """
    return f"{things:,} {noun}{'' if things == 1 else 's'}"


def terminal_number(value: float | None) -> str:
    """Three decimals, for a cell of a table on a terminal; "-" where there is no value.

    >>> terminal_number(0.5), terminal_number(None)
    ('0.500', '-')
    """
    return "-" if value is None or value != value else f"{value:.3f}"


def jackknife(bands: Iterable[Mapping[str, Any]], resampled: str, seed: int) -> str:
    """How intervals were made; resampled: "patients" or "notes"."""
    samples = sorted({band["draws"] for band in bands})
    number_of = f"{samples[0]:,}" if len(samples) == 1 else f"{samples[0]:,} to {samples[-1]:,}"
    return f"95 % jackknife over {resampled}: {number_of} samples without one, or one group, of them; seed {seed}"


def patients(counts: Mapping[str, Any]) -> str:
    """How many patients the notes are of."""
    return "patients not known" if counts["patients"] is None else count(counts["patients"], "patient")


def provenance(found: Mapping[str, Any]) -> dict[str, str]:
    """What made a result: fact -> text, for `results.json` and `compare.json` alike."""
    facts = {
        "command": found["command"],
        "git commit": found["git_commit"],
        "notes": f"SHA-256 of their sorted ids {found['notes_hash']}",
        **{f"SHA-256 of {name}": digest for name, digest in found["inputs"].items()},
        "versions": ", ".join(f"{name} {version}" for name, version in found["versions"].items()),
    }
    return {name: text for name, text in facts.items() if text}
