"""Pages that open anywhere: styles and charts inside, no script, nothing fetched.

Every page of the package is a Jinja2 template in `templates/` that extends `base.html`. The templates escape all text.
Only a `charts.Chart` is printed as HTML; it escapes its own labels.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from concept_icd.report import charts
from concept_icd.report.comparison import excludes_zero, shown
from concept_icd.report.definitions import (
    DEFINITIONS,
    FILTER,
    HEADLINE,
    ORDER,
    READING,
    ceiling,
    describe_source,
    direction,
    field_columns,
    own_rows,
    published_name,
)
from concept_icd.report.forest import forest
from concept_icd.report.formatting import count, interval, jackknife, number, patients, provenance

_FOLDER = Path(__file__).with_name("templates")
#: Headings from which on a page has a list of them.
CONTENTS_FROM = 4
#: Codes in the table of worst codes.
WORST = 20
_TILES = {
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1 (mean per code)",
    "macro_f1_caml": "macro-F1 (CAML)",
    "micro_auc": "micro-AUC",
    "precision_at_5": "precision at 5",
    "rank_errors_at_100": "rank errors at full recall",
    "reading_depth_at_90": "suggestions to read for 90 % expected recall",
}
_CHARTS = (
    ("Precision and recall", charts.precision_recall, "All (note, code) pairs; the dot is the accepted set."),
    ("Calibration", charts.calibration, "Ten bins of equal width; 95 % Wilson bars, as if pairs were independent."),
    ("Wrong codes read on the way", charts.rank_errors, "Mean over notes with a gold code, read from the top."),
    ("F1 and frequency", charts.frequency, "One dot a code that has a gold example here; point at it for its name."),
)


def render(template: str, **values: Any) -> str:
    """A page from a file of `templates/`; every page has a `title`."""
    return _with_contents(_environment().get_template(template).render(values))


def _with_contents(page: str) -> str:
    """The page with an anchor at each heading, and where there are some, a list of them below its title."""
    anchors: dict[str, str] = {}

    def anchored(heading: re.Match[str]) -> str:
        title = re.sub("<[^>]*>", "", heading[1])
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "part"
        name = name if name not in anchors else f"{name}-{len(anchors)}"
        anchors[name] = title
        return f'<h2 id="{name}">{heading[1]}</h2>'

    page = re.sub(r"<h2>(.*?)</h2>", anchored, page, flags=re.DOTALL)
    if len(anchors) < CONTENTS_FROM:
        return page
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title in anchors.items())
    return page.replace("</h1>", f'</h1>\n<nav class="contents" aria-label="Contents"><ul>{links}</ul></nav>', 1)


@cache
def style() -> str:
    """The styles of every page, exactly as they stand in its `<style>` element."""
    return "\n" + (_FOLDER / "page.css").read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"style": Markup(style()), "direction": direction}
    environment.filters |= {
        "number": number,
        "interval": interval,
        "breakable": lambda name: escape(name).replace("_", Markup("_<wbr>")),  # long names may break there
        "line_breaks": lambda text: escape(text).replace("\n", Markup("<br>")),
    }
    return environment


def render_results(results: dict[str, Any], title: str = "Evaluation of ICD-9-CM codes") -> str:
    """The page of `Results.to_dict()`."""
    figures, curves, counts = results["figures"], results["curves"], results["counts"]
    reading_note = (
        f"Each note read from the top until the recall asked for is expected, by {curves['reading_from']}. "
        f"Means over {count(curves['reading'][0]['notes'], 'note')} with a gold code. The last column reads as many "
        "suggestions of every note for the same recall found, a number chosen on these notes."
        if curves.get("reading")
        else ""
    )
    made_by = provenance(results) | {
        name: json.dumps(value)
        for name, value in results["extra"].items()
        if name not in ("levels", "systems", "published", "error_notes")
    }
    return render(
        "results.html",
        title=title,
        results=results,
        measured=_facts(results),
        tiles={metric: f"{name} {direction(metric)}" for metric, name in _TILES.items()},
        at_most=_at_most,
        system_columns=[names for names in (HEADLINE, READING, ORDER) if any(name in figures for name in names)],
        published=_published(results),
        charts=[(name, draw(results), note) for name, draw, note in _CHARTS] + charts.gains(curves.get("gain", {}))
        if curves
        else [],
        reading_note=reading_note,
        worst=_worst(results["codes"]),
        definitions={group: metrics for group, metrics in DEFINITIONS.items() if metrics.keys() & figures.keys()},
        filtered_note=f"{FILTER[0].upper()}{FILTER[1:]}: {counts['codes_present']:,} codes are left.",
        made_by=made_by,
    )


def _facts(results: dict[str, Any]) -> dict[str, str]:
    counts = results["counts"]
    threshold = "" if results["threshold"] is None else f"p ≥ {results['threshold']:.4g}; "
    bands = results["intervals"].values()
    return {
        "notes": f"{count(counts['notes'], 'note')}, {counts['notes_with_gold']:,} with a gold code; "
        f"{patients(counts)}",
        "codes": f"{results['label_set']}; {counts['codes_present']:,} have a gold example here",
        "labels": f"{counts['gold_labels']:,} gold, {counts['accepted_labels']:,} accepted",
        "accepted": threshold + results["threshold_source"],
        "ranked by": results["ranked_by"],
        "intervals": jackknife(bands, results["resampled"], results["seed"]) if bands else "none asked for",
    }


def _at_most(figures: dict[str, Any], metric: str) -> str:
    highest = ceiling(figures, metric)
    return "" if highest is None else f" (at most {number(highest)})"


def _published(results: dict[str, Any]) -> dict[str, Any] | None:
    """Published rows with these predictions above them, for the template."""
    published = results["extra"].get("published")
    if not published or published["refusal"]:
        return published or None
    accepted = f"accepted at {results['threshold_source']}"
    ours = own_rows(published, results["figures"], results.get("filtered", {}))
    rows = [{"name": name, "source": accepted, "figures": figures} for name, figures in ours]
    rows += [
        {"name": published_name(row), "source": describe_source(row), "figures": row["figures"]}
        for row in published["rows"]
    ]
    return {**published, "columns": field_columns(published), "rows": rows}


def _worst(codes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    present = [row for row in codes if row["gold"]]
    return sorted(present, key=lambda row: (row["f1"], -row["gold"], row["code"]))[:WORST]


def render_comparison(found: dict[str, Any], title: str) -> str:
    """The page of `SideBySide.to_dict()`."""
    counts, systems = found["counts"], found["systems"]
    bands = [band for row in systems for band in row["intervals"].values()]
    same = "; the same samples for every system"
    measured = {
        "notes": f"{count(counts['notes'], 'note')}; {patients(counts)}",
        "codes": f"{found['label_set']}; {counts['gold_labels']:,} gold labels",
        "intervals": jackknife(bands, found["resampled"], found["seed"]) + same if found["draws"] else "none asked for",
    } | {
        row["name"]: f"{row['accepted_labels']:,} codes accepted: {row['accepted_at']}; ranked by {row['ranked_by']}"
        for row in systems
    }
    return render(
        "comparison.html",
        title=title,
        found=found,
        sentences=[f"{row['name']}: {stamp}" for row in systems for stamp in row["stamps"]],
        measured=measured,
        metrics=shown(found),
        definitions={metric: text for group in DEFINITIONS.values() for metric, text in group.items()},
        excludes_zero=excludes_zero,
        forest=forest(found, shown(found)),
        charts=charts.gains(found["gain"]),
        made_by=provenance(found),
    )
