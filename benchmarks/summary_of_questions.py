"""The sections of benchmarks/README.md about the length of questions (see summary.py)."""

from __future__ import annotations

from typing import Any

FIGURES = {
    "micro_f1": "micro-F1",
    "macro_f1": "macro_f1",
    "macro_f1_caml": "macro_f1_caml",
    "micro_auc": "micro-AUC",
    "macro_auc": "macro-AUC",
    "map": "MAP",
}


def cell(value: float, band: dict[str, Any], sign: str = "") -> str:
    """A figure and its interval, where the draws gave one."""
    if band.get("low") is None:
        return f"{value:{sign}.3f}"
    return f"{value:{sign}.3f} [{band['low']:{sign}.3f}, {band['high']:{sign}.3f}]"


def questions(result: dict[str, Any]) -> list[str]:
    def in_words(style: str) -> str:
        about = result["styles"][style]
        learned = about["question_tokens"]
        return f"{style} (`{about['prompt']}`)" if learned is None else style

    cost = result["cost"]
    lines = ["## What the length of a question buys", ""]
    for task, found in result["accuracy"].items():
        lines += [
            f"**{task}**: {found['test_notes']:,} test notes, {found['codes']} codes, {found['gold_labels']:,} gold "
            f"labels; {found['interval']}. Same notes, seed and steps for every style.",
            "",
            f"| question | tokens | {' | '.join(FIGURES.values())} | micro-F1 less template's | MAP less template's |",
            f"|---|---|{'---|' * len(FIGURES)}---|---|",
        ]
        for style, row in found["styles"].items():
            cells = " | ".join(cell(row[figure]["value"], row[figure]) for figure in FIGURES)
            minus = row["minus_template"]
            changes = " | ".join(cell(minus[figure]["value"], minus[figure], "+") for figure in ("micro_f1", "map"))
            own = " | " if style == "template" else changes
            lines.append(f"| {in_words(style)} | {row['tokens_a_question']:.1f} | {cells} | {own} |")
        lines += ["", f"`{found['command']}`", ""]
    lines += [
        f"Cost of {cost['questions']} questions to a {cost['note_tokens']:,}-token note: CPU seconds of one thread, "
        "over those of reading the note alone, by model:",
        "",
        f"| question | tokens | tokens over the note's | {' | '.join(cost['models'])} |",
        f"|---|---|---|{'---|' * len(cost['models'])}",
    ]
    for style, row in next(iter(cost["models"].values()))["styles"].items():
        ratios = " | ".join(f"{model['styles'][style]['seconds_over_note_alone']}" for model in cost["models"].values())
        lines.append(f"| {in_words(style)} | {row['tokens_a_question']} | {row['tokens_over_note']} | {ratios} |")
    return [*lines, ""]
