"""The study's results as one HTML page: tables and charts of all strategies, and looks inside one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from concept_icd.medications.study.figures import CURVE, INTERPOLATED, READ, RECALLS, STEP, TARGET_METRICS
from concept_icd.medications.study.page_inside import figure, inside_parts, ward_tables, with_interval
from concept_icd.medications.targets import TREE_LEVELS
from concept_icd.report.charts import COLOURS, Chart, linear, logarithmic
from concept_icd.report.markup import definition_list, document, number, stamps, table

DUMMY = "dummy"
#: Of each set of nodes, in the tables.
COLUMNS = {
    "ndcg": "NDCG",
    "ndcg_at_15": "NDCG@15",
    **{f"rank_errors_at_{recall}": f"RE@{recall}" for recall in RECALLS},
    "micro_auc": "micro-AUROC",
    "macro_auc": "macro-AUROC",
    "micro_auprc": "micro-AUPRC",
    "macro_auprc": "macro-AUPRC",
    "micro_f1": "micro-F1",
    "micro_precision": "micro-precision",
    "micro_recall": "micro-recall",
    "macro_f1": "macro_f1",
    "macro_f1_caml": "macro_f1_caml",
    "micro_f1_at_half": "micro-F1, .5",
    "micro_precision_at_half": "micro-precision, .5",
    "micro_recall_at_half": "micro-recall, .5",
    "macro_f1_at_half": "macro_f1, .5",
}
#: Of all pairs, 500 bins of equal count: the study's, then ours (see `metrics.calibration`).
CALIBRATION = {
    "brier": "Brier",
    "ece": "ECE, predicted side (study)",
    "mce": "MCE, predicted side (study)",
    "ece_positive": "ECE, probability (ours)",
    "mce_positive": "MCE, probability (ours)",
    "brier_above_1_percent": "Brier, p > 1 %",
    "ece_above_1_percent": "ECE, p > 1 %",
    "mce_above_1_percent": "MCE, p > 1 %",
}


def render_study(results: Mapping[str, Any], title: str = "Codes from medications") -> str:
    """The page of what `study.run_study` writes."""
    sets = list(results["nodes"])
    parts = [
        stamps(["Research use; suggestions are to be validated by a professional coder."]),
        _facts(results),
        "<h2>The seven target metrics</h2>",
        "<p class='note'>F1s at the threshold .5, as in the study; on test stays, means over folds.</p>",
        *(_target_table(results, name) for name in ("all levels", "billing")),
        "<h2>All strategies</h2>",
        "<p class='note'>Decisions by the thresholds of the levels from dev stays, and (.5) where the probability is "
        "above .5.</p>",
        *(_set_table(results, name) for name in sets),
        "<h2>What a coder reads</h2>",
        "<p class='note'>RE@R: wrong codes read before the share R of a stay's codes is found, the mean over stays; "
        "step: at the first code that reaches R; interpolated: between neighbours, as the study's code has it.</p>",
        *(_error_table(results, name) for name in sets if "subset" not in name),
        *(_recall_table(results, name) for name in _read(results)),
        *(figure(title, chart) for title, chart in _reading_charts(results)),
        "<h2>NDCG by level</h2>",
        _level_table(results),
        "<h2>Differences on the same stays</h2>",
        *(_difference_table(results, other) for other in results["differences"]),
        "<h2>Calibration</h2>",
        *(_calibration_table(results, name) for name in ("all levels", "billing")),
        "<h2>By ward</h2>",
        *ward_tables(results),
        *inside_parts(results),
        "<h2>By which dev figure to choose</h2>",
        _agreement(results),
        *_provenance(results),
    ]
    return document(title, parts)


def _facts(results: Mapping[str, Any]) -> str:
    folds = "; ".join(
        f"{name}: {fold['train']:,} train, {fold['dev']:,} dev, {fold['test']:,} test"
        for name, fold in results["folds"].items()
    )
    facts = {
        "stays": f"{results['stays']:,} of {results['patients']:,} patients; {results['inputs']:,} inputs",
        "nodes": ", ".join(f"{name} {count:,}" for name, count in results["nodes"].items()),
        "folds": folds,
        "chosen on": "dev stays: epochs, thresholds per level"
        + (", and the options of every fold by Hyperband" if results["hyperband"] else ""),
        "intervals": f"95 % jackknife over the patients of all test stays, at most {results['draws']:,} samples, seed "
        f"{results['seed']}",
    }
    return definition_list((name, escape(text)) for name, text in facts.items())


def _target_table(results: Mapping[str, Any], name: str) -> str:
    """Strategies, what they were chosen by, and what they come to by each target metric."""
    rows = []
    for strategy, summary in results["summary"].items():
        if figures := summary.get(name):
            chosen = (results["strategies"][strategy] or {}).get("select", "-")
            rows.append([escape(strategy), escape(chosen), *(_mean(figures.get(key)) for key in TARGET_METRICS)])
    columns = ["strategy", "chosen by", *(COLUMNS[key] for key in TARGET_METRICS)]
    return f"<h3>{escape(name)}</h3>" + table(columns, rows)


def _set_table(results: Mapping[str, Any], name: str) -> str:
    rows = []
    for strategy, summary in results["summary"].items():
        if not (figures := summary.get(name)):
            continue  # it does not answer these nodes
        cells = [_mean(figures.get(key)) for key in COLUMNS]
        seconds = [run["train_seconds"] for run in results["runs"][strategy]]
        rows.append([escape(strategy), *cells, number(round(sum(seconds) / len(seconds), 1))])
    heading = f"<h3>{escape(name)} ({results['nodes'][name]:,} nodes)</h3>"
    return heading + table(["strategy", *COLUMNS.values(), "training, s"], rows)


def _mean(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return number(None)
    spread = "" if figure["sd"] is None else f" ± {number(figure['sd'])}"
    return f"{number(figure['mean'])}{spread}"


def _error_table(results: Mapping[str, Any], name: str) -> str:
    keys = (*STEP, *INTERPOLATED)
    columns = [f"RE@{recall}{form}" for form in ("", ", interp.") for recall in RECALLS]
    return _interval_table(results, f"Rank errors, {name}", {key: (name, key) for key in keys}, columns)


def _recall_table(results: Mapping[str, Any], name: str) -> str:
    cells = {k: (name, f"recall_at_{k}") for k in READ}
    return _interval_table(results, f"Recall at K, {name}", cells, [f"K = {k}" for k in READ])


def _level_table(results: Mapping[str, Any]) -> str:
    names = [name for name in (*TREE_LEVELS, "billing") if name in results["nodes"]]
    return _interval_table(results, "", {name: (name, "ndcg") for name in names}, names)


def _interval_table(
    results: Mapping[str, Any], title: str, cells: Mapping[Any, tuple[str, str]], columns: Sequence[str]
) -> str:
    """A row a strategy; each cell a set of nodes and a figure, with its interval."""
    rows = [
        [escape(strategy), *(with_interval(summary.get(name, {}).get(key)) for name, key in cells.values())]
        for strategy, summary in results["summary"].items()
        if any(name in summary for name, _ in cells.values())
    ]
    return (f"<h3>{escape(title)}</h3>" if title else "") + table(["strategy", *columns], rows)


def _difference_table(results: Mapping[str, Any], other: str) -> str:
    """NDCG and RE@R (step) of every strategy less another's, all levels and billing."""
    columns = {(name, key): f"{COLUMNS[key]}, {name}" for name in ("all levels", "billing") for key in ("ndcg", *STEP)}
    rows = []
    for strategy, found in results["differences"][other].items():
        gaps = [found.get(name, {}).get(key) for name, key in columns]
        rows.append([escape(strategy), *(with_interval(gap, "difference") + _tests(gap) for gap in gaps)])
    if not rows:
        return ""
    return f"<h3>Less {escape(other)}</h3>" + table(["strategy", *columns.values()], rows)


