"""The study's results: one HTML page with tables and charts of all strategies, and two tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TextIO

from concept_icd.medications.study.figures import CURVE, INTERPOLATED, OF_CODES, READ, RECALLS, STEP, TARGET_METRICS
from concept_icd.medications.targets import TREE_LEVELS
from concept_icd.report.charts import COLOURS, Chart, linear, logarithmic, wilson
from concept_icd.report.formatting import count, interval, number, terminal_number
from concept_icd.report.page import render
from concept_icd.report.table import print_table

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
#: What the terminal shows of them.
SUMMARY = ("ndcg", "rank_errors_at_50", "rank_errors_at_100", "micro_auprc", "micro_f1", "macro_f1", "macro_f1_caml")
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
#: Of each ward, among its billed codes.
OF_WARDS = {"ndcg": "NDCG", "rank_errors_at_50": "RE@50", "rank_errors_at_100": "RE@100", "recall_at_20": "Recall@20"}
#: The two sets of nodes that every network is compared on.
BOTH = ("all levels", "billing")
#: The sets whose codes somebody reads from the top: all and billed ones, and the same of the subset.
READ_SETS = (*BOTH, "billing, top 50", "all levels, subset", "billing, subset")


class Table(NamedTuple):
    """A table of the page; its cells are text."""

    title: str
    columns: Sequence[str]
    rows: list[list[str]]


def print_study(results: Mapping[str, Any], file: TextIO) -> None:
    """One table for all levels and one for billing codes: means over folds, of NDCG and RE@R over test stays."""
    for name in BOTH:
        tested = sum(fold["test"] for fold in results["folds"].values())
        rows = [
            (strategy, *(terminal_number(summary.get(name, {}).get(key, {}).get("mean")) for key in SUMMARY))
            for strategy, summary in results["summary"].items()
        ]
        title = f"{name}: {results['nodes'][name]:,} nodes, {tested:,} test stays"
        print_table(title, ["strategy", *(COLUMNS[key] for key in SUMMARY)], rows, file=file)


def render_study(results: Mapping[str, Any], title: str = "Codes from medications") -> str:
    """The page of what `study.run_study` writes."""
    sets, read = list(results["nodes"]), [name for name in READ_SETS if name in results["nodes"]]
    trained = sum(bool(run["dev_figures"]) for runs in results["runs"].values() for run in runs)
    return render(
        "study.html",
        title=title,
        measured=_facts(results),
        targets=[_target_table(results, name) for name in BOTH],
        sets=[_set_table(results, name) for name in sets],
        errors=[_error_table(results, name) for name in sets if "subset" not in name],
        recalls=[_recall_table(results, name) for name in read],
        charts=[chart for name in read for chart in _reading_charts(results, name)],
        levels=_level_table(results),
        differences=[table for other in results["differences"] if (table := _difference_table(results, other)).rows],
        calibration=[_calibration_table(results, name) for name in BOTH],
        wards=_ward_tables(results),
        inside=_inside(results["inside"]) if results["inside"] else None,
        agreement_note=_agreement_note(trained),
        agreement=_agreement_table(results) if trained >= 3 else None,
        command=results.get("command"),
    )


def _facts(results: Mapping[str, Any]) -> dict[str, str]:
    folds = "; ".join(
        f"{name}: {fold['train']:,} train, {fold['dev']:,} dev, {fold['test']:,} test"
        for name, fold in results["folds"].items()
    )
    return {
        "stays": f"{results['stays']:,} of {results['patients']:,} patients; {results['inputs']:,} inputs",
        "nodes": ", ".join(f"{name} {nodes:,}" for name, nodes in results["nodes"].items()),
        "folds": folds,
        "chosen on": "dev stays: epochs, thresholds per level"
        + (", and the options of every fold by Hyperband" if results["hyperband"] else ""),
        "intervals": f"95 % jackknife over the patients of all test stays, at most {results['draws']:,} samples, seed "
        f"{results['seed']}",
    }


def _target_table(results: Mapping[str, Any], name: str) -> Table:
    """Strategies, what they were chosen by, and what they come to by each target metric."""
    rows = []
    for strategy, summary in results["summary"].items():
        if figures := summary.get(name):
            chosen = (results["strategies"][strategy] or {}).get("select", "-")
            rows.append([strategy, chosen, *(_mean(figures.get(key)) for key in TARGET_METRICS)])
    return Table(name, ["strategy", "chosen by", *(COLUMNS[key] for key in TARGET_METRICS)], rows)


def _set_table(results: Mapping[str, Any], name: str) -> Table:
    rows = []
    for strategy, summary in results["summary"].items():
        if not (figures := summary.get(name)):
            continue  # it does not answer these nodes
        seconds = [run["train_seconds"] for run in results["runs"][strategy]]
        training = number(round(sum(seconds) / len(seconds), 1))
        rows.append([strategy, *(_mean(figures.get(key)) for key in COLUMNS), training])
    title = f"{name} ({results['nodes'][name]:,} nodes)"
    return Table(title, ["strategy", *COLUMNS.values(), "training, s"], rows)


def _mean(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return number(None)
    spread = "" if figure["sd"] is None else f" ± {number(figure['sd'])}"
    return f"{number(figure['mean'])}{spread}"


def _error_table(results: Mapping[str, Any], name: str) -> Table:
    columns = [f"RE@{recall}{form}" for form in ("", ", interp.") for recall in RECALLS]
    return _interval_table(results, f"Rank errors, {name}", [(name, key) for key in (*STEP, *INTERPOLATED)], columns)


def _recall_table(results: Mapping[str, Any], name: str) -> Table:
    cells = [(name, f"recall_at_{k}") for k in READ]
    return _interval_table(results, f"Recall at K, {name}", cells, [f"K = {k}" for k in READ])


def _level_table(results: Mapping[str, Any]) -> Table:
    names = [name for name in (*TREE_LEVELS, "billing") if name in results["nodes"]]
    return _interval_table(results, "", [(name, "ndcg") for name in names], names)


def _interval_table(
    results: Mapping[str, Any], title: str, cells: Sequence[tuple[str, str]], columns: Sequence[str]
) -> Table:
    """A row a strategy; each cell a set of nodes and a figure, with its interval."""
    rows = [
        [strategy, *(_with_interval(summary.get(name, {}).get(key)) for name, key in cells)]
        for strategy, summary in results["summary"].items()
        if any(name in summary for name, _ in cells)
    ]
    return Table(title, ["strategy", *columns], rows)


def _with_interval(figure: Mapping[str, Any] | None, key: str = "mean") -> str:
    """A mean (or difference) and its interval."""
    if figure is None or figure.get(key) is None:
        return number(None)
    band = "" if figure.get("low") is None else f" [{interval(figure)}]"
    return f"{number(figure[key])}{band}"


def _difference_table(results: Mapping[str, Any], other: str) -> Table:
    """NDCG and RE@R (step) of every strategy less another's, all levels and billing."""
    columns = {(name, key): f"{COLUMNS[key]}, {name}" for name in BOTH for key in ("ndcg", *STEP)}
    rows = []
    for strategy, found in results["differences"][other].items():
        gaps = [found.get(name, {}).get(key) for name, key in columns]
        rows.append([strategy, *(_with_interval(gap, "difference") + _tests(gap) for gap in gaps)])
    return Table(f"Less {other}", ["strategy", *columns.values()], rows)


