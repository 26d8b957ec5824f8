"""The part of the study's page that looks inside one network, and what concerns wards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from concept_icd.medications.study.figures import OF_CODES
from concept_icd.report.charts import Chart, linear, logarithmic, wilson
from concept_icd.report.markup import count, number, span, table

#: Of each ward, among its billed codes.
OF_WARDS = {"ndcg": "NDCG", "rank_errors_at_50": "RE@50", "rank_errors_at_100": "RE@100", "recall_at_20": "Recall@20"}


def with_interval(figure: Mapping[str, Any] | None, key: str = "mean") -> str:
    """A mean (or difference) and its interval."""
    if figure is None or figure.get(key) is None:
        return number(None)
    if figure.get("low") is None:
        return number(figure[key])
    return f"{number(figure[key])} [{span(figure['low'], figure['high'])}]"


def ward_tables(results: Mapping[str, Any]) -> list[str]:
    """A table a ward: the figures of each strategy among billed codes."""
    wards = dict.fromkeys(ward for found in results["wards"].values() for ward in found)
    parts = []
    for ward in wards:
        of = {name: found[ward] for name, found in results["wards"].items() if ward in found}
        stays = next(iter(of.values()))["stays"]
        rows = [[escape(name), *(with_interval(own[key]) for key in OF_WARDS)] for name, own in of.items()]
        parts.append(f"<h3>{escape(ward)}: {count(stays, 'test stay')}, billing</h3>")
        parts.append(table(["strategy", *OF_WARDS.values()], rows))
    return parts


def inside_parts(results: Mapping[str, Any]) -> list[str]:
    """Calibration, entropy and ranks of the strategy with the best dev NDCG, beside the dummy."""
    inside = results["inside"]
    if inside is None:
        return []
    looks, dummy = inside["analyses"], inside["dummy"]
    codes = looks["codes"]
    rank = {row["code"]: row["rank_with"] or 0 for row in dummy["codes"]}
    high = max((row["train"] for row in codes), default=1)
    told = Chart("Entropy reduction", logarithmic(high), linear(1), "training stays with the code", "share of entropy")
    place = Chart("Ranks", logarithmic(high), logarithmic(_top(codes)), "training stays with the code", "median rank")
    for row in codes:
        if row["entropy_reduction"] is not None:
            told.dot(row["train"], row["entropy_reduction"], "one", f"{row['code']}: {row['entropy_reduction']:.3f}", 2)
        for key, colour, words in (("rank_without", "faint", "without"), ("rank_with", "one", "with")):
            if row[key] is not None:
                text = f"{row['code']} on stays {words} it: {row[key]:.0f}; dummy {rank.get(row['code'], 0):.0f}"
                place.dot(row["train"], row[key], colour, text, 2)
    fold = escape(inside["fold"])
    note = (
        f"{len(codes):,} codes ({escape(looks['set'])}) with a gold example among the test stays of a fold; means over "
        "the folds."
    )
    rows = [
        [_band(band["from"], band["below"]), f"{band['codes']:,}", *(number(band[key]) for key in OF_CODES)]
        for band in looks["bands"]
    ]
    names = ("entropy reduction", "in ten bins (ours)", "by chance in ten bins", "rank with it", "rank without")
    columns = ["training stays with the code", "codes", *names]
    return [
        f"<h2>Inside {escape(inside['strategy'])}</h2>",
        _calibration(looks["reliability_10_equal_width"], fold),
        figure(
            "Share of a code's entropy that the output removes (nearest neighbours), against frequency",
            told.render(),
            note,
        ),
        figure("Median rank of a code on stays with it (colour) and without it (grey)", place.render(), note),
        "<h3>The same by frequency: means over codes</h3>",
        table(columns, rows),
    ]


def figure(title: str, chart: str, note: str = "") -> str:
    """A chart with its title, and what stands under it."""
    text = f"<p class='note'>{note}</p>" if note else ""
    return f"<figure><h3>{escape(title)}</h3>{text}{chart}</figure>"


def _band(low: int, below: int | None) -> str:
    if below is None:
        return f"{low:,} and more"
    return f"{low:,}" if below == low + 1 else f"{low:,} to {below - 1:,}"


def _calibration(bins: Mapping[str, Sequence[float]], fold: str) -> str:
    chart = Chart("Calibration", linear(1), linear(1), "mean probability in the bin", "share of gold codes")
    chart.line([(0, 0), (1, 1)], "faint", "probabilities that mean what they say", dashed=True)
    for confidence, accuracy, pairs in zip(bins["confidence"], bins["accuracy"], bins["pairs"], strict=True):
        chart.bar(confidence, *wilson(accuracy, int(pairs)), "one")
        chart.dot(confidence, accuracy, "one", f"probability {confidence:.3f}, gold {accuracy:.3f}, {pairs:,} pairs")
    return figure(f"Calibration of billing codes in {fold}, ten bins of equal width", chart.render())


def _top(codes: Sequence[Mapping[str, Any]]) -> float:
    return max((row[key] or 1.0 for row in codes for key in ("rank_with", "rank_without")), default=1.0)
