"""Time, memory and disk of each stage of a benchmark: estimates from token counts and a speed, nothing measured.

Formulas and speeds are in `cost_model`, counts in `workload`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from concept_icd.corpora.mimic3.tasks import Task
from concept_icd.doctor.cost_model import (
    BYTES,
    CARDS,
    PACKED_OVER_PLAIN,
    SHARE_OF_PEAK,
    Card,
    ModelShape,
    Speed,
    has_weights,
    head_flops,
    local_folder,
    lora_parameters,
    scoring_bytes,
    scoring_flops,
    shape_of,
    tuning_bytes,
    tuning_flops,
)
from concept_icd.doctor.findings import Finding, readable_bytes, readable_count, readable_seconds
from concept_icd.doctor.machine import Device, existing_folder
from concept_icd.doctor.workload import NOTE_TOKENS, Plan, Workload, read_plan, workload_of
from concept_icd.llm.model_files import PACKAGED, offline

#: `prepare` of the full tables, with notes (measured, plain CSV: benchmarks/prepare_mimic3.py) and without: seconds,
#: and the memory that it keeps to.
PREPARE_SECONDS, PREPARE_TABLES_SECONDS = 100.0, 60.0
PREPARE_MEMORY = 4e9
#: Stays of MIMIC-III 1.4, all of which `mimic3-tables` keeps.
PREPARE_STAYS = 58_976
#: Bytes of a discharge summary in the prepared corpus, compressed.
NOTE_BYTES = 5000.0
#: Seconds a (note, concept) pair of `fit`: 8e-6 for 50 labels, 3e-6 for 3,000 on invented scores and one core.
FIT_SECONDS = 8e-6
#: Seconds a (note, label) pair of `evaluate` with its intervals, on one core: an assumption.
EVALUATE_SECONDS = 3e-6


@dataclass(frozen=True)
class StageEstimate:
    """What one stage costs.

    Attributes:
        seconds: of one GPU, or of the CPU. device_bytes: memory of the GPU, or of the machine where there is none.
        memory_bytes: of the machine beside it. disk_bytes: what stays.
        why: the counts behind it, in words.
    """

    stage: str
    seconds: float
    device_bytes: float
    memory_bytes: float
    disk_bytes: float
    why: str


def estimate_prepare(stays: int, *, notes: bool = True) -> StageEstimate:
    """Reading the raw tables: with notes, the time is that of reading NOTEEVENTS, whatever the task."""
    if not notes:
        why = f"{stays:,} stays, tables alone"
        return StageEstimate("prepare", PREPARE_TABLES_SECONDS, 0, PREPARE_MEMORY, stays * 500, why)
    why = "reads 2.08 million rows of NOTEEVENTS, whatever the task"
    return StageEstimate("prepare", PREPARE_SECONDS, 0, PREPARE_MEMORY, stays * NOTE_BYTES, why)


def estimate_tuning(work: Workload, plan: Plan, shape: ModelShape, speed: Speed, dtype: str) -> StageEstimate:
    """All adapters of a config."""
    asked = work.asked(plan)
    tokens = work.note_tokens + asked * work.question_tokens
    lora = lora_parameters(shape, plan.lora_r, plan.lora_target_modules)
    sequences = plan.sequences(work.train)
    step = tuning_flops(shape, tokens, lora, checkpointing=plan.gradient_checkpointing)
    if plan.asking == "head":
        step += 3 * head_flops(shape, work.note_tokens, asked)  # forward, and twice that backward
    flops = sequences * step
    device = tuning_bytes(
        shape,
        work.longest_note + asked * work.question_tokens,
        0 if plan.asking == "head" else asked,
        lora,
        batch=plan.per_device_train_batch_size,
        dtype=dtype,
        nf4=plan.load_in_4bit,
        checkpointing=plan.gradient_checkpointing,
    )
    adapters = "1 adapter" if plan.adapters == 1 else f"{plan.adapters} adapters"
    why = f"{adapters}, {sequences:,.0f} sequences of {tokens:,.0f} tokens, {flops:.1e} operations"
    disk = (plan.adapters + 3) * 4 * lora  # a checkpoint holds the moments as well
    return StageEstimate("tune", flops / speed.flops, device, _loading_bytes(plan, shape, dtype), disk, why)


def estimate_scoring(work: Workload, plan: Plan, shape: ModelShape, speed: Speed, dtype: str) -> StageEstimate:
    """All notes that heads, dev and test need, all concepts."""
    notes = plan.scored(work.train, work.test)
    by_head = plan.asking == "head"
    a_note = scoring_flops(shape, work.note_tokens, work.all_question_tokens)
    flops = notes * (a_note + (head_flops(shape, work.note_tokens, work.concepts) if by_head else 0))
    device = scoring_bytes(shape, work.longest_note, dtype=dtype, nf4=plan.load_in_4bit)
    why = (
        f"{notes:,.0f} notes of {work.note_tokens:,.0f} tokens, {work.concepts:,} "
        + ("concepts by a head" if by_head else f"questions of {work.question_tokens:.1f} tokens")
        + f", {flops:.1e} operations"
    )
    seconds = PACKED_OVER_PLAIN * flops / speed.flops
    disk = notes * work.concepts * 4
    return StageEstimate("score", seconds, device, _loading_bytes(plan, shape, dtype), disk, why)


def _loading_bytes(plan: Plan, shape: ModelShape, dtype: str) -> float:
    """Memory of the machine while a GPU's weights are read: all of them, or in 4 bits one file of them at a time."""
    weights = BYTES[dtype] * shape.parameters
    return 3e9 + (min(5e9, weights) if plan.load_in_4bit else weights)


