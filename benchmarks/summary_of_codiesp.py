"""The section of the results' page on CodiEsp: label sets, systems, intervals, paired differences."""

from __future__ import annotations

from typing import Any


def codiesp(result: dict[str, Any]) -> list[str]:
    columns = {
        "micro_f1": "micro-F1", "macro_f1": "macro_f1", "macro_f1_caml": "macro_f1_caml", "micro_auc": "micro-AUC",
        "macro_auc": "macro-AUC", "precision_at_5": "P@5", "map": "MAP",
    }  # fmt: skip

    def cell(system: dict[str, Any], figure: str) -> str:
        own = system["intervals"].get(figure)
        return f"{system['figures'][figure]:.3f}" + (f" [{own['low']:.3f}, {own['high']:.3f}]" if own else "")

    def change(figure: dict[str, float] | None) -> str:
        return f"{figure['difference']:+.3f} [{figure['low']:+.3f}, {figure['high']:+.3f}]" if figure else ""

    lines = [
        "## CodiEsp in ICD-9-CM: long public notes",
        "",
        "Clinical cases of about 480 tokens in machine-translated English, official splits, one seed. 95 % intervals "
        f"over test cases ({result['draws']} draws). Adapters and machines learn from the training cases; the concept "
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
                f"| {name} | " + " | ".join(cell(system, figure) for figure in columns) + " |"
                for name, system in found["systems"].items()
            ),
            *(
                f"| {name} | " + " | ".join(change(figures.get(figure)) for figure in columns) + " |"
                for name, figures in found["differences"].items()
            ),
            "",
            f"`{found['command']}`",
            "",
        ]
    return lines
