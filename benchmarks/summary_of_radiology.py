"""The sections of the results' page on the radiology reports of CMC 2007: eleven systems, and what each part brings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from printed import band, figure

FIGURES = {
    "micro_f1": "micro-F1",
    "macro_f1": "macro_f1",
    "macro_f1_caml": "macro_f1_caml",
    "exact_match": "exact match",
    "micro_auc": "micro-AUC",
    "map": "MAP",
    "rare_micro_f1": "micro-F1, rare",
    "rare_macro_f1": "macro_f1, rare",
    "rare_macro_f1_caml": "macro_f1_caml, rare",
}
SYSTEMS = {
    "tfidf_svm": "TF-IDF + linear SVM",
    "words": "boosted trees on tagged words",
    "terms": "the classification's terms",
    "concepts": "concept scores alone",
    "concepts_averaged": "concept scores alone, mean over the fold's adapters",
    "words_aggregated": "words alone, through the aggregator",
    "lexical": "words + terms, through the aggregator",
    "concepts_words": "concept scores + words",
    "concepts_terms": "concept scores + terms",
    "concepts_words_terms": "concept scores + words + terms",
    "all_combinations": "the same + code combinations (shipped)",
}
LEVELS = ("chapter", "section", "category", "subcategory", "code")


def cmc2007(result: dict[str, Any]) -> list[str]:
    compared = [
        ("concepts", "tfidf_svm"),
        ("concepts", "words"),
        ("concepts", "words_aggregated"),
        ("concepts", "lexical"),
        ("concepts_averaged", "concepts"),
        ("concepts_words", "words"),
        ("concepts_words", "concepts"),
        ("concepts_terms", "concepts"),
        ("concepts_words_terms", "concepts_words"),
        ("concepts_words_terms", "concepts_terms"),
        ("concepts_words_terms", "concepts"),
        ("concepts_words_terms", "lexical"),
        ("concepts_words_terms", "words"),
        ("all_combinations", "concepts_words_terms"),
    ]
    return [
        "## CMC 2007: real radiology reports",
        "",
        f"{result['notes']} reports, {result['codes']} codes, {result['gold_labels']} labels; {result['folds']}-fold "
        f"cross-validation, seeds {', '.join(map(str, result['seeds']))}: mean and standard deviation over seeds. "
        "Everything (adapters, out-of-fold scores, trees, heads, thresholds; for the SVM its regularisation) is "
        f"fitted inside the training folds. Rare: at most 6 reports ({result['rare_codes']} codes). The base model was "
        "pre-trained on these reports' text, among other text, and on questions that the classification's index raises "
        "about it; it never saw their codes. The settings were chosen among those of the next section, by "
        "cross-validation on the same 978 reports, so that the concept rows are a little too good by that choice; so "
        "is the shipped row, which was chosen among these.",
        "",
        f"| | {' | '.join(FIGURES.values())} |",
        f"|---|{'---|' * len(FIGURES)}",
        *(
            f"| {text} | "
            + " | ".join(_spread(result["systems"][name][figure]) for figure in FIGURES)
            + " |"
            for name, text in SYSTEMS.items()
        ),
        "",
        f"95 % over reports, mean over seeds: concept scores alone {_interval(result, 'concepts')}, with all "
        f"views and combinations {_interval(result, 'all_combinations')}, words alone {_interval(result, 'words')}, "
        f"words and terms {_interval(result, 'lexical')}.",
        "",
        "| micro-F1, same reports | difference, 95 % over reports, mean over seeds |",
        "|---|---|",
        *(
            f"| {SYSTEMS[a]} - {SYSTEMS[b]} | {_signed(_difference(result['micro_f1_differences'], a, b))} |"
            for a, b in compared
        ),
        "",
        "Published on the challenge's 976 test reports, for orientation alone (other reports): best of 44 submissions "
        ".8908, best statistical system without hand-written rules .8669; three coding companies agree with their "
        "majority at .837, .885 and .820 on the training reports.",
        "",
        "Concept scores by level, before any head (mean over folds and seeds, held-out reports):",
        "",
        "| level | concepts | micro-AUC | macro-AUC | micro average precision |",
        "|---|---|---|---|---|",
        *(
            f"| {level} | {row['concepts']:.0f} | {row['micro_auc']:.3f} | {row['macro_auc']:.3f} | "
            f"{row['micro_average_precision']:.3f} |"
            for level, row in ((name, result["levels_mean_over_folds"][name]) for name in LEVELS)
        ),
        "",
    ]  # fmt: skip


def ablations(result: dict[str, Any]) -> list[str]:
    return [
        "## CMC 2007: what each part of the concept scorer brings",
        "",
        f"Concept scores alone, {result['notes']} reports, each decided by an adapter (of three, tuned on two thirds "
        f"of the reports) and heads that did not see it; means over {result['splits']} splits of the heads. 95 % over "
        "reports; one training a variant, so that differences of the size of `another-seed` are the luck of a "
        "training. Rare: at most 6 reports.",
        "",
        "| variant | concepts | micro-F1 | minus shipped | log loss a pair | exact match | micro-F1, rare | "
        "macro_f1_caml, rare | tuning, processor s |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {row['concepts']} | {row['micro_f1']['value']:.4f} | "
            f"{'' if name == 'shipped' else _signed(row['minus_shipped'])} | {row['log_loss']:.5f} | "
            f"{row['exact_match']:.3f} | {row['rare_micro_f1']:.3f} | {row['rare_macro_f1_caml']:.3f} | "
            f"{row['tuning_cpu_seconds']:.0f} |"
            for name, row in result["variants"].items()
        ),
        "",
    ]


def _interval(result: dict[str, Any], name: str) -> str:
    row = result["micro_f1_intervals"][name]
    return f"{row['difference']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"


def _spread(figure: dict[str, Any]) -> str:
    return f"{figure['mean']:.4f}" + ("" if figure["sd"] is None else f" ± {figure['sd']:.4f}")


def _difference(found: dict[str, Any], a: str, b: str) -> dict[str, float]:
    """a - b, whichever way round it was written down."""
    if f"{a} - {b}" in found:
        row = found[f"{a} - {b}"]
        return {"value": row["difference"], "low": row["low"], "high": row["high"]}
    row = found[f"{b} - {a}"]
    return {"value": -row["difference"], "low": -row["high"], "high": -row["low"]}


def _signed(row: dict[str, float]) -> str:
    return f"{row['value']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"


def evidence(result: dict[str, Any]) -> list[str]:
    ways, against = result["evidence"], result["against"]
    figures = {
        "share_of_the_report": "share of the report",
        "comprehensiveness": "probability lost without it",
        "comprehensiveness_random": "the same, a random passage of that length",
        "comprehensiveness_minus_random": "difference",
        "sufficiency": "probability lost with it alone",
        "sufficiency_random": "the same, a random passage",
        "sufficiency_minus_random": "difference",
        "still_accepted_without": "still accepted without it",
        "still_accepted_alone": "still accepted on it alone",
    }
    rise = against["rise_when_left_out"]["probability"]
    return [
        "## CMC 2007: is the evidence what carries a code?",
        "",
        f"Held-out reports of {', '.join(result['folds'])} ({result['reports']}), "
        f"{ways['accepted_codes']} accepted codes; comprehensiveness and sufficiency after ERASER (DeYoung et al., "
        f"2020), against {result['random_spans']} random passages a code; 95 % over reports. Evidence is found by "
        "leaving out, so that it changes the answer is no surprise: the random passages are the comparison.",
        "",
        "| | clauses (what is shown) | whole sentences |",
        "|---|---|---|",
        *(
            f"| {text} | {_mean(ways['clauses'][name])} | {_mean(ways['sentences'][name])} |"
            for name, text in figures.items()
            if name in ways["clauses"]
        ),
        "",
        f"What speaks against a code: {against['codes_with_a_passage_against']} of {against['codes_looked_at']} codes "
        f"looked at have such a passage; without it their probability rises by {_mean(rise)}.",
        "",
    ]


def calibration(result: dict[str, Any]) -> list[str]:
    lines = [
        "## CMC 2007: do the probabilities mean what they say?",
        "",
        "Concept scores alone, fitted on out-of-fold log-odds of a fold's training reports, measured on its held-out "
        "ones; the picture is `results/calibration.svg`. Calibration errors are biased upwards, and have no interval.",
        "",
        "| seed | reports | way | Brier score | log loss | calibration error | the same, pairs over 1 % |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in result["ways"].items():
        for way, row in found["ways"].items():
            cells = [figure(own["value"], 5) + band(own, 5) for own in row["figures"].values()]
            lines.append(f"| {name} | {found['reports']} | {way} | " + " | ".join(cells[:4]) + " |")
    lines += ["", "How far to read for a recall of 90 %, on held-out reports; 95 % over reports:", ""]
    lines += [
        "| scores, seed | reports with codes | suggestions read | recall | the same number for all |",
        "|---|---|---|---|---|",
    ]
    for views, by_seed in (("concepts", result["reading"]), ("all views", result["reading_stacked"])):
        for name, found in by_seed.items():
            [row] = [row for row in found["rows"] if row["asked"] == 0.9]
            recall = _mean({"mean": row["recall"], **row["recall_interval"]})
            lines.append(
                f"| {views}, {name} | {row['notes']} | {row['depth']:.2f} | {recall} | {row['fixed_depth']:.2f} |"
            )
    return [*lines, ""]


def familiarity(result: dict[str, Any]) -> list[str]:
    coded = {f"{name.replace('_', ' ')} reports": found for name, found in result["coded"].items()}
    coded["held out reports, all views"] = result["coded_stacked"]
    rows = []
    for reports, found in coded.items():
        for kind in ("unfamiliar", "familiar"):
            row = found[kind]
            low, high = row["interval"]["low"], row["interval"]["high"]
            rows.append(f"| {reports}, {kind} | {row['notes']} | {row['micro_f1']:.3f} "
                        f"[{low:.3f}, {high:.3f}] |")  # fmt: skip
    return [
        "## CMC 2007: notes unlike the training reports",
        "",
        f"Folds {', '.join(result['folds'])}; a note is unfamiliar beyond the {1 - result['unfamiliar']:.0%} of the "
        "training reports nearest to their mean. Reports that look unlike are coded worse:",
        "",
        "| | reports | micro-F1 |",
        "|---|---|---|",
        *rows,
        "",
        "What the folds' coders of all views mark: " + ", ".join(_marked(result)) + ".",
        "",
    ]


def _marked(result: dict[str, Any]) -> Iterator[str]:
    """Shares of the notes from elsewhere, mean over folds."""
    folds = [fold["stacked"] for fold in result["folds"].values()]
    for kind in folds[0]:
        if kind != "held_out":
            share = np.mean([fold[kind]["flagged"] for fold in folds])
            yield f"{share:.0%} of {folds[0][kind]['notes']} {kind.removesuffix(', report')}"


def shipped_coder(result: dict[str, Any]) -> list[str]:
    batch, found = result["batch"], result["batch_with_evidence"]
    packed, slower = result["packed"], result["packed_with_evidence"]
    return [
        "## The coder in the package: start, pace, memory",
        "",
        f"From `concept-icd code REPORT` to its end: {result['cold']['median_seconds']:.1f} s (median of "
        f"{result['cold']['times']}). {batch['reports']} reports in a batch: **{batch['reports_per_second']:.0f} a "
        f"second** ({batch['processor_ms_a_report']:.0f} processor ms each), peak {batch['peak_mib']:.0f} MiB; with "
        f"evidence {found['reports_per_second']:.1f} a second, {found['peak_mib']:.0f} MiB. With `--scorer packed`, "
        f"{packed['reports']} reports: {packed['reports_per_second']:.0f} and {slower['reports_per_second']:.1f} a "
        f"second, {packed['peak_mib']:.0f} MiB.",
        "",
    ]


def _mean(own: dict[str, float]) -> str:
    return figure(own["mean"]) + band(own)
