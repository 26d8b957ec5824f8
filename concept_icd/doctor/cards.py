"""The table of estimated GPU hours a benchmark and card, as the README shows it."""

from __future__ import annotations

from collections.abc import Iterable

from concept_icd.doctor.estimates import estimate_stages, gpu_hours
from concept_icd.doctor.findings import readable_bytes, readable_seconds
from concept_icd.doctor.model_size import shape_of
from concept_icd.doctor.throughput import CARDS, SHARE_OF_PEAK, Card
from concept_icd.doctor.workload import NOTE_TOKENS, read_plan, workload_of
from concept_icd.mimic3.tasks import Task


def hours_on(
    task: Task, config: str, card: Card, parameters: float | None = None, note_tokens: float = NOTE_TOKENS
) -> tuple[float, float, float]:
    """Estimated GPU hours of tuning and of scoring, and the most GPU memory in bytes.

    Raises:
        InputError: no such config, or the size of its model is not known.
    """
    plan = read_plan(config)
    shape = shape_of(plan.model_name_or_path, parameters)
    work = workload_of(task, plan, shape, note_tokens)
    stages = estimate_stages(work, plan, shape, card.speed, plan.dtype or "bfloat16")
    tune, score = (gpu_hours([stage for stage in stages if stage.stage == name]) for name in ("tune", "score"))
    return tune, score, max(stage.device_bytes for stage in stages)


def hours_table(
    rows: Iterable[tuple[Task, str]], cards: Iterable[str], parameters: float | None, note_tokens: float
) -> str:
    """Markdown: a row a benchmark and config, a column a card; what does not fit says so."""
    columns = [CARDS[name] for name in cards]
    lines = [
        "| benchmark, config | GPU memory | " + " | ".join(card.title for card in columns) + " |",
        "|" + "---|" * (2 + len(columns)),
    ]
    for task, config in rows:
        cells, memory = [], 0.0
        for card in columns:
            tune, score, memory = hours_on(task, config, card, parameters, note_tokens)
            if memory > card.memory:
                cells.append("does not fit")
                continue
            parts = f"tune {readable_seconds(3600 * tune)}, score {readable_seconds(3600 * score)}"
            cells.append(f"**{readable_seconds(3600 * (tune + score))}** ({parts})")
        name = task.title if config == task.name else f"{task.title}, `{config}`"
        lines.append(f"| {name} | {readable_bytes(memory)} | {' | '.join(cells)} |")
    peaks = ", ".join(f"{card.title} {card.peak / 1e12:.0f} TFLOP/s" for card in columns)
    lines += [
        "",
        f"Estimates, not measured: one GPU at {SHARE_OF_PEAK:.0%} of its dense bfloat16 peak ({peaks}), "
        f"{note_tokens:,.0f} tokens a summary.",
    ]
    return "\n".join(lines)