def _tests(gap: Mapping[str, Any] | None) -> str:
    """The study's two tests of a difference."""
    if gap is None:
        return ""
    return f"; Mann-Whitney p {number(gap['mann_whitney_p'])}, paired t p {number(gap['paired_t_p'])}"


def _calibration_table(results: Mapping[str, Any], name: str) -> str:
    rows = [
        [escape(strategy), *(_mean(summary.get(name, {}).get(key)) for key in CALIBRATION)]
        for strategy, summary in results["summary"].items()
        if name in summary
    ]
    return f"<h3>{escape(name)}</h3>" + table(["strategy", *CALIBRATION.values()], rows)


def _read(results: Mapping[str, Any]) -> list[str]:
    """The sets whose codes somebody reads from the top: all and billed ones, and the same of the subset."""
    wanted = ("all levels", "billing", "billing, top 50", "all levels, subset", "billing, subset")
    return [name for name in wanted if name in results["nodes"]]


def _reading_charts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    charts = []
    for name in _read(results):
        values = _series(results, name, STEP)
        high = max((value for row in values.values() for value in row), default=1.0)
        chart = Chart(f"Rank errors, {name}", linear(100), logarithmic(high), "gold codes found, %", "wrong codes read")
        _lines(chart, values, RECALLS)
        charts.append((f"Rank errors at recall, {name}", chart.render()))
        curves = {own: summary[name]["recall_curve"] for own, summary in results["summary"].items() if name in summary}
        chart = Chart(f"Recall at K, {name}", linear(CURVE), linear(1), "codes read", "share of gold codes found")
        _lines(chart, {own: curve for own, curve in curves.items() if curve}, range(1, CURVE + 1), dots=READ)
        charts.append((f"Recall at K, {name}", chart.render()))
    return charts


