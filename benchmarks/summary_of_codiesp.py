"""The section of the results' page on CodiEsp: label sets, systems, intervals, paired differences."""

from __future__ import annotations

from typing import Any

from printed import band, figure


def codiesp(result: dict[str, Any]) -> list[str]:
    columns = {
        "micro_f1": "micro-F1", "macro_f1": "macro_f1", "macro_f1_caml": "macro_f1_caml", "micro_auc": "micro-AUC",
        "macro_auc": "macro-AUC", "precision_at_5": "P@5", "map": "MAP",
    }  # fmt: skip

    def cell(system: dict[str, Any], name: str) -> str:
        return figure(system["figures"][name]) + band(system["intervals"].get(name))

    def change(figures: dict[str, dict[str, float]], name: str) -> str:
        own = figures.get(name)
        if own is None:
            return ""
        return figure(own["difference"], sign="+") + band(own, sign="+")

    note = result.get("intervals_left_out", "")
    lines = [
        "## CodiEsp in ICD-9-CM: long public notes",
        "",
        "Clinical cases of about 480 tokens in machine-translated English, official splits, one seed. 95 % intervals "
        f"over test cases. {note} Adapters and machines learn from the training cases; the concept "
        "pipeline's heads and threshold and label attention's threshold are of the dev cases; the SVM's are "
        "cross-validated on the cases it learns from. The base model was pre-trained on the training cases' text, "
        "among other text, not on their codes, nor on dev or test cases.",
        "",
    ]
    for task, found in result["tasks"].items():
        notes, gold = found["notes"], found["gold_labels"]
        lines += [
            f"{task}: {found['labels']:,} labels; {notes['train']} training, {notes['dev']} dev and {notes['test']} "
            f"test cases with {gold['train']:,}, {gold['dev']:,} and {gold['test']:,} labels.",
            "",
            f"| | {' | '.join(columns.values())} |",
            f"|---|{'---|' * len(columns)}",
            *(
                f"| {key} | " + " | ".join(cell(system, name) for name in columns) + " |"
                for key, system in found["systems"].items()
            ),
            *(
                f"| {key} | " + " | ".join(change(figures, name) for name in columns) + " |"
                for key, figures in found["differences"].items()
            ),
            "",
            f"`{found['command']}`",
            "",
        ]
    return lines
