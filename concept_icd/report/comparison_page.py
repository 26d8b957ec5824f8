"""A comparison of systems as one HTML page, from `SideBySide.to_dict()`."""

from __future__ import annotations

from html import escape
from typing import Any

from concept_icd.report.charts import gain_figures
from concept_icd.report.comparison import COMPARED
from concept_icd.report.definitions import DEFINITIONS
from concept_icd.report.markup import count, definition_list, document, interval_fact, number, span, stamps, table


def render_comparison(found: dict[str, Any], title: str) -> str:
    """The page."""
    sentences = [f"{row['name']}: {stamp}" for row in found["systems"] for stamp in row["stamps"]]
    gain = gain_figures(found["gain"])
    charts = f'<h2>Cumulative gain</h2><div class="charts">{gain}</div>' if gain else ""
    parts = (stamps(sentences), _facts(found), _side_by_side(found), _differences(found), charts, _provenance(found))
    return document(title, parts)


def shown(found: dict[str, Any]) -> list[str]:
    """The figures of the tables: those of `COMPARED` that a system has."""
    return [metric for metric in COMPARED if any(metric in row["figures"] for row in found["systems"])]


def excludes_zero(difference: dict[str, Any]) -> bool:
    """Whether the interval of a difference does not hold 0."""
    low, high = difference.get("low"), difference.get("high")
    return low is not None and high is not None and (low > 0 or high < 0)


def _facts(found: dict[str, Any]) -> str:
    counts = found["counts"]
    patients = "patients not known" if counts["patients"] is None else count(counts["patients"], "patient")
    facts = {
        "notes": f"{count(counts['notes'], 'note')}; {patients}",
        "codes": f"{found['label_set']}; {counts['gold_labels']:,} gold labels",
        "intervals": _interval_fact(found) if found["draws"] else "none asked for",
    } | {
        row["name"]: f"{row['accepted_labels']:,} codes accepted: {row['accepted_at']}; ranked by {row['ranked_by']}"
        for row in found["systems"]
    }
    return definition_list((name, escape(text)) for name, text in facts.items())


def _interval_fact(found: dict[str, Any]) -> str:
    bands = [band for row in found["systems"] for band in row["intervals"].values()]
    return interval_fact(bands, found["resampled"], found["seed"]) + "; the same samples for every system"


def _side_by_side(found: dict[str, Any]) -> str:
    systems = found["systems"]
    body = []
    for metric in shown(found):
        cells = [_value(row, metric) for row in systems]
        body.append([f"<code>{metric}</code><br>{_definition(metric)}", number(found["notes"].get(metric)), *cells])
    note = "Same notes, same codes. n is how many notes a figure counts; small print: 95 % interval."
    return f"<h2>Side by side</h2><p class='note'>{note}</p>" + table(
        ["figure", "n", *(row["name"] for row in systems)], body
    )


def _value(row: dict[str, Any], metric: str) -> str:
    width = row["intervals"].get(metric)
    spread = f"<br><span class='note'>{span(width['low'], width['high'])}</span>" if width else ""
    return number(row["figures"].get(metric)) + (spread if metric in row["figures"] else "")


def _differences(found: dict[str, Any]) -> str:
    others, first = found["systems"][1:], found["systems"][0]["name"]
    if not others:
        return ""
    body = [
        [f"<code>{metric}</code>", *(_difference(found["differences"][row["name"]].get(metric)) for row in others)]
        for metric in shown(found)
    ]
    note = (
        f"Each system less {first}, on the same {found['resampled']}. Bold: the interval does not hold 0. "
        "With this many figures some intervals miss by chance."
    )
    return f"<h2>Differences</h2><p class='note'>{escape(note)}</p>" + table(
        ["figure", *(row["name"] for row in others)], body
    )


def _difference(entry: dict[str, Any] | None) -> str:
    if entry is None or entry["difference"] is None:
        return "–"
    value = f"{entry['difference']:+.3f}"
    if entry.get("low") is None:
        return value
    strong = f"<b>{value}</b>" if excludes_zero(entry) else value
    return f"{strong}<br><span class='note'>{entry['low']:+.3f} to {entry['high']:+.3f}</span>"


def _definition(metric: str) -> str:
    text = next((group[metric] for group in DEFINITIONS.values() if metric in group), "")
    return f"<span class='note'>{escape(text)}</span>"


def _provenance(found: dict[str, Any]) -> str:
    facts = {
        "command": found["command"],
        "git commit": found["git_commit"],
        "notes": f"SHA-256 of their sorted ids {found['notes_hash']}",
        **{f"SHA-256 of {name}": digest for name, digest in found["inputs"].items()},
        "versions": ", ".join(f"{name} {version}" for name, version in found["versions"].items()),
    }
    rows = ((name, f"<code>{escape(text)}</code>") for name, text in facts.items() if text)
    return f"<h2>What made this</h2>{definition_list(rows)}"
