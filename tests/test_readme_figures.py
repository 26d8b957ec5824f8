"""README.md prints what benchmarks/results holds: each figure below is rounded once from the stored value."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import printed

README = (ROOT / "README.md").read_text(encoding="utf-8")


@cache
def result(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def f(value: float, digits: int = 3, sign: str = "") -> str:
    return printed.short(printed.figure(value, digits, sign))


def fb(value: float, width: dict[str, float], digits: int = 3, sign: str = "") -> str:
    return printed.short(printed.figure(value, digits, sign) + printed.band(width, digits, sign))


def cmc2007() -> Iterator[str]:
    systems, widths = result("cmc2007")["systems"], result("cmc2007")["micro_f1_intervals"]

    def row(name: str) -> str:
        return fb(systems[name]["micro_f1"]["mean"], widths[name])

    def both(name: str) -> str:
        return f"({f(systems[name]['macro_f1']['mean'])}, {f(systems[name]['macro_f1_caml']['mean'])})"

    def less(a: str, b: str) -> str:
        found, turned = result("cmc2007")["micro_f1_differences"], f"{b} - {a}"
        own = found.get(f"{a} - {b}")
        own = own or {name: -found[turned][of] for name, of in
                      (("difference", "difference"), ("low", "high"), ("high", "low"))}  # fmt: skip
        return fb(own["difference"], own, sign="+")

    shipped = systems["all_combinations"]
    yield f"micro-F1 {f(shipped['micro_f1']['mean'])} in cross-validation on 978"
    yield (
        f"{row('all_combinations')} (macro_f1 {f(shipped['macro_f1']['mean'])}, macro_f1_caml "
        f"{f(shipped['macro_f1_caml']['mean'])}); exact match {f(shipped['exact_match']['mean'])}; on the 22 codes of "
        f"at most 6 reports {f(shipped['rare_micro_f1']['mean'])} |"
    )
    names = ("concepts_words_terms", "concepts_words", "concepts_terms")
    yield "; ".join(f"{row(name)} {both(name)}" for name in names)
    rare = {name: f(system["rare_micro_f1"]["mean"]) for name, system in systems.items()}
    yield (
        f"{row('concepts')} {both('concepts')}; rare codes {rare['concepts']}; averaged over four adapters "
        f"{row('concepts_averaged')}; the shipped coder minus these {less('all_combinations', 'concepts')} |"
    )
    yield (
        f"{row('words')} {both('words')}; rare codes {rare['words']}; concept scores minus these "
        f"{less('concepts', 'words')}, the shipped coder minus these {less('all_combinations', 'words')} |"
    )
    yield (
        f"{row('words_aggregated')} {both('words_aggregated')}; {row('lexical')} {both('lexical')}, rare codes "
        f"{rare['lexical']}; concept scores minus these {less('concepts', 'words_aggregated')}; "
        f"{less('concepts', 'lexical')} |"
    )
    yield f"{row('terms')} {both('terms')}; rare codes {rare['terms']} |"
    yield (
        f"{row('tfidf_svm')} {both('tfidf_svm')}; rare codes {rare['tfidf_svm']}; concept scores minus SVM "
        f"{less('concepts', 'tfidf_svm')} |"
    )


def evidence() -> Iterator[str]:
    found = result("evidence")["evidence"]
    own = {name: fb(row["mean"], row, 2) for name, row in found["clauses"].items()}
    yield f"evidence of {found['accepted_codes']} accepted codes on {result('evidence')['reports']} held-out reports"
    yield (
        f"{own['share_of_the_report']} of a report | without it a code loses {own['comprehensiveness']} of its "
        f"probability, without a random passage of that length {own['comprehensiveness_random']}; on it alone "
        f"{own['sufficiency']}, and {own['still_accepted_alone']} are still accepted |"
    )


def ablations() -> Iterator[str]:
    rows = result("ablations")["variants"]

    def less(name: str) -> str:
        own = rows[name]["minus_shipped"]
        return fb(own["value"], own, sign="+")

    def rare(name: str) -> str:
        return f(rows[name]["rare_micro_f1"])

    yield f"the shipped settings' {f(rows['shipped']['micro_f1']['value'])} (adapters"
    yield f"a second training of the same {less('another-seed')} |"
    yield f"{less('no-pre-training')}; {less('no-questions')}; {less('longer-pre-training')} |"
    yield f"{less('smaller-model')}; {less('larger-model')} |"
    yield (
        f"{less('codes-alone')} (rare codes {rare('codes-alone')}, with the levels {rare('shipped')}); "
        f"{less('with-phrases')} |"
    )
    yield f"{less('no-companies')} (rare codes {rare('no-companies')} instead of {rare('shipped')});"
    yield f"instead of {rare('shipped')}); {less('full-rank')} |"
    yield f"{less('paraphrase')}; {less('agreed-first')} |"


def codiesp() -> Iterator[str]:
    tasks = result("codiesp")["tasks"]

    def cell(task: str, system: str, strong: str = "") -> str:
        found = tasks[task]["systems"].get(system)
        if found is None:
            return ""
        own = found["figures"]
        width = printed.short(printed.band(found["intervals"]["micro_f1"]))
        return f"{strong}{f(own['micro_f1'])}{strong}{width} ({f(own['macro_f1'])}, {f(own['macro_f1_caml'])})"

    names = {
        "concept pipeline, tiny model": "concept pipeline",
        "TF-IDF + linear SVM": "TF-IDF + linear SVM, train notes",
        "TF-IDF + linear SVM, dev cases too": "the same, train and dev notes",
        "label attention (PLM-ICD's head, small encoder from scratch)": "label attention, 30 epochs from scratch",
    }
    for system, text in names.items():
        cells = [cell(task, system, "**" * (text == "concept pipeline")) for task in tasks]
        yield f"| {text} | {' | '.join(cells)} |".replace("|  |", "| |")


def reading() -> Iterator[str]:
    shipped = [row for seed in result("calibration")["reading_stacked"].values() for row in seed["rows"]]
    first, second = (row for row in shipped if row["asked"] == 0.9)
    yield f"that is {f(first['depth'], 1)} and {f(second['depth'], 1)} on average and finds"
    yield " and ".join(fb(row["recall"], row["recall_interval"]) for row in (first, second)) + " of the codes"
    yield f"have to be {f(first['fixed_depth'], 1)} and {f(second['fixed_depth'], 1)} for as much"
    for name, before in (("codiesp9-50", "`codiesp9-50` it finds "), ("codiesp9-rare50", "than its test cases, ")):
        [row] = [row for row in result("reading")["sets"][name]["ways"]["fitted"] if row["asked"] == 0.9]
        yield before + fb(row["recall"], row["recall_interval"])
    marked = result("familiarity")["coded_stacked"]
    unlike, like = marked["unfamiliar"], marked["familiar"]
    yield f"those {unlike['notes']} were coded at micro-F1 {fb(unlike['micro_f1'], unlike['interval'], 2)}, the others"
    yield f"the others at {f(like['micro_f1'], 2)};"


def questions() -> Iterator[str]:
    accuracy = result("questions")["accuracy"]
    names = {"title": "the title", "learned-4": "4 learned", "learned-2": "**2 learned**", "learned-1": "1 learned"}
    template = [accuracy[task]["styles"]["template"] for task in ("cmc2007", "codiesp9-50")]
    yield " | ".join(f"{f(row['micro_f1']['value'])}, {f(row['map']['value'])}" for row in template) + " |"
    for style, text in names.items():
        less = [accuracy[task]["styles"][style]["minus_template"] for task in ("cmc2007", "codiesp9-50")]
        cells = [", ".join(fb(row[name]["value"], row[name], sign="+") for name in ("micro_f1", "map")) for row in less]
        yield " | ".join(cells) + " |"
        assert f"| {text} |" in README


def orders() -> Iterator[str]:
    found = result("ordering")
    linear = "TF-IDF + logistic regression on the principal"
    names = {
        "frequency order": "by training frequency",
        "probability order": "by probability",
        "LTR-ICD (tiny)": "LTR-ICD, tiny, from scratch",
        linear: f"{linear} diagnosis alone",
    }

    def spread(own: dict[str, float]) -> str:
        return f(own["mean"]) + (f" ± {f(own['sd'])}" if round(own["sd"], 3) else "")

    for system, text in names.items():
        row = found["systems"][system]
        yield f"| {text} | {spread(row['primary_accuracy'])} | {spread(row['graded_ndcg_diagnoses'])} |"
    head = found["systems"]["ranking head"]
    yield f"| ranking head | **{spread(head['primary_accuracy'])}** | **{spread(head['graded_ndcg_diagnoses'])}** |"
    own = found["differences"]["ranking head minus probability order"]["primary_accuracy"]
    yield f"The head minus probability: {fb(own['difference'], own, sign='+')} in primary accuracy"
    known = result("ordering_demo_tables")["tasks"]["known codes"]["systems"]
    head, probability = (known[name]["primary_accuracy"] for name in ("head", "probability"))
    first = f"principal diagnosis first in {fb(head['mean'], head)}"
    yield f"{first}, probability in {fb(probability['mean'], probability)};"


def costs() -> Iterator[str]:
    evaluation, cost = result("evaluation"), result("questions")["cost"]["models"]
    yield f"{f(evaluation['seconds'], 1)} s against {f(evaluation['sklearn_seconds'], 0)} s |"
    yield f"{evaluation['intervals']} intervals over patients of the same, {evaluation['draws']:,} draws | "
    yield f"| {f(evaluation['intervals_seconds'], 1)} s |"
    learned = [model["styles"] for model in cost.values()][-1]
    ratios = [learned[name]["seconds_over_note_alone"] for name in ("learned-1", "learned-2", "template")]
    yield f"{f(ratios[0], 2)} and {f(ratios[1], 2)} times the time (the template's words: {f(ratios[2], 2)})"
    attention = result("label_attention")
    yield f"{attention['memory_ratio']} times less memory, {attention['time_ratio']} times the time"


def card() -> Iterator[str]:
    systems, widths = result("cmc2007")["systems"], result("cmc2007")["micro_f1_intervals"]
    micro = {name: f(system["micro_f1"]["mean"]) for name, system in systems.items()}
    shipped = systems["all_combinations"]
    yield (
        f"micro-F1 {fb(shipped['micro_f1']['mean'], widths['all_combinations'])}, macro_f1 "
        f"{f(shipped['macro_f1']['mean'])}, macro_f1_caml {f(shipped['macro_f1_caml']['mean'])} (45 codes, 22 of them "
        f"in at most 6 reports: micro-F1 {f(shipped['rare_micro_f1']['mean'])} on those), exact match "
        f"{f(shipped['exact_match']['mean'])}."
    )
    yield (
        f"its concept scores alone have {micro['concepts']}, its words and terms alone {micro['lexical']}, TF-IDF + "
        f"linear SVM {micro['tfidf_svm']}."
    )
    own = {name: fb(row["mean"], row, 2) for name, row in result("evidence")["evidence"]["clauses"].items()}
    yield (
        f"code loses {own['comprehensiveness']} of its probability, without a random passage of that length "
        f"{own['comprehensiveness_random']}; on its evidence alone it loses {own['sufficiency']}, and "
        f"{own['still_accepted_alone']} of the codes"
    )


FIGURES = [
    pytest.param(text, id=f"{part.__name__}-{number}")
    for part in (cmc2007, evidence, ablations, codiesp, reading, questions, orders, costs)
    for number, text in enumerate(part())
]


@pytest.mark.parametrize("text", FIGURES)
def test_readme_prints_the_stored_figure(text: str) -> None:
    assert text in " ".join(README.split()), text


@pytest.mark.parametrize("text", list(card()))
def test_the_coders_card_prints_the_stored_figure(text: str) -> None:
    assert text in " ".join((ROOT / "concept_icd" / "coders" / "README.md").read_text(encoding="utf-8").split()), text


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