def estimate_heads(work: Workload, plan: Plan) -> list[StageEstimate]:
    """Fitting and evaluating, on the CPU."""
    fitted = plan.scored(work.train, 0)
    held = 4 * 4 * fitted * (work.concepts + work.labels)
    fit = StageEstimate(
        "fit",
        FIT_SECONDS * fitted * work.concepts,
        0,
        2e9 + held,
        4.0 * work.labels * 100,
        f"{fitted:,.0f} notes, {work.concepts:,} concepts, {work.labels:,} labels, on the CPU",
    )
    pairs = work.test * work.labels
    why = f"{work.test:,} notes, {work.labels:,} labels, 1,000 samples for intervals, on the CPU"
    return [fit, StageEstimate("evaluate", 5 + EVALUATE_SECONDS * pairs, 0, 1e9 + 100 * pairs, 2e7, why)]


def estimate_stages(
    work: Workload, plan: Plan, shape: ModelShape, speed: Speed, dtype: str | None = None
) -> list[StageEstimate]:
    """prepare, tune, score, fit and evaluate, in their order.

    Args:
        speed: of the one device that tunes and scores. dtype: of the weights; by default the config's.
    """
    kind = dtype or plan.dtype or "float32"
    return [
        estimate_prepare(work.train + work.test),
        estimate_tuning(work, plan, shape, speed, kind),
        estimate_scoring(work, plan, shape, speed, kind),
        *estimate_heads(work, plan),
    ]


def gpu_hours(stages: list[StageEstimate]) -> float:
    """Hours of one GPU: tuning and scoring."""
    return sum(stage.seconds for stage in stages if stage.stage in ("tune", "score")) / 3600


# Whether this machine has what a run needs: the base model, memory of the device, free disk.

MODEL, ESTIMATES = "base model", "estimates, not measured"


def examine_model(name: str, shape: ModelShape) -> Finding:
    """Whether the base model lies on this machine, and how large it is."""
    size = f"{readable_count(shape.parameters)} parameters ({shape.source})"
    if (folder := local_folder(name)) and has_weights(folder):
        return Finding(MODEL, "ok", f"{name}: {size}, on this machine")
    ready = f"python -m concept_icd.llm {name}"
    if Path(name).is_file():
        return Finding(MODEL, "warning", f"{name}: {size}; made ready at its first use", ready)
    if Path(name).is_absolute() or name.startswith("."):
        return Finding(MODEL, "missing", f"{name} is no folder with a model", "correct model_name_or_path")
    command = ready if name in PACKAGED else f"hf download {name}"
    if offline():
        return Finding(MODEL, "missing", f"{name}: not on this machine, and downloads are forbidden", command)
    fetched = PACKAGED[name].bytes if name in PACKAGED else 2 * shape.parameters
    text = f"{name}: {size}; not on this machine, {readable_bytes(fetched)} come at its first use"
    return Finding(MODEL, "warning", text, command)


def describe_stages(stages: Sequence[StageEstimate], device: Device) -> list[Finding]:
    """One line a stage."""
    place = "on the GPU" if device.kind == "cuda" else "of memory for the model"
    findings = []
    for stage in stages:
        parts = [readable_seconds(stage.seconds)]
        if stage.device_bytes:
            parts.append(f"{readable_bytes(stage.device_bytes)} {place}")
        if stage.memory_bytes and (device.kind == "cuda" or not stage.device_bytes):
            parts.append(f"{readable_bytes(stage.memory_bytes)} of memory")
        parts.append(f"{readable_bytes(stage.disk_bytes)} of disk")
        findings.append(Finding(ESTIMATES, "note", f"{stage.stage}: {', '.join(parts)} ({stage.why})"))
    if device.count > 1:
        text = f"time is of one GPU; the {device.count} here share tuning: accelerate launch --config_file multi_gpu"
        findings.append(Finding(ESTIMATES, "note", text))
    return findings


def examine_fit(stages: Sequence[StageEstimate], device: Device, machine_memory: int, out: Path) -> list[Finding]:
    """Whether memory and disk suffice, and whether the run would ever end."""
    findings = []
    for stage in stages:
        if stage.device_bytes > device.memory:
            text = (
                f"{stage.stage} needs about {readable_bytes(stage.device_bytes)}, "
                f"{device.name} has {readable_bytes(device.memory)}"
            )
            mend = "set load_in_4bit: true and gradient_checkpointing: true, lower negative_share or max_length"
            findings.append(Finding(ESTIMATES, "missing", text, mend))
        needs_both = device.kind == "cuda" or not stage.device_bytes
        if needs_both and stage.memory_bytes > machine_memory:
            text = (
                f"{stage.stage} needs about {readable_bytes(stage.memory_bytes)} of memory, "
                f"there are {readable_bytes(machine_memory)}"
            )
            findings.append(Finding(ESTIMATES, "missing", text, "run this stage on a larger machine"))
    folder = existing_folder(out)
    disk, free = sum(stage.disk_bytes for stage in stages), shutil.disk_usage(folder).free
    if disk > free:
        text = f"the run writes about {readable_bytes(disk)}, {folder} has {readable_bytes(free)} free"
        findings.append(Finding(ESTIMATES, "missing", text, "name a folder on a larger disk with --out"))
    total = sum(stage.seconds for stage in stages)
    if total > 30 * 86_400:
        text = f"all stages together would take about {readable_seconds(total)} on {device.name}"
        findings.append(Finding(ESTIMATES, "warning", text, "take a GPU, or a smaller model_name_or_path"))
    return findings


# The table of estimated GPU hours, a row a benchmark and a column a card.


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
