"""`Results` as one HTML page that opens anywhere: styles and charts inside, no script, nothing fetched."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from concept_icd.report.charts import (
    calibration_chart,
    frequency_chart,
    gain_figures,
    precision_recall_chart,
    rank_error_chart,
)
from concept_icd.report.definitions import (
    DEFINITIONS,
    FILTER,
    HEADLINE,
    ORDER,
    READING,
    ceiling,
    describe_source,
    field_columns,
    own_rows,
    published_name,
)
from concept_icd.report.markup import count, definition_list, document, interval_fact, number, span, stamps, table

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


def render_page(results: dict[str, Any], title: str = "Evaluation of ICD-9-CM codes") -> str:
    """The page of `Results.to_dict()`."""
    parts = (
        *(stamps(results["stamps"]), _facts(results), _tiles(results), _systems(results), _published(results)),
        *(_charts(results), _reading(results), _levels(results), _worst(results["codes"]), _figures(results)),
        *(_filtered(results), _provenance(results)),
    )
    return document(title, parts)


def _facts(results: dict[str, Any]) -> str:
    counts = results["counts"]
    threshold = "" if results["threshold"] is None else f"p ≥ {results['threshold']:.4g}; "
    patients = "patients not known" if counts["patients"] is None else count(counts["patients"], "patient")
    facts = {
        "notes": f"{count(counts['notes'], 'note')}, {counts['notes_with_gold']:,} with a gold code; {patients}",
        "codes": f"{results['label_set']}; {counts['codes_present']:,} have a gold example here",
        "labels": f"{counts['gold_labels']:,} gold, {counts['accepted_labels']:,} accepted",
        "accepted": threshold + results["threshold_source"],
        "ranked by": results["ranked_by"],
        "intervals": _interval_fact(results),
    }
    return definition_list((name, escape(text)) for name, text in facts.items())


def _interval_fact(results: dict[str, Any]) -> str:
    if not results["intervals"]:
        return "none asked for"
    return interval_fact(results["intervals"].values(), results["resampled"], results["seed"])


def _tiles(results: dict[str, Any]) -> str:
    tiles = "".join(
        f"<div class='tile'><span>{escape(name)}</span><b>{number(results['figures'][metric])}</b>"
        f"<span>{_interval(results, metric)}{_at_most(results, metric)}</span></div>"
        for metric, name in _TILES.items()
        if metric in results["figures"]
    )
    return f'<div class="tiles">{tiles}</div>'


def _charts(results: dict[str, Any]) -> str:
    if not results["curves"]:
        return "<h2>Charts</h2><p class='note'>None: decisions without probabilities have no curves.</p>"
    figures = (
        ("Precision and recall", precision_recall_chart, "All (note, code) pairs; the dot is the accepted set."),
        ("Calibration", calibration_chart, "Ten bins of equal width; 95 % Wilson bars, as if pairs were independent."),
        ("Wrong codes read on the way", rank_error_chart, "Mean over notes with a gold code, read from the top."),
        ("F1 and frequency", frequency_chart, "One dot a code that has a gold example here; point at it for its name."),
    )
    charts = "".join(
        f"<figure><h3>{escape(title)}</h3><p class='note'>{escape(note)}</p>{chart(results)}</figure>"
        for title, chart, note in figures
    )
    charts += gain_figures(results["curves"].get("gain", {}))
    return f'<h2>Charts</h2><div class="charts">{charts}</div>'


def _reading(results: dict[str, Any]) -> str:
    rows = results["curves"].get("reading")
    if not rows:
        return ""
    body = []
    for row in rows:
        width = row["recall_interval"]
        spread = f"<br><span class='note'>{span(width['low'], width['high'])}</span>" if width else ""
        read = f"{number(row['depth'])} ({number(row['median_depth'])})"
        fixed = f"{number(row['fixed_depth'])} ({number(row['fixed_errors'])})"
        cells = (number(row["expected"]), number(row["recall"]) + spread, read, number(row["errors"]))
        body.append([f"{row['asked']:.0%}", *cells, number(row["reached"]), fixed])
    columns = ["recall asked for", "expected", "found", "read (median)", "in vain", "notes that reach it"]
    note = (
        f"Each note read from the top until the recall asked for is expected, by {results['curves']['reading_from']}. "
        f"Means over {count(rows[0]['notes'], 'note')} with a gold code. The last column reads as many suggestions of "
        "every note for the same recall found, a number chosen on these notes."
    )
    whole = table([*columns, "the same number for every note (in vain)"], body)
    return f"<h2>How far to read</h2><p class='note'>{escape(note)}</p>{whole}"


def _systems(results: dict[str, Any]) -> str:
    systems = results["extra"].get("systems")
    if not systems:
        return ""
    rows = [("these predictions", results["figures"]), *systems.items()]
    note = "Same notes, same codes. A row that is named a bound or an oracle was given what no system may see."
    tables = [
        table(["system", *columns], [[escape(name), *(number(row.get(m)) for m in columns)] for name, row in rows])
        for columns in (HEADLINE, READING, ORDER)
        if any(metric in results["figures"] for metric in columns)
    ]
    return f"<h2>Beside it</h2><p class='note'>{note}</p>" + "".join(tables)


def _published(results: dict[str, Any]) -> str:
    published = results["extra"].get("published")
    if not published:
        return ""
    heading = f"<h2>Published results on {escape(published['task'])}</h2>"
    if published["refusal"]:
        return f"{heading}<p class='note'>{escape(published['refusal'])}</p>"
    columns = field_columns(published)
    accepted = f"accepted at {results['threshold_source']}"
    ours = [(*row, accepted) for row in own_rows(published, results["figures"], results.get("filtered", {}))]
    theirs = [(published_name(row), row["figures"], describe_source(row)) for row in published["rows"]]
    body = [
        [f"{escape(name)}<br><span class='note'>{escape(source)}</span>", *(number(figures.get(m)) for m in columns)]
        for name, figures, source in (*ours, *theirs)
    ]
    left_out = "".join(f"<p class='note'>{escape(sentence)}</p>" for sentence in published["left_out"])
    note = "Same label set, same numbers of training and test stays. Published figures come without intervals."
    return f"{heading}<p class='note'>{note}</p>" + table(["system", *columns], body) + left_out


def _levels(results: dict[str, Any]) -> str:
    levels = results["extra"].get("levels")
    if not levels:
        return ""
    columns = ("concepts", "concepts_present", "positives", *_AREAS)
    body = []
    for level, row in levels.items():
        sizes = [f"{row[name]:,.0f}" for name in columns[:2]]
        body.append([escape(level), *sizes, *(number(row.get(name)) for name in columns[2:])])
    note = "Concept scores against the concepts of the gold codes (weak labels), before any head."
    return f"<h2>Concepts, per level</h2><p class='note'>{note}</p>" + table(["level", *columns], body)


_AREAS = ("micro_auc", "macro_auc", "micro_average_precision", "macro_average_precision")


def _worst(codes: list[dict[str, Any]]) -> str:
    present = sorted((row for row in codes if row["gold"]), key=lambda row: (row["f1"], -row["gold"], row["code"]))[
        :WORST
    ]
    body = []
    for row in present:
        train = "–" if row["train_count"] is None else f"{row['train_count']:,}"
        counts = [f"{row[name]:,}" for name in ("gold", "tp", "fp", "fn")]
        shares = [number(row[name]) for name in ("precision", "recall", "f1")]
        body.append([f"<code>{escape(row['code'])}</code> {escape(row['title'] or '')}", train, *counts, *shares])
    columns = ["code", "train", "gold", "TP", "FP", "FN", "precision", "recall", "F1"]
    note = f"Of the codes with a gold example here, the {len(present)} with the lowest F1; the more frequent first."
    return f"<h2>Worst codes</h2><p class='note'>{note}</p>" + table(columns, body)


def _figures(results: dict[str, Any]) -> str:
    rows = []
    for group, metrics in DEFINITIONS.items():
        if not metrics.keys() & results["figures"].keys():
            continue
        rows.append(f"<tr class='group'><th colspan='4'>{escape(group)}</th></tr>")
        for metric, definition in metrics.items():
            rows.append(
                f"<tr><td><code>{metric}</code></td><td class='number'>{number(results['figures'].get(metric))}</td>"
                f"<td class='number'>{_interval(results, metric)}</td>"
                f"<td>{escape(definition)}{_at_most(results, metric)}</td></tr>"
            )
    head = (
        "<tr><th>figure</th><th class='number'>value</th><th class='number'>95 % interval</th><th>what it is</th></tr>"
    )
    whole = f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<h2>All figures</h2><div class='scroll'>{whole}</div>"


def _filtered(results: dict[str, Any]) -> str:
    found, widths = results.get("filtered", {}), results.get("filtered_intervals", {})
    if not found:
        return ""
    rows = []
    for name, value in found.items():
        band = widths.get(name)
        spread = span(band["low"], band["high"]) if band else ""
        rows.append([f"<code>{name}</code>", number(value), spread, number(results["figures"].get(name))])
    note = f"{FILTER[0].upper()}{FILTER[1:]}: {results['counts']['codes_present']:,} codes are left."
    columns = ["figure", "filtered", "95 % interval", "all codes"]
    return f"<h2>Filtered figures</h2><p class='note'>{escape(note)}</p>" + table(columns, rows)


def _provenance(results: dict[str, Any]) -> str:
    facts = {
        "command": results["command"],
        "git commit": results["git_commit"],
        "notes": f"SHA-256 of their sorted ids {results['notes_hash']}",
        **{f"SHA-256 of {name}": digest for name, digest in results["inputs"].items()},
        "versions": ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
    }
    known = ("levels", "systems", "published")
    facts |= {name: json.dumps(value) for name, value in results["extra"].items() if name not in known}
    rows = ((name, f"<code>{escape(text)}</code>") for name, text in facts.items() if text)
    closing = "<p class='note'>Suggestions are for research and must be validated by a professional coder.</p>"
    return f"<h2>What made this</h2>{definition_list(rows)}{closing}"


def _interval(results: dict[str, Any], metric: str) -> str:
    interval = results["intervals"].get(metric)
    return span(interval["low"], interval["high"]) if interval else ""


def _at_most(results: dict[str, Any], metric: str) -> str:
    highest = ceiling(results["figures"], metric)
    return "" if highest is None else f" (at most {number(highest)})"
