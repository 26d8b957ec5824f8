"""The section of the results' page on how far to read: what was expected, what was found, what other ways cost."""

from __future__ import annotations

from typing import Any

ASKED = 0.9
WAYS = {
    "fitted": "as fitted",
    "at their word": "the same formula, nothing fitted",
    "share of the mass": "share of the probability mass",
}


def reading(result: dict[str, Any]) -> list[str]:
    lines = [
        "## How many suggestions to read for an expected recall of 90 %",
        "",
        "A coder's `read_first` on held-out notes: concept pipelines with the tiny model. Heads and reading depth were "
        "fitted on out-of-fold scores of other notes (CMC 2007: crossed in 5 folds over the training reports; CodiEsp: "
        "on the dev notes, measured on the test notes). Means over notes with a gold code; 95 % intervals over notes, "
        f"{result['draws']:,} draws. The last column is the one number of suggestions that, read of every note, finds "
        "the same recall; it is chosen on the notes that are measured.",
        "",
    ]
    for name, found in result["sets"].items():
        folds = f", {len(found['codes'])} folds" if len(found["codes"]) > 1 else ""
        outside = (
            f" ({found['gold_labels_outside']} more are outside of the codes known; with these as missed, 90 % finds "
            f"{found['recall_of_all_gold_at_90']:.3f})"
        )
        lines += [
            f"{name}: {found['notes_with_gold']:,} held-out notes{folds}, {_range(found['codes'])} codes, "
            f"{found['gold_labels']:,} gold labels{outside if found['gold_labels_outside'] else ''}; fitted on "
            f"{_range(found['heads_fitted_on'])} notes.",
            "",
            "| asked for | way | expected | found | read | in vain | notes that reach it | one number |",
            "|---|---|---|---|---|---|---|---|",
            *(
                _row(row, WAYS[way])
                for way, rows in found["ways"].items()
                for row in rows
                if row["asked"] == ASKED or way == "fitted"
            ),
            "",
            "At 90 %, notes in thirds by how many suggestions they ask for: "
            + "; ".join(
                f"{_range(part['depths'])} ({part['notes']} notes): expected "
                f"{part['reading_expected']:.3f}, found {part['reading_recall']:.3f} "
                f"{_interval(part['recall_interval'])}"
                for part in found["by_depth"]
            )
            + ".",
            "",
        ]
    return lines


def _row(row: dict[str, Any], way: str) -> str:
    cells = (
        *(f"{row['asked']:.0%}", way, f"{row['expected']:.3f}"),
        f"{row['recall']:.3f} {_interval(row['recall_interval'])}",
        f"{row['depth']:.2f} (median {row['median_depth']:g})",
        *(f"{row['errors']:.2f}", f"{row['reached']:.3f}", f"{row['fixed_depth']:.2f}"),
    )
    return "| " + " | ".join(cells) + " |"


def _interval(width: dict[str, float]) -> str:
    return f"[{width['low']:.3f}, {width['high']:.3f}]"


def _range(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