def _tests(gap: Mapping[str, Any] | None) -> str:
    """The study's two tests of a difference."""
    if gap is None:
        return ""
    return f"; Mann-Whitney p {number(gap['mann_whitney_p'])}, paired t p {number(gap['paired_t_p'])}"


def _calibration_table(results: Mapping[str, Any], name: str) -> Table:
    rows = [
        [strategy, *(_mean(summary.get(name, {}).get(key)) for key in CALIBRATION)]
        for strategy, summary in results["summary"].items()
        if name in summary
    ]
    return Table(name, ["strategy", *CALIBRATION.values()], rows)


def _ward_tables(results: Mapping[str, Any]) -> list[Table]:
    """A table a ward: the figures of each strategy among billed codes."""
    tables = []
    for ward in dict.fromkeys(ward for found in results["wards"].values() for ward in found):
        of = {name: found[ward] for name, found in results["wards"].items() if ward in found}
        title = f"{ward}: {count(next(iter(of.values()))['stays'], 'test stay')}, billing"
        rows = [[name, *(_with_interval(own[key]) for key in OF_WARDS)] for name, own in of.items()]
        tables.append(Table(title, ["strategy", *OF_WARDS.values()], rows))
    return tables


def _reading_charts(results: Mapping[str, Any], name: str) -> list[tuple[str, Chart]]:
    """Rank errors and recall of a set of nodes, a line a strategy."""
    of = {strategy: summary[name] for strategy, summary in results["summary"].items() if name in summary}
    errors = {own: [row[key]["mean"] for key in STEP] for own, row in of.items() if all(key in row for key in STEP)}
    high = max((value for row in errors.values() for value in row), default=1.0)
    below = Chart(f"Rank errors, {name}", linear(100), logarithmic(high), "gold codes found, %", "wrong codes read")
    _lines(below, errors, RECALLS, RECALLS)
    found = Chart(f"Recall at K, {name}", linear(CURVE), linear(1), "codes read", "share of gold codes found")
    _lines(found, {own: row["recall_curve"] for own, row in of.items() if row["recall_curve"]}, range(1, CURVE + 1))
    return [(f"Rank errors at recall, {name}", below), (f"Recall at K, {name}", found)]


