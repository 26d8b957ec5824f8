"""Time, memory and disk of each stage of a benchmark: estimates from token counts and a speed, nothing measured.

Formulas are in `flops` and `gpu_memory`, counts in `workload`, speeds in `throughput`.
"""

from __future__ import annotations

from dataclasses import dataclass

from concept_icd.doctor.flops import lora_parameters, scoring_flops, tuning_flops
from concept_icd.doctor.gpu_memory import BYTES, scoring_bytes, tuning_bytes
from concept_icd.doctor.model_size import ModelShape
from concept_icd.doctor.throughput import PACKED_OVER_PLAIN, Speed
from concept_icd.doctor.workload import Plan, Workload

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
    flops = sequences * tuning_flops(shape, tokens, lora, checkpointing=plan.gradient_checkpointing)
    device = tuning_bytes(
        shape,
        work.longest_note + asked * work.question_tokens,
        asked,
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
    flops = notes * scoring_flops(shape, work.note_tokens, work.all_question_tokens)
    device = scoring_bytes(shape, work.longest_note, dtype=dtype, nf4=plan.load_in_4bit)
    why = (
        f"{notes:,.0f} notes of {work.note_tokens:,.0f} tokens, {work.concepts:,} questions of "
        f"{work.question_tokens:.1f} tokens, {flops:.1e} operations"
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
