"""The section of benchmarks/README.md about the descent (see summary.py)."""

from __future__ import annotations

from typing import Any


def descent(result: dict[str, Any]) -> list[str]:
    def line(name: str, row: dict[str, Any]) -> str:
        low, high = row["recall_at_50_interval"]
        share = row["of_exhaustive_interval"]
        return (
            f"| {name} | {row['questions']:.1f} | {row['share_of_questions']:.2%} | {row['reached_gold']:.4f} "
            f"| {row['recall_at_50']:.4f} [{low:.4f}, {high:.4f}] "
            f"| {row['of_exhaustive']:.2%} [{share[0]:.2%}, {share[1]:.2%}] |"
        )

    notes, gold = result["notes"], result["gold_codes"]
    best = result["chosen_on_dev"]
    return [
        "## The descent on codiesp9-all",
        "",
        f"{result['codes']:,} codes, {result['concepts']:,} concepts; bars fitted on {notes['dev']} dev notes "
        f"({gold['dev']:,} gold codes), measured on {notes['test']} test notes ({gold['test']:,}): the first of each "
        "split, for time. Recall@50 orders the codes that were asked by their own score; the intervals are over "
        f"notes, seed {result['seed']}. On dev, *{best}* was best within a tenth of the questions. The real "
        f"scorer asked the same on {result['real_scorer']['notes']} notes (largest gap "
        f"{result['real_scorer']['largest_gap']:.0e}).",
        "",
        "| asked | questions a note | share | gold codes reached | recall@50 | of the exhaustive recall@50 |",
        "|---|---|---|---|---|---|",
        line("everything", result["exhaustive"]["test"]),
        *(line(f"**{name}**" if name == best else name, row["test"]) for name, row in result["rows"].items()),
        "",
        "Heads, fitted on the dev notes and used on the test notes, with all scores or what a descent leaves:",
        "",
        "| fitted on | used on | recall@50 | micro-F1 | macro_f1 | macro_f1_caml |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['fitted_on']} | {row['used_on']} | {row['recall_at_50']:.4f} | {row['micro_f1']:.4f} "
            f"| {row['macro_f1']:.4f} | {row['macro_f1_caml']:.4f} |"
            for row in result["heads"]
        ),
        "",
    ]
