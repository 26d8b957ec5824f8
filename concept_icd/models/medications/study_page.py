"""The study's results as one HTML page: tables and charts of all strategies, and looks inside one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from concept_icd.models.medications.figures import READ
from concept_icd.report.charts import COLOURS, wilson
from concept_icd.report.markup import definition_list, document, number, span, stamps, table
from concept_icd.report.svg import Chart, linear, logarithmic

DUMMY = "dummy"
#: Of each set of nodes, in the tables.
COLUMNS = {
    "ndcg": "NDCG",
    "ndcg_at_15": "NDCG@15",
    "rank_errors_at_25": "RE@25",
    "rank_errors_at_50": "RE@50",
    "rank_errors_at_75": "RE@75",
    "rank_errors_at_100": "RE@100",
    "micro_auc": "micro-AUROC",
    "macro_auc": "macro-AUROC",
    "micro_auprc": "micro-AUPRC",
    "macro_auprc": "macro-AUPRC",
    "micro_f1": "micro-F1",
    "macro_f1": "macro_f1",
    "macro_f1_caml": "macro_f1_caml",
}
_RECALLS = (25, 50, 75, 100)


def render_study(results: Mapping[str, Any], title: str = "Codes from medications") -> str:
    """The page of what `study.run_study` writes."""
    inside = best(results)
    parts = [
        stamps(["Research use; suggestions are to be validated by a professional coder."]),
        _facts(results),
        "<h2>All strategies</h2>",
        *(_set_table(results, name) for name in results["nodes"]),
        "<h2>What a coder reads</h2>",
        *(_figure(title, chart) for title, chart in _reading_charts(results)),
    ]
    if inside is not None:
        parts += [f"<h2>Inside {escape(inside)}</h2>", *_inside(results, inside)]
    parts += ["<h2>By which dev figure to choose</h2>", _agreement(results), *_provenance(results)]
    return document(title, parts)


def best(results: Mapping[str, Any]) -> str | None:
    """The strategy with the highest mean dev NDCG; dev, so that the choice does not look at test stays."""
    means = {
        name: sum(run["dev_figures"]["ndcg"] for run in runs) / len(runs)
        for name, runs in results["runs"].items()
        if name != DUMMY
    }
    return max(means, key=means.__getitem__) if means else None


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
        + (f", and options by {results['trials']} trials of Hyperband on the first fold" if results["trials"] else ""),
        "intervals": f"95 % bootstrap over patients, {results['draws']:,} draws, seed {results['seed']}",
    }
    return definition_list((name, escape(text)) for name, text in facts.items())


def _set_table(results: Mapping[str, Any], name: str) -> str:
    rows = []
    for strategy, summary in results["summary"].items():
        figures = summary.get(name, {})
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


def _reading_charts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    charts = []
    for name in ("all levels", "billing", "billing, subset"):
        if name not in results["nodes"]:
            continue
        values = _series(results, name, [f"rank_errors_at_{recall}" for recall in _RECALLS])
        high = max((value for row in values.values() for value in row), default=1.0)
        chart = Chart(f"Rank errors, {name}", linear(100), logarithmic(high), "gold codes found, %", "wrong codes read")
        _lines(chart, values, _RECALLS)
        charts.append((f"Rank errors at recall, {name}", chart.render()))
        values = _series(results, name, [f"recall_at_{k}" for k in READ])
        chart = Chart(f"Recall at K, {name}", linear(max(READ)), linear(1), "codes read", "share of gold codes found")
        _lines(chart, values, READ)
        charts.append((f"Recall at K, {name}", chart.render()))
    return charts


def _series(results: Mapping[str, Any], name: str, keys: Sequence[str]) -> dict[str, list[float]]:
    """Strategy -> its means over folds, where all are defined."""
    return {
        strategy: [summary[name][key]["mean"] for key in keys]
        for strategy, summary in results["summary"].items()
        if all(key in summary.get(name, {}) for key in keys)
    }


def _lines(chart: Chart, values: Mapping[str, Sequence[float]], xs: Sequence[int]) -> None:
    trained = [name for name in values if name != DUMMY]
    for name, row in values.items():
        place = trained.index(name) if name in trained else 0
        colour = COLOURS[place % len(COLOURS)] if name in trained else "faint"
        chart.line(list(zip(xs, row, strict=True)), colour, name, dashed=name == DUMMY or place >= len(COLOURS))
        for x, value in zip(xs, row, strict=True):
            chart.dot(x, value, colour, f"{name}, {x}: {number(value)}", 2.5)


def _inside(results: Mapping[str, Any], strategy: str) -> list[str]:
    """Looks inside the first fold's network, beside the dummy's."""
    run, dummy = results["runs"][strategy][0], results["runs"][DUMMY][0]
    codes = run["analyses"]["codes"]
    rank = {row["code"]: row["rank_with"] for row in dummy["analyses"]["codes"]}
    high = max((row["train"] for row in codes), default=1)
    parts = [_calibration(run)]
    told = Chart("Entropy reduction", logarithmic(high), linear(1), "training stays with the code", "share of entropy")
    place = Chart("Ranks", logarithmic(high), logarithmic(_top(codes)), "training stays with the code", "mean rank")
    for row in codes:
        if row["entropy_reduction"] is not None:
            told.dot(row["train"], row["entropy_reduction"], "one", f"{row['code']}: {row['entropy_reduction']:.3f}", 2)
        for key, colour, words in (("rank_without", "faint", "without"), ("rank_with", "one", "with")):
            if row[key] is not None:
                text = f"{row['code']} on stays {words} it: {row[key]:.0f}; dummy {rank.get(row['code'], 0):.0f}"
                place.dot(row["train"], row[key], colour, text, 2)
    note = f"{len(codes):,} billing codes with a gold example among the test stays of {escape(run['fold'])}."
    parts += [
        _figure("Entropy of a code that the output removes, against its frequency", told.render(), note),
        _figure("Mean rank of a code on stays with it (colour) and without it (grey)", place.render(), note),
    ]
    rows = [
        [escape(ward), f"{found['stays']:,}", number(found["billing_ndcg"]),
         number(dummy["analyses"]["wards"].get(ward, {}).get("billing_ndcg"))]
        for ward, found in run["analyses"]["wards"].items()
    ]  # fmt: skip
    intervals = run["sets"]["billing"]["intervals"]
    spread = [
        [name, number(run["sets"]["billing"][key]), span(intervals[key]["low"], intervals[key]["high"])]
        for key, name in COLUMNS.items()
        if key in intervals
    ]
    parts += ["<h3>By ward (billing NDCG)</h3>", table(["ward", "stays", strategy, DUMMY], rows)]
    parts += ["<h3>Intervals (billing)</h3>", table(["figure", "value", "95 % over patients"], spread)]
    return parts


def _calibration(run: Mapping[str, Any]) -> str:
    chart = Chart("Calibration", linear(1), linear(1), "mean probability in the bin", "share of gold codes")
    chart.line([(0, 0), (1, 1)], "faint", "probabilities that mean what they say", dashed=True)
    bins = run["analyses"]["reliability_10_equal_width"]
    for confidence, accuracy, pairs in zip(bins["confidence"], bins["accuracy"], bins["pairs"], strict=True):
        chart.bar(confidence, *wilson(accuracy, pairs), "one")
        chart.dot(confidence, accuracy, "one", f"probability {confidence:.3f}, gold {accuracy:.3f}, {pairs:,} pairs")
    billing = run["sets"]["billing"]
    note = f"Brier {number(billing['brier'])}, ECE {number(billing['ece'])}, MCE {number(billing['mce'])} (500 bins)."
    return _figure("Calibration of billing codes, ten bins of equal width", chart.render(), note)


def _agreement(results: Mapping[str, Any]) -> str:
    trained = sum(len(runs) for name, runs in results["runs"].items() if name != DUMMY)
    if trained < 3:
        return "<p class='note'>Fewer than three trained networks: no correlation is shown.</p>"
    rows = [
        [escape(name), *(number(found[str(recall)]) for recall in _RECALLS)]
        for name, found in results["agreement"].items()
    ]
    note = (
        f"<p class='note'>Spearman's correlation over {trained} networks of a figure on dev stays with the rank errors "
        "on test stays, all levels; -1 would be a perfect choice.</p>"
    )
    return note + table(["dev figure", *(f"RE@{recall}" for recall in _RECALLS)], rows)


def _provenance(results: Mapping[str, Any]) -> list[str]:
    command = results.get("command")
    return [f"<p class='note'>Made by: <code>{escape(command)}</code></p>"] if command else []


def _figure(title: str, chart: str, note: str = "") -> str:
    text = f"<p class='note'>{note}</p>" if note else ""
    return f"<figure><h3>{escape(title)}</h3>{text}{chart}</figure>"


def _top(codes: Sequence[Mapping[str, Any]]) -> float:
    return max((row[key] or 1.0 for row in codes for key in ("rank_with", "rank_without")), default=1.0)
