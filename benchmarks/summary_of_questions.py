"""The sections of benchmarks/README.md about the length of questions (see summary.py)."""

from __future__ import annotations

from typing import Any

from printed import band, figure

FIGURES = {
    "micro_f1": "micro-F1",
    "macro_f1": "macro_f1",
    "macro_f1_caml": "macro_f1_caml",
    "micro_auc": "micro-AUC",
    "macro_auc": "macro-AUC",
    "map": "MAP",
}


def questions(result: dict[str, Any]) -> list[str]:
    def in_words(style: str) -> str:
        about = result["styles"][style]
        learned = about["question_tokens"]
        return f"{style} (`{about['prompt']}`)" if learned is None else style

    def cell(row: dict[str, Any], name: str, sign: str = "") -> str:
        return figure(row[name]["value"], sign=sign) + band(row[name], sign=sign)

    cost = result["cost"]
    note = result.get("intervals_left_out", "")
    lines = ["## What the length of a question buys", ""]
    for task, found in result["accuracy"].items():
        lines += [
            f"**{task}**: {found['test_notes']:,} test notes, {found['codes']} codes, {found['gold_labels']:,} gold "
            f"labels; {found['interval']}. Same notes, seed and steps for every style. {note}".rstrip(),
            "",
            f"| question | tokens | {' | '.join(FIGURES.values())} | micro-F1 less template's | MAP less template's |",
            f"|---|---|{'---|' * len(FIGURES)}---|---|",
        ]
        for style, row in found["styles"].items():
            cells = " | ".join(cell(row, name) for name in FIGURES)
            minus = row["minus_template"]
            changes = " | ".join(cell(minus, name, "+") for name in ("micro_f1", "map"))
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
