"""The plots of the results page, drawn from benchmarks/results/*.json: name -> SVG, whole in itself.

They are drawn with the chart of the reports (`concept_icd.report.charts`); a plot of named rows is drawn here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from concept_icd.report.charts import HEIGHT, WIDTH, Chart, Scale, linear, wilson

#: Label, value, low end and high end of its interval, colour.
Row = tuple[str, float, float | None, float | None, str]

#: Key of cmc2007.json -> what it is.
SYSTEMS = {
    "all_combinations": "shipped: these and code combinations",
    "concepts_words_terms": "concept scores + words + terms",
    "concepts_terms": "concept scores + terms",
    "concepts_words": "concept scores + words",
    "concepts_averaged": "concept scores, mean over adapters",
    "concepts": "concept scores alone",
    "lexical": "words + terms, aggregator",
    "words": "words alone, boosted trees",
    "words_aggregated": "words alone, aggregator",
    "tfidf_svm": "TF-IDF + linear SVM",
    "terms": "the classification's terms alone",
}
CODIESP = {
    "concept pipeline, tiny model": "concept pipeline",
    "TF-IDF + linear SVM": "TF-IDF + SVM, train notes",
    "TF-IDF + linear SVM, dev cases too": "TF-IDF + SVM, train and dev",
    "label attention (PLM-ICD's head, small encoder from scratch)": "label attention from scratch",
    "frequency": "frequency",
}
ABLATIONS = {
    "another-seed": "a second training of the same",
    "codes-alone": "codes without the levels above",
    "with-phrases": "phrases beside titles",
    "longer-pre-training": "longer pre-training",
    "larger-model": "4.4 M parameters, fewer steps",
    "no-companies": "without the companies' codes",
    "full-rank": "rank 128",
    "paraphrase": "paraphrased reports added",
    "agreed-first": "agreed reports first",
    "no-questions": "no yes/no questions in pre-training",
    "smaller-model": "0.36 M parameters",
    "no-pre-training": "no pre-training",
}
ORDERS = {
    "ranking head": "ranking head",
    "TF-IDF + logistic regression on the principal": "TF-IDF on the principal alone",
    "LTR-ICD (tiny)": "LTR-ICD, tiny, from scratch",
    "probability order": "by probability",
    "frequency order": "by training frequency",
}


def plots(results: Mapping[str, Any]) -> dict[str, str]:
    """Every plot, from the results by name."""
    widths = results["cmc2007"]["micro_f1_intervals"]
    cmc = [_row(text, widths[name], "difference", name == "all_combinations") for name, text in SYSTEMS.items()]
    found = {"cmc2007": rows_plot(cmc, linear(0.92, 0.76), "micro-F1, 95 % over reports")}
    variants = results["ablations"]["variants"]
    less = [_row(text, variants[name]["minus_shipped"], "value", False) for name, text in ABLATIONS.items()]
    found["ablations"] = rows_plot(less, linear(0.05, -0.6), "micro-F1 minus that of the shipped settings", zero=True)
    for task, content in results["codiesp"]["tasks"].items():
        systems = {text: content["systems"][name] for name, text in CODIESP.items() if name in content["systems"]}
        rows = [
            _row(text, own["intervals"]["micro_f1"] | own["figures"], "micro_f1", text == "concept pipeline")
            for text, own in systems.items()
        ]
        found[task] = rows_plot(rows, linear(0.75), f"micro-F1 on {task}, 95 % over cases")
    orders = [
        (
            text,
            own["mean"],
            own["mean"] - own["sd"],
            own["mean"] + own["sd"],
            "one" if name == "ranking head" else "two",
        )
        for name, text in ORDERS.items()
        for own in [results["ordering"]["systems"][name]["primary_accuracy"]]
    ]
    found["ordering"] = rows_plot(orders, linear(0.55), "principal diagnosis found first, mean ± sd over seeds")
    return found | {
        "calibration": _calibration(results["calibration"]),
        "selection": _selection(results["descent"]),
        "read-first": _read_first(results["reading"]),
    }


def _row(label: str, width: Mapping[str, Any], name: str, marked: bool) -> Row:
    return label, width[name], width["low"], width["high"], "one" if marked else "two"


def rows_plot(rows: Sequence[Row], scale: Scale, label: str, zero: bool = False) -> str:
    """Named rows, each with a point and its interval."""
    left, step, right, width = 250, 26, 60, 660
    height = step * len(rows) + 52
    bottom = height - 44

    def at(value: float) -> float:
        return round(left + scale.place(value) * (width - left - right), 1)

    parts = []
    for tick in scale.ticks:
        parts.append(f'<line class="grid" x1="{at(tick)}" x2="{at(tick)}" y1="8" y2="{bottom}"/>')
        parts.append(f'<text x="{at(tick)}" y="{bottom + 17}" text-anchor="middle">{tick:,.6g}</text>')
    if zero:
        parts.append(f'<line class="axis" x1="{at(0)}" x2="{at(0)}" y1="8" y2="{bottom}"/>')
    for number, (name, value, low, high, colour) in enumerate(rows):
        down = 8 + step * (number + 0.5)
        parts.append(f'<text x="{left - 12}" y="{down + 4}" text-anchor="end">{escape(name)}</text>')
        if low is not None and high is not None:
            ends = f'x1="{at(low)}" x2="{at(high)}" y1="{down}" y2="{down}"'
            parts.append(f'<line class="line {colour}" {ends}/>')
        parts.append(f'<circle class="dot {colour}" cx="{at(value)}" cy="{down}" r="4"/>')
        parts.append(f'<text x="{width - 4}" y="{down + 4}" text-anchor="end">{value:{"+" if zero else ""}.3f}</text>')
    middle = (left + width - right) / 2
    parts.append(f'<text x="{middle}" y="{height - 6}" text-anchor="middle">{escape(label)}</text>')
    return _whole("".join(parts), width, height, label)


def _calibration(result: Mapping[str, Any]) -> str:
    bins = result["systems"]["seed-0"]["ways"]["all_combinations"]["bins"]
    chart = Chart("Calibration", linear(1), linear(1), "mean probability in the bin", "share of gold codes")
    chart.line([(0, 0), (1, 1)], "faint", dashed=True)
    points = list(zip(bins["confidence"], bins["accuracy"], bins["pairs"], strict=True))
    for confidence, accuracy, pairs in points:
        chart.bar(confidence, *wilson(accuracy, pairs), "one")
    chart.line([point[:2] for point in points], "one")
    for confidence, accuracy, _ in points:
        chart.dot(confidence, accuracy, "one", radius=3.5)
    keys = {"one": "the shipped coder's procedure, seed 0", "faint dashed": "probabilities that mean what they say"}
    return _chart(chart, keys)


def _selection(result: Mapping[str, Any]) -> str:
    lines = {"one": ("budget and 40 codes of the retriever", "and 40 codes"), "two": ("budget alone", "budget")}
    lines["three"] = ("retriever alone", "retriever alone")
    high = 0.2
    chart = Chart("Selection", linear(high), linear(0.65), "share of the questions asked", "recall@50")
    whole = result["exhaustive"]["test"]["recall_at_50"]
    chart.line([(0, whole), (high, whole)], "faint", dashed=True)
    for colour, (_, name) in lines.items():
        named = {row: found["test"] for row, found in result["rows"].items() if name in row}
        if name == "budget":
            named = {row: test for row, test in named.items() if "retriever" not in row}
        points = sorted((test["share_of_questions"], test["recall_at_50"]) for test in named.values())
        points = [point for point in points if point[0] <= high]
        chart.line(points, colour)
        for point in points:
            chart.dot(*point, colour)
    return _chart(chart, {c: text for c, (text, _) in lines.items()} | {"faint dashed": "everything asked"}, low=True)


def _read_first(result: Mapping[str, Any]) -> str:
    chart = Chart("Read first", linear(1, 0.45), linear(1, 0.45), "recall asked for", "recall found")
    chart.line([(0.45, 0.45), (1, 1)], "faint", dashed=True)
    colours = dict(zip(result["sets"], ("one", "two", "three"), strict=True))
    for name, colour in colours.items():
        rows = result["sets"][name]["ways"]["fitted"]
        chart.line([(row["asked"], row["recall"]) for row in rows], colour)
        for row in rows:
            chart.bar(row["asked"], row["recall_interval"]["low"], row["recall_interval"]["high"], colour)
            chart.dot(row["asked"], row["recall"], colour)
    return _chart(chart, {colour: name for name, colour in colours.items()} | {"faint dashed": "as asked"}, low=True)


def _chart(chart: Chart, keys: Mapping[str, str], low: bool = False) -> str:
    """A chart of the reports with its legend inside, at the top left or (`low`) at the bottom right."""
    inside = chart.render().partition(">")[2].partition("</svg>")[0]
    left, top = (WIDTH - 262, HEIGHT - 60 - 16 * len(keys)) if low else (66, 20)
    legend = "".join(
        f'<line class="line {colour}" x1="{left}" x2="{left + 22}" y1="{top + 16 * row}" y2="{top + 16 * row}"/>'
        f'<text x="{left + 28}" y="{top + 4 + 16 * row}">{escape(text)}</text>'
        for row, (colour, text) in enumerate(keys.items())
    )
    return _whole(inside + legend, WIDTH, HEIGHT, chart.title)


def _whole(inside: str, width: int, height: int, title: str) -> str:
    size = f'viewBox="0 0 {width} {height}" width="{width}" font-family="system-ui, sans-serif"'
    named = f'role="img" aria-label="{escape(title)}"'
    paper = f'<rect width="{width}" height="{height}" fill="var(--paper)"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {named}><style>{_style()}</style>{paper}{inside}</svg>\n'


def _style() -> str:
    """Colours and marks of the reports' style sheet, light and dark."""
    sheet = files("concept_icd.report").joinpath("templates/page.css").read_text(encoding="utf-8")
    marks: Iterable[str] = sheet.splitlines()
    marks = [line for line in marks if line.startswith(("svg text", ".grid", ".axis", ".line", ".dot"))]
    return sheet.partition("* {")[0] + "\n".join(marks)
