"""The section of benchmarks/README.md on how often intervals hold (see summary.py)."""

from __future__ import annotations

from typing import Any

from printed import figure

WAYS = ("jackknife", "percentile bootstrap")


def interval_coverage(result: dict[str, Any]) -> list[str]:
    names = list(result["kinds"])
    wide = 1.96 * (0.95 * 0.05 / result["samples"]) ** 0.5
    lines = [
        "## How often the intervals hold",
        "",
        f"{result['samples']} invented samples of each kind; in percent, how many of their 95 % intervals hold the "
        "mean of the figure over samples of this kind: the jackknife (the package's), and in brackets a percentile "
        f"bootstrap over patients ({result['draws']} draws). Chance alone leaves {figure(95 - 100 * wide, 1)} to "
        f"{figure(95 + 100 * wide, 1)}. Every figure lies in its jackknife interval; of the bootstrap's, "
        f"{_outside(result)} figures lie outside of theirs.",
        "",
        f"| | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
        "| patients, notes | "
        + " | ".join(f"{_first(result, name, 'patients')}, {_first(result, name, 'notes')}" for name in names)
        + " |",
        "| codes with gold, with one gold note | "
        + " | ".join(
            f"{_first(result, name, 'codes_with_gold')}, {_first(result, name, 'codes_with_one_gold_note')}"
            for name in names
        )
        + " |",
    ]
    for label in next(iter(result["kinds"].values()))["ways"]["jackknife"]:
        lines.append(f"| {label} | {' | '.join(_cell(result, name, label) for name in names)} |")
    errors = result["kinds"][names[-1]]["ways"]["percentile bootstrap"]
    return [
        *lines,
        "",
        "Where no note is an exact match, no sample moves that 0, and its interval is the exact binomial one; the "
        "difference of two such has 0 alone. Calibration errors have "
        f"no interval: in the last kind the bootstrap's of `ece` hold {_percent(errors['ece']['coverage'])} %, those "
        f"of `ece_positive` {_percent(errors['ece_positive']['coverage'])} %, and "
        f"{_percent(errors['ece_positive']['holds_the_figure'])} % of the latter hold the figure itself.",
        "",
    ]


def _first(result: dict[str, Any], kind: str, what: str) -> str:
    return f"{result['kinds'][kind]['first_sample'][what]:,}"


def _cell(result: dict[str, Any], kind: str, label: str) -> str:
    own, other = (_percent(result["kinds"][kind]["ways"][way][label]["coverage"]) for way in WAYS)
    return f"{own} [{other}]"


def _percent(share: float) -> str:
    return figure(100 * share, 1)


def _outside(result: dict[str, Any]) -> str:
    missed = [
        (1 - row["holds_the_figure"]) * result["samples"]
        for kind in result["kinds"].values()
        for row in kind["ways"]["percentile bootstrap"].values()
    ]
    total = len(missed) * result["samples"]
    return f"{sum(round(count) for count in missed):,} of {total:,}"
