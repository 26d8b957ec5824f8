"""README.md and the pages of docs/ print what benchmarks/results holds, each figure rounded once from the stored value.

docs/results.md and its plots are written by scripts/docs/results.py; the rows below are worked out apart from it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
sys.path.insert(0, str(ROOT / "scripts" / "docs"))
import plots
import printed
import results

PAGES = ("README.md", "docs/results.md", "docs/guides/coder.md", "docs/howto/fewer-questions.md")
PAGES += ("docs/guides/engineer.md", "docs/howto/code-a-corpus.md", "concept_icd/coders/README.md")
TEXT = {page: " ".join((ROOT / page).read_text(encoding="utf-8").split()) for page in PAGES}
RESULTS = "docs/results.md"
#: A page, and what stands there.
Printed = Iterator[tuple[str, str]]


@cache
def result(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def f(value: float, digits: int = 3, sign: str = "") -> str:
    return printed.short(printed.figure(value, digits, sign))


def fb(value: float, width: dict[str, float], digits: int = 3, sign: str = "") -> str:
    return printed.short(printed.figure(value, digits, sign) + printed.band(width, digits, sign))


def cmc2007() -> Printed:
    systems, widths = result("cmc2007")["systems"], result("cmc2007")["micro_f1_intervals"]

    def row(name: str) -> str:
        own = [
            f(systems[name][figure]["mean"]) for figure in ("macro_f1", "macro_f1_caml", "exact_match", "rare_micro_f1")
        ]
        return f"| {fb(systems[name]['micro_f1']['mean'], widths[name])} | {' | '.join(own)} |"

    def less(a: str, b: str) -> str:
        found, turned = result("cmc2007")["micro_f1_differences"], f"{b} - {a}"
        own = found.get(f"{a} - {b}")
        own = own or {name: -found[turned][of] for name, of in
                      (("difference", "difference"), ("low", "high"), ("high", "low"))}  # fmt: skip
        return fb(own["difference"], own, sign="+")

    shipped = systems["all_combinations"]
    yield (
        "README.md",
        f"micro-F1 {fb(shipped['micro_f1']['mean'], widths['all_combinations'])} (macro_f1 "
        f"{f(shipped['macro_f1']['mean'])}, macro_f1_caml {f(shipped['macro_f1_caml']['mean'])}; three seeds)",
    )
    assert plots.SYSTEMS.keys() == systems.keys()
    for name, text in plots.SYSTEMS.items():
        yield RESULTS, f"| {text} {row(name)}"
    pairs = [("all_combinations", "concepts"), ("all_combinations", "words"), ("concepts", "words")]
    pairs += [("concepts", "words_aggregated"), ("concepts", "lexical"), ("concepts", "tfidf_svm")]
    for a, b in pairs:
        yield RESULTS, f"| {plots.SYSTEMS[a]} | {plots.SYSTEMS[b]} | {less(a, b)} |"


def evidence() -> Printed:
    found = result("evidence")["evidence"]
    own = {name: fb(row["mean"], row, 2) for name, row in found["clauses"].items()}
    yield RESULTS, f"{found['accepted_codes']} accepted codes on {result('evidence')['reports']} held-out reports"
    yield RESULTS, f"| share of the report | {own['share_of_the_report']} |"
    yield RESULTS, f"loses without it | {own['comprehensiveness']} | {own['comprehensiveness_random']} |"
    yield RESULTS, f"loses on it alone | {own['sufficiency']} | {own['sufficiency_random']} |"
    yield RESULTS, f"still accepted on it alone | {own['still_accepted_alone']} |"


def ablations() -> Printed:
    rows = result("ablations")["variants"]
    yield RESULTS, f"settings have micro-F1 {f(rows['shipped']['micro_f1']['value'])}."
    yield RESULTS, f"| nothing (shipped) | | {f(rows['shipped']['rare_micro_f1'])} |"
    for name, text in plots.ABLATIONS.items():
        own = rows[name]["minus_shipped"]
        yield RESULTS, f"| {text} | {fb(own['value'], own, sign='+')} | {f(rows[name]['rare_micro_f1'])} |"


def levels() -> Printed:
    rows = result("levels")["rows"]
    for size in (50, 100):
        row = rows[f"notes-{size}"]
        less = row["differences"]["levels minus codes"]
        micro, rare = less["micro_f1"], less["rare_micro_f1"]
        nested = row["differences"]["nested minus flat"]["micro_f1"]
        own = ", ".join(f(value, sign="+") for value in micro["of_parts"])
        cells = [str(size), f(row["ways"]["codes"]["micro_f1"]["value"]), fb(micro["difference"], micro, sign="+"), own]
        cells += [fb(rare["difference"], rare, sign="+"), fb(nested["difference"], nested, sign="+")]
        yield RESULTS, f"| {' | '.join(cells)} |"
    unseen = rows["unseen"]["differences"]["levels minus codes"]["macro_auc"]
    yield RESULTS, f"(difference {fb(unseen['difference'], unseen, sign='+')})."


def codiesp() -> Printed:
    for task, content in result("codiesp")["tasks"].items():
        assert content["systems"].keys() <= plots.CODIESP.keys()
        for system, found in content["systems"].items():
            own = found["figures"]
            micro = fb(own["micro_f1"], found["intervals"]["micro_f1"])
            yield RESULTS, f"| {plots.CODIESP[system]} | {micro} | {f(own['macro_f1'])} | {f(own['macro_f1_caml'])} |"
        svm = "TF-IDF + linear SVM" + (", dev cases too" if task != "codiesp9-all" else "")
        own = content["differences"][f"concept pipeline, tiny model minus {svm}"]["micro_f1"]
        yield RESULTS, f"| `{task}` | {plots.CODIESP[svm]} | {fb(own['difference'], own, sign='+')} |"


def reading() -> Printed:
    guide = "docs/guides/coder.md"
    shipped = [row for seed in result("calibration")["reading_stacked"].values() for row in seed["rows"]]
    first, second = (row for row in shipped if row["asked"] == 0.9)
    yield guide, f"The number is {f(first['depth'], 1)} and {f(second['depth'], 1)} on average. It finds"
    yield guide, " and ".join(fb(row["recall"], row["recall_interval"]) for row in (first, second)) + " of the codes"
    yield guide, f"have to be {f(first['fixed_depth'], 1)} and {f(second['fixed_depth'], 1)} for as much"
    for name, before in (
        ("codiesp9-50", "`codiesp9-50` it finds "),
        ("codiesp9-rare50", "than its test cases, it finds "),
    ):
        [row] = [row for row in result("reading")["sets"][name]["ways"]["fitted"] if row["asked"] == 0.9]
        yield guide, before + fb(row["recall"], row["recall_interval"])
        columns = f"{f(row['depth'], 2)} | {fb(row['recall'], row['recall_interval'])} | {f(row['fixed_depth'], 2)} |"
        yield RESULTS, f"| {name}, concept scores | {columns}"
    marked = result("familiarity")["coded_stacked"]
    unlike, like = marked["unfamiliar"], marked["familiar"]
    yield (
        guide,
        f"Those {unlike['notes']} were coded at micro-F1 {fb(unlike['micro_f1'], unlike['interval'], 2)}, the others",
    )
    yield guide, f"the others at {f(like['micro_f1'], 2)};"


def questions() -> Printed:
    accuracy = result("questions")["accuracy"]
    [*_, cost] = result("questions")["cost"]["models"].values()
    names = {"title": "the title", "learned-4": "4 learned tokens", "learned-2": "2 learned tokens"}
    names["learned-1"] = "1 learned token"
    for task in ("cmc2007", "codiesp9-50"):
        styles = accuracy[task]["styles"]
        row = styles["template"]
        figures = " | ".join(fb(row[name]["value"], row[name]) for name in ("micro_f1", "map"))
        yield (
            RESULTS,
            f"| the template | 6 | {f(cost['styles']['template']['seconds_over_note_alone'], 2)} | {figures} |",
        )
        for style, text in names.items():
            less, tokens = styles[style]["minus_template"], f(styles[style]["tokens_a_question"], 0)
            readings = f(cost["styles"][style]["seconds_over_note_alone"], 2)
            cells = [fb(less[name]["value"], less[name], sign="+") for name in ("micro_f1", "map")]
            yield RESULTS, f"| {text} | {tokens} | {readings} | {' | '.join(cells)} |"
    template, learned = (f(cost["styles"][name]["seconds_over_note_alone"], 2) for name in ("template", "learned-2"))
    yield (
        "docs/howto/fewer-questions.md",
        f"{learned} readings of a 1,500-token note (134 M parameters) instead of {template}",
    )


def orders() -> Printed:
    found = result("ordering")

    def spread(own: dict[str, float]) -> str:
        return f(own["mean"]) + (f" ± {f(own['sd'])}" if round(own["sd"], 3) else "")

    assert plots.ORDERS.keys() == found["systems"].keys()
    for system, text in plots.ORDERS.items():
        row = found["systems"][system]
        cells = f"{spread(row['primary_accuracy'])} | {spread(row['graded_ndcg_diagnoses'])} |"
        yield RESULTS, f"| {text} | {cells}"
    own = found["differences"]["ranking head minus probability order"]["primary_accuracy"]
    yield RESULTS, f"The head minus probability: {fb(own['difference'], own, sign='+')} in primary accuracy"
    known = result("ordering_demo_tables")["tasks"]["known codes"]["systems"]
    head, probability = (known[name]["primary_accuracy"] for name in ("head", "probability"))
    first = f"principal diagnosis first in {fb(head['mean'], head)}"
    yield RESULTS, f"{first}, probability in {fb(probability['mean'], probability)}."


def costs() -> Printed:
    evaluation, cost = result("evaluation"), result("questions")["cost"]["models"]
    yield RESULTS, f"{f(evaluation['seconds'], 1)} s against {f(evaluation['sklearn_seconds'], 0)} s |"
    yield RESULTS, f"{evaluation['intervals']} intervals over patients of the same, {evaluation['draws']:,} draws | "
    yield RESULTS, f"| {f(evaluation['intervals_seconds'], 1)} s |"
    learned = [model["styles"] for model in cost.values()][-1]
    ratios = [learned[name]["seconds_over_note_alone"] for name in ("learned-1", "learned-2", "template")]
    yield RESULTS, f"{f(ratios[0], 2)} and {f(ratios[1], 2)} times the time |"
    yield RESULTS, f"| the template's words, the same | {f(ratios[2], 2)} times |"
    attention = result("label_attention")
    yield RESULTS, f"{attention['memory_ratio']} times less memory, {attention['time_ratio']} times the time"
    shipped = result("shipped_coder")
    seconds, times = f(shipped["cold"]["median_seconds"], 1), shipped["cold"]["times"]
    rates = [f(shipped[name]["reports_per_second"], 0) for name in ("batch", "packed")]
    rates += [f(shipped[f"{name}_with_evidence"]["reports_per_second"], 1) for name in ("batch", "packed")]
    peaks = [f(shipped[name]["peak_mib"], 0) for name in ("batch", "packed")]
    yield "docs/howto/code-a-corpus.md", f"takes {seconds} s (median of {times})."
    yield (
        "docs/howto/code-a-corpus.md",
        f"run at {rates[0]} a second and need {peaks[0]} MiB; with evidence they run at {rates[2]} a",
    )
    yield "docs/howto/code-a-corpus.md", f"needs {peaks[1]} MiB, and runs at {rates[1]} and {rates[3]} reports a second"
    yield "docs/guides/engineer.md", f"{peaks[0]} MiB of memory, {rates[0]} short reports a second"
    yield RESULTS, f"| {seconds} s (median of {times}) |"


def descent() -> Printed:
    found = result("descent")
    whole, rows = found["exhaustive"]["test"], {name: row["test"] for name, row in found["rows"].items()}
    named = {
        "everything": whole,
        found["chosen_on_dev"]: rows[found["chosen_on_dev"]],
        "budget 10.0%": rows["budget 10.0%"],
    }
    for name, row in named.items():
        low, high = row["recall_at_50_interval"]
        share, recall = f"{100 * row['share_of_questions']:.0f} %", fb(row["recall_at_50"], {"low": low, "high": high})
        yield RESULTS, f"| {name} | {share} | {recall} |"


def card() -> Printed:
    systems, widths = result("cmc2007")["systems"], result("cmc2007")["micro_f1_intervals"]
    micro = {name: f(system["micro_f1"]["mean"]) for name, system in systems.items()}
    shipped, page = systems["all_combinations"], "concept_icd/coders/README.md"
    yield (
        page,
        f"micro-F1 {fb(shipped['micro_f1']['mean'], widths['all_combinations'])}, macro_f1 "
        f"{f(shipped['macro_f1']['mean'])}, macro_f1_caml {f(shipped['macro_f1_caml']['mean'])} (45 codes, 22 of them "
        f"in at most 6 reports: micro-F1 {f(shipped['rare_micro_f1']['mean'])} on those), exact match "
        f"{f(shipped['exact_match']['mean'])}.",
    )
    yield (
        page,
        f"its concept scores alone have {micro['concepts']}, its words and terms alone {micro['lexical']}, TF-IDF + "
        f"linear SVM {micro['tfidf_svm']}.",
    )
    own = {name: fb(row["mean"], row, 2) for name, row in result("evidence")["evidence"]["clauses"].items()}
    yield (
        page,
        f"code loses {own['comprehensiveness']} of its probability, without a random passage of that length "
        f"{own['comprehensiveness_random']}; on its evidence alone it loses {own['sufficiency']}, and "
        f"{own['still_accepted_alone']} of the codes",
    )


def tracks() -> Printed:
    rows = result("codiesp_tracks")["rows"]
    for name, own in {name: row["test"] for name, row in rows.items()}.items():
        found = {figure: fb(own[figure]["value"], own[figure]) for figure in ("map", "micro_f1")}
        if name.endswith("_es"):
            yield "README.md", f"MAP {found['map']}, micro-F1 {found['micro_f1']}"
        yield RESULTS, f"| {found['map']} | {found['micro_f1']} | {f(own['micro_precision']['value'])} |"


FIGURES = [
    pytest.param(page, text, id=f"{part.__name__}-{number}")
    for part in (
        cmc2007,
        evidence,
        ablations,
        levels,
        codiesp,
        tracks,
        reading,
        descent,
        questions,
        orders,
        costs,
        card,
    )
    for number, (page, text) in enumerate(part())
]


@pytest.mark.parametrize(("page", "text"), FIGURES)
def test_page_prints_the_stored_figure(page: str, text: str) -> None:
    assert text in TEXT[page], text


def test_results_page_and_plots_are_those_of_the_results() -> None:
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == results.page()
    drawn = plots.plots(results.results())
    stored = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "plots").glob("*.svg")}
    assert stored == drawn


def test_every_plot_is_shown_and_holds_its_values() -> None:
    from xml.etree import ElementTree

    for path in (ROOT / "docs" / "plots").glob("*.svg"):
        assert f"](plots/{path.name})" in TEXT[RESULTS], path.name
        tags = [element.tag.rpartition("}")[2] for element in ElementTree.parse(path).iter()]
        assert tags.count("circle") >= 4, path.name
        assert not {"script", "image", "foreignObject"} & set(tags)
    drawing = ElementTree.parse(ROOT / "docs" / "plots" / "cmc2007.svg")
    values = {element.text for element in drawing.iter() if element.tag.endswith("text")}
    assert {f"{row['micro_f1']['mean']:.3f}" for row in result("cmc2007")["systems"].values()} <= values


def test_blind_result_reads_the_same_everywhere() -> None:
    """It belongs to predictions at one commit; no stored result makes it, so that it must at least not drift."""
    for figure in (".910 [.894, .924]", ".908", ".678", ".848", ".875", ".874", ".8908", "977cdbc"):
        assert figure in TEXT["README.md"], figure
        assert figure in TEXT[RESULTS], figure
    for figure in (".910 [.894, .924]", ".678", ".848", ".8908", "977cdbc", "943"):
        assert figure in TEXT["concept_icd/coders/README.md"], figure


def test_a_figure_is_rounded_once() -> None:
    assert (printed.figure(0.86148), printed.figure(0.8615, 3)) == ("0.861", "0.862")  # not .86148 -> .8615 -> .862
    assert (f(0.05499929, 2), f(0.0005), f(10.04, 1), f(-0.0126, 3, "+")) == (".05", ".001", "10.0", "-.013")
    assert fb(0.5, {"low": 0.25, "high": 0.75}, 1) == ".5 [.2, .8]"  # exactly between: to the even one


def outside(found: Any, path: str) -> Iterator[str]:
    """Figures that lie outside of the interval that stands beside them."""
    if isinstance(found, list):
        for place, item in enumerate(found):
            yield from outside(item, f"{path}/{place}")
    if not isinstance(found, dict):
        return
    pairs = [(found.get(name), found) for name in ("value", "mean", "difference")]
    if isinstance(found.get("intervals"), dict) and isinstance(found.get("figures"), dict):
        pairs += [(found["figures"].get(name), width) for name, width in found["intervals"].items()]
    for value, width in pairs:
        low, high = width.get("low"), width.get("high")
        if isinstance(value, float) and low is not None and not low - 1e-9 <= value <= high + 1e-9:
            yield f"{path}: {value} in [{low}, {high}]"
    for name, item in found.items():
        yield from outside(item, f"{path}/{name}")


def test_every_stored_figure_lies_in_its_interval() -> None:
    paths = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    assert [line for path in paths for line in outside(result(path.stem), path.stem)] == []
    assert list(outside({"a": {"value": 0.5, "low": 0.6, "high": 0.7}}, "x")) == ["x/a: 0.5 in [0.6, 0.7]"]


def test_intervals_hold_as_often_as_they_say() -> None:
    """The committed simulation: 95 % within what 400 samples can tell, and every figure inside."""
    found = result("interval_coverage")
    assert (found["samples"], found["commit"][-1] != "+") == (400, True)
    coverages = []
    for kind in found["kinds"].values():
        for figure, row in kind["ways"]["jackknife"].items():
            assert row["holds_the_figure"] == 1
            if not figure.startswith("exact_match"):  # 0 in most of the samples with 2,000 codes, and then 0 alone
                assert row["coverage"] > 0.95 - 3 * (0.95 * 0.05 / 400) ** 0.5, figure
                coverages.append(row["coverage"])
    assert 0.93 < sum(coverages) / len(coverages) < 0.97


def test_results_page_is_that_of_the_results() -> None:
    import summary

    assert (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8") == summary.page()