def _lines(chart: Chart, values: Mapping[str, Sequence[float]], xs: Sequence[int], dots: Sequence[int] = READ) -> None:
    """A line a strategy, with dots at some of its points."""
    trained = [name for name in values if name != DUMMY]
    for name, row in values.items():
        place = trained.index(name) if name in trained else 0
        colour = COLOURS[place % len(COLOURS)] if name in trained else "faint"
        points = list(zip(xs, row, strict=True))
        chart.line(points, colour, name, dashed=name == DUMMY or place >= len(COLOURS))
        for x, value in points:
            if x in dots:
                chart.dot(x, value, colour, f"{name}, {x}: {number(value)}", 2.5)


def _inside(inside: Mapping[str, Any]) -> dict[str, Any]:
    """Calibration, entropy and ranks of the strategy with the best dev NDCG, beside the dummy."""
    looks, dummy = inside["analyses"], inside["dummy"]
    codes = looks["codes"]
    rank = {row["code"]: row["rank_with"] or 0 for row in dummy["codes"]}
    high = max((row["train"] for row in codes), default=1)
    last = max((row[key] or 1.0 for row in codes for key in ("rank_with", "rank_without")), default=1.0)
    told = Chart("Entropy reduction", logarithmic(high), linear(1), "training stays with the code", "share of entropy")
    place = Chart("Ranks", logarithmic(high), logarithmic(last), "training stays with the code", "median rank")
    for row in codes:
        if row["entropy_reduction"] is not None:
            told.dot(row["train"], row["entropy_reduction"], "one", f"{row['code']}: {row['entropy_reduction']:.3f}", 2)
        for key, colour, words in (("rank_without", "faint", "without"), ("rank_with", "one", "with")):
            if row[key] is not None:
                text = f"{row['code']} on stays {words} it: {row[key]:.0f}; dummy {rank.get(row['code'], 0):.0f}"
                place.dot(row["train"], row[key], colour, text, 2)
    gold = f"{len(codes):,} codes ({looks['set']}) with a gold example among the test stays of a fold"
    note = f"{gold}; means over the folds."
    names = ("entropy reduction", "in ten bins (ours)", "by chance in ten bins", "rank with it", "rank without")
    bands = [
        [_band(band["from"], band["below"]), f"{band['codes']:,}", *(number(band[key]) for key in OF_CODES)]
        for band in looks["bands"]
    ]
    calibration = f"Calibration of billing codes in {inside['fold']}, ten bins of equal width"
    entropy = "Share of a code's entropy that the output removes (nearest neighbours), against frequency"
    ranks = "Median rank of a code on stays with it (colour) and without it (grey)"
    return {
        "strategy": inside["strategy"],
        "charts": [
            (calibration, _calibration_chart(looks["reliability_10_equal_width"]), ""),
            (entropy, told, note),
            (ranks, place, note),
        ],
        "bands": Table(
            "The same by frequency: means over codes", ["training stays with the code", "codes", *names], bands
        ),
    }


def _band(low: int, below: int | None) -> str:
    if below is None:
        return f"{low:,} and more"
    return f"{low:,}" if below == low + 1 else f"{low:,} to {below - 1:,}"


def _calibration_chart(bins: Mapping[str, Sequence[float]]) -> Chart:
    chart = Chart("Calibration", linear(1), linear(1), "mean probability in the bin", "share of gold codes")
    chart.line([(0, 0), (1, 1)], "faint", "probabilities that mean what they say", dashed=True)
    for confidence, accuracy, pairs in zip(bins["confidence"], bins["accuracy"], bins["pairs"], strict=True):
        chart.bar(confidence, *wilson(accuracy, int(pairs)), "one")
        chart.dot(confidence, accuracy, "one", f"probability {confidence:.3f}, gold {accuracy:.3f}, {pairs:,} pairs")
    return chart


def _agreement_note(trained: int) -> str:
    if trained < 3:
        return "Fewer than three trained networks: no correlation is shown."
    return (
        f"Spearman's correlation over {trained} networks of a figure on dev stays with the rank errors on test stays, "
        "all levels; -1 would be a perfect choice."
    )


def _agreement_table(results: Mapping[str, Any]) -> Table:
    rows = [[name, *(number(found[str(recall)]) for recall in RECALLS)] for name, found in results["agreement"].items()]
    return Table("", ["dev figure", *(f"RE@{recall}" for recall in RECALLS)], rows)