def _series(results: Mapping[str, Any], name: str, keys: Sequence[str]) -> dict[str, list[float]]:
    """Strategy -> its means over folds, where all are defined."""
    return {
        strategy: [summary[name][key]["mean"] for key in keys]
        for strategy, summary in results["summary"].items()
        if all(key in summary.get(name, {}) for key in keys)
    }


def _lines(
    chart: Chart, values: Mapping[str, Sequence[float]], xs: Sequence[int], dots: Sequence[int] | None = None
) -> None:
    """A line a strategy, with dots where `dots` has the x; None: everywhere."""
    trained = [name for name in values if name != DUMMY]
    for name, row in values.items():
        place = trained.index(name) if name in trained else 0
        colour = COLOURS[place % len(COLOURS)] if name in trained else "faint"
        chart.line(list(zip(xs, row, strict=True)), colour, name, dashed=name == DUMMY or place >= len(COLOURS))
        for x, value in zip(xs, row, strict=True):
            if dots is not None and x not in dots:
                continue
            chart.dot(x, value, colour, f"{name}, {x}: {number(value)}", 2.5)


def _agreement(results: Mapping[str, Any]) -> str:
    trained = sum(bool(run["dev_figures"]) for runs in results["runs"].values() for run in runs)
    if trained < 3:
        return "<p class='note'>Fewer than three trained networks: no correlation is shown.</p>"
    rows = [
        [escape(name), *(number(found[str(recall)]) for recall in RECALLS)]
        for name, found in results["agreement"].items()
    ]
    note = (
        f"<p class='note'>Spearman's correlation over {trained} networks of a figure on dev stays with the rank errors "
        "on test stays, all levels; -1 would be a perfect choice.</p>"
    )
    return note + table(["dev figure", *(f"RE@{recall}" for recall in RECALLS)], rows)


def _provenance(results: Mapping[str, Any]) -> list[str]:
    command = results.get("command")
    return [f"<p class='note'>Made by: <code>{escape(command)}</code></p>"] if command else []
