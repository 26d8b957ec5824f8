"""Writes benchmarks/README.md from benchmarks/results/*.json, so that no figure is copied by hand.

python benchmarks/summary.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from summary_of_codiesp import codiesp
from summary_of_descent import descent
from summary_of_desk import desk, desk_kill
from summary_of_intervals import interval_coverage
from summary_of_medications import medication_metrics, medication_network, medication_quality, medication_tables
from summary_of_questions import questions
from summary_of_radiology import ablations, calibration, cmc2007, evidence, familiarity, shipped_coder
from summary_of_reading import reading
from summary_of_scale import gpu, growth, ray_overhead, vllm_scoring

HERE = Path(__file__).resolve().parent


def packed_scoring(result: dict[str, Any]) -> list[str]:
    peak = result["peak_bytes_above_weights"]
    return [
        "## Packed scoring against one prompt per question",
        "",
        f"Random Llama, {result['parameters'] / 1e6:.0f} M parameters (12 layers x 768), float32; medians over "
        f"{result['rounds']} rounds in which all ways take turns.",
        "",
        "| | tokens a question | token count allows | faster than one prompt a question | share of what tokens allow | "
        "time / plain forward over as many tokens | largest score gap |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {case['note_tokens']}-token note, {case['questions']} questions: {name} | "
            f"{case['question_tokens_mean']} | {case['token_ratio']}x | **{case['speed_up']}x** | "
            f"{case['share_of_token_ratio']:.0%} | {case['packed_over_plain_forward']} | "
            f"{case['largest_score_gap']:.0e} |"
            for name, case in result["cases"].items()
        ),
        "",
        f"Peak memory above the weights: packed {peak['packed'] / 2**20:.0f} MiB, one prompt at a time "
        f"{peak['plain'] / 2**20:.0f} MiB.",
        "",
    ]


def packed_training(result: dict[str, Any]) -> list[str]:
    pairs, peak = result["pairs_per_second"], result["peak_bytes_above_weights"]
    return [
        "## Packed tuning against one prompt per question",
        "",
        f"LoRA (rank 16, q and v) on the same model; a {result['note_tokens']}-token note and {result['questions']} "
        f"questions ({result['question_tokens']} tokens), forward and backward.",
        "",
        "| | (note, concept) pairs a second | peak memory above the weights |",
        "|---|---|---|",
        f"| packed | {pairs['packed']} | {peak['packed'] / 2**30:.1f} GiB |",
        f"| one prompt a question, gradients accumulated | {pairs['plain']} | {peak['plain'] / 2**30:.1f} GiB |",
        "",
        f"**{result['speed_up']}x** (token count allows {result['token_ratio']}x); losses differ by "
        f"{result['largest_loss_gap']:.0e} at most.",
        "",
    ]


def heads(result: dict[str, Any]) -> list[str]:
    seconds, peak = result["seconds"], result["peak_bytes_above_scores_and_gold"]
    return [
        "## The heads at the size of MIMIC-III-full",
        "",
        f"{result['notes']:,} training notes, {result['concepts']:,} concepts, {result['codes']:,} codes, "
        f"{result['test_notes']:,} test notes; random scores with structure. Fitting chooses the strength by "
        "cross-validation, calibrates and chooses the threshold. Memory is the peak above scores and gold codes.",
        "",
        "| | seconds | peak memory |",
        "|---|---|---|",
        f"| fit | {seconds['fit']:.0f} | {peak['fit'] / 2**30:.1f} GiB |",
        f"| load, predict and rank the test notes | {seconds['load'] + seconds['predict'] + seconds['rank']:.1f} | "
        f"{peak['load, predict and rank'] / 2**30:.1f} GiB |",
        "",
        f"The saved heads are {result['bytes_of_the_saved_heads'] / 2**20:.1f} MiB ({result['weights']:,} weights).",
        "",
    ]


def evaluation(result: dict[str, Any]) -> list[str]:
    return [
        "## Metrics at MIMIC-III-full's size",
        "",
        f"{result['notes']:,} generated notes x {result['codes']:,} codes, {result['labels_per_note']} gold codes a "
        "note; one run; every figure that scikit-learn has is the same in both.",
        "",
        "| figures | seconds | scikit-learn, its part of them | largest gap |",
        "|---|---|---|---|",
        *(
            f"| {name} | {group['seconds']:.2f} ({group['figures']} figures) | {group['sklearn_seconds']:.2f} "
            f"({group['sklearn_figures']}) | {group['largest_gap']:.0e} |"
            for name, group in result["groups"].items()
        ),
        f"| all | **{result['seconds']}** | {result['sklearn_seconds']} ({result['speed_up']}x) | |",
        "",
        f"{result['intervals']} intervals over patients from {result['draws']:,} draws (AUCs included): "
        f"{result['intervals_seconds']} s. All that `concept-icd evaluate` measures, curves and intervals included: "
        f"{result['evaluate_seconds']} s, {result['peak_bytes_above_matrices'] / 2**30:.1f} GiB above the "
        f"{result['matrix_bytes'] / 2**30:.1f} GiB of the matrices.",
        "",
    ]


def prepare_mimic3(result: dict[str, Any]) -> list[str]:
    rows = next(iter(result["tasks"].values()))["note_rows"]
    return [
        "## Preparing MIMIC-III at full size",
        "",
        f"Invented tables: {rows:,} rows of NOTEEVENTS, {result['noteevents_bytes'] / 1e9:.1f} GB of CSV; "
        f"`--memory {result['memory_option']}`. Peak resident memory of the whole command.",
        "",
        "| task | stays | labels | minutes | peak memory | minutes of a second run, which finds all complete |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {task['stays']:,} | {task['labels']:,} | {task['minutes']:.1f} | **{task['peak_gib']} GiB** | "
            f"{task['minutes_of_a_second_run']:.1f} |"
            for name, task in result["tasks"].items()
        ),
        "",
    ]


def ordering(result: dict[str, Any]) -> list[str]:
    figures = {
        "primary_accuracy": "primary accuracy",
        "primary_mrr": "MRR",
        "graded_ndcg_diagnoses": "graded NDCG, diagnoses",
        "graded_ndcg_procedures": "graded NDCG, procedures",
        "kendall_tau_diagnoses": "Kendall's tau, diagnoses",
        "micro_f1": "micro-F1 of the accepted codes",
    }

    def cell(figure: dict[str, Any]) -> str:
        return f"{figure['mean']:.3f}" + (f" ± {figure['sd']:.3f}" if figure["sd"] is not None else "")

    def change(figure: dict[str, float]) -> str:
        return f"{figure['difference']:+.3f} [{figure['low']:+.3f}, {figure['high']:+.3f}]"

    lines = [
        "## Codes in billing order: invented stays",
        "",
        f"{result['notes']} invented stays a seed, seeds {', '.join(map(str, result['seeds']))}, tested on "
        f"{', '.join(map(str, result['primary_notes']))} stays whose principal diagnosis is in the set; mean ± sd over "
        "seeds. Frequency, probability and head order the codes of one coder; LTR-ICD (tiny, from scratch) accepts "
        "its own; the linear model knows the chance of being the principal diagnosis alone. The stays follow written "
        "rules: they themselves would put the principal diagnosis first in 89 %.",
        "",
        f"| order | {' | '.join(figures.values())} |",
        "|---|" + "---|" * len(figures),
    ]
    for name, row in result["systems"].items():
        lines.append(f"| {name} | {' | '.join(cell(row[figure]) for figure in figures)} |")
    lines += ["", "| paired differences (95 %, over patients) | primary accuracy | graded NDCG | Kendall's tau |"]
    lines.append("|---|---|---|---|")
    for name, row in result["differences"].items():
        lines.append(f"| {name} | {' | '.join(change(figure) for figure in row.values())} |")
    return [*lines, ""]


def ordering_demo_tables(result: dict[str, Any]) -> list[str]:
    names = {
        "random": "any order",
        "frequency": "training frequency",
        "probability": "probability",
        "head": "ranking head",
        "head_with_tree": "ranking head with the tree",
    }
    figures = {
        "primary_accuracy": "primary accuracy",
        "primary_mrr": "MRR of the principal diagnosis",
        "graded_ndcg_diagnoses": "graded NDCG, diagnoses",
        "graded_ndcg_procedures": "graded NDCG, procedures",
        "kendall_tau_diagnoses": "Kendall's tau, diagnoses",
    }

    def cell(figure: dict[str, float], what: str, sign: str = "") -> str:
        return f"{figure[what]:{sign}.3f} [{figure['low']:{sign}.3f}, {figure['high']:{sign}.3f}]"

    lines = [
        "## Real billing orders: the MIMIC-III demo, without text",
        "",
        f"{result['stays']} stays of {result['patients']} patients, {result['codes']} codes, "
        f"{result['diagnoses_a_stay']} diagnoses and {result['procedures_a_stay']} procedures a stay in the order of "
        f"SEQ_NUM; {result['folds']} folds that leave patients out, seeds {', '.join(map(str, result['seeds']))}. "
        f"Mean over seeds and 95 % intervals over patients ({result['draws']} draws). Probabilities come from drugs, "
        "age and sex; see the script. So few stays give wide intervals, and most codes occur in one stay only.",
        "",
    ]
    about = {
        "known codes": "A stay's true codes are given, only their order is asked for:",
        "predicted codes": "All codes are ranked; the head orders those that the threshold accepts:",
    }
    for task, found in result["tasks"].items():
        lines += [about[task], "", f"| order by | {' | '.join(figures.values())} |", "|---|" + "---|" * len(figures)]
        lines += [
            f"| {names[name]} | {' | '.join(cell(row[f], 'mean') for f in figures)} |"
            for name, row in found["systems"].items()
        ]
        lines += [
            f"| {names[name]}, minus probability | "
            f"{' | '.join(cell(found['minus_probability'][name][f], 'difference', '+') for f in figures)} |"
            for name in ("head", "head_with_tree")
        ]
        lines.append("")
    return lines


def label_attention(result: dict[str, Any]) -> list[str]:
    peak, seconds = result["peak_bytes_above_weights_and_gradients"], result["seconds"]
    return [
        "## Label attention of LTR-ICD at MIMIC-III-full's size",
        "",
        f"One note of {result['tokens']:,} tokens, {result['labels']:,} labels, width {result['width']}, kernel "
        f"{result['kernel']}, {result['channels']} channels; forward and backward. Tokens x labels are "
        f"{result['tokens_times_labels_bytes'] / 2**20:.0f} MiB. Memory is the peak above inputs, weights and their "
        "gradients.",
        "",
        "| | peak memory | seconds a step |",
        "|---|---|---|",
        f"| plain, tokens x labels stored | {peak['plain'] / 2**20:.0f} MiB | {seconds['plain']} |",
        f"| in blocks of labels, computed again for the gradients | {peak['blocks'] / 2**20:.0f} MiB | "
        f"{seconds['blocks']} |",
        "",
        f"**{result['memory_ratio']}x** less memory, {result['time_ratio']}x the time; logits and gradients differ by "
        f"{result['largest_relative_gap']:.0e} of the largest at most.",
        "",
    ]


def ranking_head(result: dict[str, Any]) -> list[str]:
    names = {
        "by_probability": "order by probability",
        "head_without_text": "ranking head, scores and training orders alone",
        "head": "ranking head",
        "lightgbm": "LightGBM's LambdaRank, the same features",
    }
    figures = ("primary_accuracy", "graded_ndcg_diagnoses", "graded_ndcg_procedures")
    return [
        "## The ranking head against LightGBM",
        "",
        f"{result['notes']:,} synthetic stays in billing order a seed, {result['codes']} codes, drawn concept scores; "
        f"seeds {', '.join(map(str, result['seeds']))}: mean and standard deviation. Held-out patients; loss and ridge "
        "of the head, and trees and leaves of LightGBM, were chosen on these same ones.",
        "",
        "| | primary accuracy | graded NDCG, diagnoses | graded NDCG, procedures |",
        "|---|---|---|---|",
        *(
            f"| {text} | "
            + " | ".join(f"{row[figure]['mean']:.3f} ± {row[figure]['sd'] or 0:.3f}" for figure in figures)
            + " |"
            for name, text in names.items()
            if (row := result["systems"].get(name))
        ),
        "",
    ]


def ranking_speed(result: dict[str, Any]) -> list[str]:
    seconds = result["seconds"]
    return [
        "## Ranking from stored scores",
        "",
        f"{result['notes']:,} notes x {result['codes']} codes, {result['accepted_pairs']:,} accepted pairs; from the "
        f"saved heads, scores and text features to ranks, median of {result['rounds']} runs: "
        f"**{seconds['rank']:.2f} s** ({seconds['rank without text']:.2f} s without text features). Finding the text "
        f"features of these notes, once: {seconds['find text features']:.1f} s. Fitting all heads on "
        f"{result['training_notes']:,} notes: {seconds['fit without an order']:.1f} s without an order, "
        f"{seconds['fit']:.1f} s with one, its losses and ridges cross-validated, and "
        f"{seconds['learn text features']:.1f} s for what it reads in the text.",
        "",
    ]


def page() -> str:
    """The whole page."""
    about = "Written by `python benchmarks/summary.py` from `results/*.json`, which hold every figure and version."
    lines = ["# Benchmarks", "", about, ""]
    for name, section in (
        ("cmc2007", cmc2007),
        ("ablations", ablations),
        ("evidence", evidence),
        ("calibration", calibration),
        ("familiarity", familiarity),
        ("shipped_coder", shipped_coder),
        ("codiesp", codiesp),
        ("questions", questions),
        ("descent", descent),
        ("reading", reading),
        ("ordering", ordering),
        ("ordering_demo_tables", ordering_demo_tables),
        ("prepare_mimic3", prepare_mimic3),
        ("medication_tables", medication_tables),
        ("medication_metrics", medication_metrics),
        ("medication_network", medication_network),
        ("medication_epoch", medication_network),
        ("medication_quality", medication_quality),
        ("medication_demo", medication_quality),
        ("packed_scoring", packed_scoring),
        ("vllm_scoring", vllm_scoring),
        ("ray_overhead", ray_overhead),
        ("growth", growth),
        ("packed_training", packed_training),
        ("gpu", gpu),
        ("evaluation", evaluation),
        ("interval_coverage", interval_coverage),
        ("heads", heads),
        ("ranking_head", ranking_head),
        ("ranking_speed", ranking_speed),
        ("label_attention", label_attention),
        ("desk", desk),
        ("desk_kill", desk_kill),
    ):
        path = HERE / "results" / f"{name}.json"
        if path.is_file():
            result = json.loads(path.read_text())
            took = f", {result['minutes']:.0f} minutes" if "minutes" in result else ""
            dirty = ", **uncommitted changes**" if str(result.get("commit")).endswith("+") else ""
            lines += [
                *section(result),
                f"`{result['command']}` ({result['date']}, {result['machine']}{took}{dirty})",
                "",
            ]
    return "\n".join(lines)


if __name__ == "__main__":
    (HERE / "README.md").write_text(page(), encoding="utf-8")
