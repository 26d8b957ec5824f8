"""Estimates: their assumptions against the committed benchmarks, their counts by hand, and how they move."""

from __future__ import annotations

import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from concept_icd.corpora.mimic3.tasks import TASKS
from concept_icd.doctor.cost_model import (
    CARDS,
    KNOWN,
    OVERHEAD,
    PACKED_OVER_PLAIN,
    SHARE_OF_PROBE,
    ModelShape,
    Speed,
    lora_parameters,
    scoring_flops,
    shape_of,
    tuning_bytes,
    tuning_flops,
    weight_bytes,
)
from concept_icd.doctor.estimates import estimate_scoring, estimate_stages, gpu_hours, hours_on, hours_table
from concept_icd.doctor.workload import Plan, Workload, read_plan, workload_of
from concept_icd.llm.reference import HEAD_SIZE
from concept_icd.tuning.arguments import ConceptArguments

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
#: The Llama of benchmarks/common.py.
BENCHMARKED = ModelShape(12, 768, 2048, 12, 12, 64, 32_000, 4096, False, "benchmark")
#: What the probe measured on the machine of the benchmarks, two threads, float32.
PROBED = 203e9
LLAMA = KNOWN["meta-llama/Meta-Llama-3-8B"]
TINY = shape_of("tiny")


def benchmark(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def test_packed_over_plain_is_the_worse_of_the_benchmarked_cases() -> None:
    cases = benchmark("packed_scoring")["cases"].values()
    assert max(case["packed_over_plain_forward"] for case in cases) == PACKED_OVER_PLAIN


def test_the_share_of_the_probe_is_that_of_the_benchmarks() -> None:
    assert benchmark("packed_scoring")["parameters"] == pytest.approx(BENCHMARKED.parameters, rel=1e-3)
    shares = []
    for case in benchmark("packed_scoring")["cases"].values():
        flops = scoring_flops(BENCHMARKED, case["note_tokens"], case["questions"] * case["question_tokens_mean"])
        shares.append(flops / statistics.median(case["packed_seconds"]) / PROBED)
    tuned = benchmark("packed_training")
    lora = lora_parameters(BENCHMARKED, 16, ["q_proj", "v_proj"])
    flops = tuning_flops(BENCHMARKED, tuned["note_tokens"] + tuned["question_tokens"], lora, checkpointing=False)
    shares.append(flops * tuned["pairs_per_second"]["packed"] / tuned["questions"] / PROBED)
    assert min(shares) > 0.75
    assert max(shares) < 0.95
    assert SHARE_OF_PROBE["cpu"] == pytest.approx(min(shares), abs=0.05)  # the slower of the two stages


def test_tuning_memory_is_near_the_benchmarked_peak() -> None:
    tuned = benchmark("packed_training")
    lora = lora_parameters(BENCHMARKED, 16, ["q_proj", "v_proj"])
    tokens, questions = tuned["note_tokens"] + tuned["question_tokens"], tuned["questions"]
    total = tuning_bytes(BENCHMARKED, tokens, questions, lora, batch=1, dtype="float32", nf4=False, checkpointing=False)
    above = total - OVERHEAD - weight_bytes(BENCHMARKED, "float32", nf4=False)
    assert above == pytest.approx(tuned["peak_bytes_above_weights"]["packed"], rel=0.2)


def test_an_8b_model_in_nf4_is_5_7_gb() -> None:
    # 6.979e9 weights of 4.127 bits, 1.051e9 of 16: 3.60 + 2.10 GB
    assert weight_bytes(LLAMA, "bfloat16", nf4=True) == pytest.approx(5.70e9, rel=0.01)
    assert weight_bytes(LLAMA, "bfloat16", nf4=False) == pytest.approx(16.06e9, rel=0.01)


@pytest.mark.slow
def test_defaults_are_those_of_the_tuning_options() -> None:
    pytest.importorskip("trl")
    from concept_icd.tuning.config import LoraModelConfig, TuningConfig

    known = {field.name: field for cls in (TuningConfig, LoraModelConfig) for field in dataclasses.fields(cls)}
    notes = {field.name for field in dataclasses.fields(ConceptArguments)}  # the trainer's own, which Plan has from it
    own_reading = {"dtype", "lora_target_modules"}  # None there: the model's, and PEFT's choice for its family
    for field in dataclasses.fields(Plan):
        if field.name in own_reading | notes:
            continue
        other = known[field.name]
        default = other.default_factory() if callable(other.default_factory) else other.default  # type: ignore[misc]
        assert field.default == (tuple(default) if isinstance(default, list) else default), field.name


@pytest.mark.parametrize(
    ("plan", "sequences", "scored"),
    [
        (Plan(folds=5, num_train_epochs=2), 2 * 5 * 100, 130),  # five on 80 notes each, one on 100
        (Plan(folds=0, holdout=0.2, num_train_epochs=1), 80, 50),  # 20 kept for the heads, 30 of dev and test
        (Plan(folds=0, num_train_epochs=1), 100, 30),
        (Plan(folds=2, max_steps=10, per_device_train_batch_size=4), 3 * 10 * 4, 130),
    ],
)
def test_adapters_and_notes_of_a_plan(plan: Plan, sequences: float, scored: float) -> None:
    assert plan.sequences(100) == pytest.approx(sequences)
    assert plan.scored(100, 30) == pytest.approx(scored)


def test_questions_asked_of_a_training_note() -> None:
    work = Workload(1, 1, labels=50, concepts=140, note_tokens=1, longest_note=1, question_tokens=1, true_concepts=20)
    assert work.asked(Plan(positive_share=0.5, negative_share=0.1)) == pytest.approx(0.5 * 20 + 0.1 * 120)


def test_mimic3_50_asks_about_its_own_concepts() -> None:
    from concept_icd.ontology.concepts import ConceptSet
    from concept_icd.ontology.tree import load_ontology

    task, plan = TASKS["mimic3-50"], read_plan("mimic3-50")
    work = workload_of(task, plan, LLAMA)
    assert task.codes is not None
    assert work.concepts == len(ConceptSet.expand(task.codes, load_ontology("icd9cm"), plan.levels))
    assert (work.train, work.test, work.labels) == (8066, 1729, 50)
    assert 5.7 < work.true_concepts < 5.7 * 5
    only_codes = workload_of(task, dataclasses.replace(plan, levels=("code",)), LLAMA)
    assert only_codes.concepts == 50


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.stays])
def test_every_task_has_an_estimate(name: str) -> None:
    task, plan = TASKS[name], read_plan(name.removesuffix("-recounted"))
    stages = estimate_stages(workload_of(task, plan, LLAMA), plan, LLAMA, CARDS["a100"].speed)
    assert [stage.stage for stage in stages] == ["prepare", "tune", "score", "fit", "evaluate"]
    assert all(stage.seconds > 0 and stage.disk_bytes > 0 for stage in stages)


def test_a_note_is_read_no_further_than_the_model_reaches() -> None:
    work = workload_of(TASKS["mimic3-50"], Plan(model_name_or_path="tiny"), TINY, note_tokens=50_000)
    assert work.note_tokens == TINY.positions
    shorter = Plan(model_name_or_path="tiny", max_length=256)
    assert workload_of(TASKS["mimic3-50"], shorter, TINY).note_tokens == 256


def test_learned_question_tokens_are_as_many_as_the_config_says(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("model_name_or_path: tiny\nquestion_tokens: 2\n")
    work = workload_of(TASKS["mimic3-50"], read_plan(tmp_path / "c.yaml"), TINY)
    assert work.all_question_tokens == 2 * work.concepts


def test_a_concept_head_costs_little_more_than_the_notes(tmp_path: Path) -> None:
    """The head's own operations, by its formula, on top of a reading without questions."""
    (tmp_path / "c.yaml").write_text("model_name_or_path: tiny\nasking: head\n")
    plan = read_plan(tmp_path / "c.yaml")
    work = workload_of(TASKS["mimic3-full"], plan, LLAMA)
    assert work.all_question_tokens == 0

    def scoring(plan: Plan, work: Workload) -> float:
        return estimate_scoring(work, plan, LLAMA, Speed(1.0, ""), "bfloat16").seconds

    none = dataclasses.replace(plan, asking=None)
    notes = plan.scored(work.train, work.test)
    added = notes * work.note_tokens * (4 * LLAMA.hidden * HEAD_SIZE + 4 * HEAD_SIZE * work.concepts)
    assert scoring(plan, work) - scoring(none, work) == pytest.approx(PACKED_OVER_PLAIN * added, rel=1e-6)
    assert scoring(plan, work) < 1.01 * scoring(none, work)
    in_words = workload_of(TASKS["mimic3-full"], none, LLAMA)
    assert scoring(none, in_words) > 10 * scoring(plan, work)


def test_time_falls_with_speed_and_grows_with_epochs() -> None:
    task, plan = TASKS["mimic3-rare50"], read_plan("mimic3-rare50")
    work = workload_of(task, plan, LLAMA)

    def tune(plan: Plan, flops: float) -> float:
        return next(s.seconds for s in estimate_stages(work, plan, LLAMA, Speed(flops, "")) if s.stage == "tune")

    assert tune(plan, 2e14) == pytest.approx(tune(plan, 1e14) / 2)
    twice = dataclasses.replace(plan, num_train_epochs=2 * plan.num_train_epochs)
    assert tune(twice, 1e14) == pytest.approx(2 * tune(plan, 1e14))
    assert tune(dataclasses.replace(plan, gradient_checkpointing=False), 1e14) < tune(plan, 1e14)


def test_an_h100_takes_less_than_an_a100_by_their_peaks() -> None:
    slow = sum(hours_on(TASKS["mimic3-50"], "mimic3-50", CARDS["a100"])[:2])
    fast = sum(hours_on(TASKS["mimic3-50"], "mimic3-50", CARDS["h100"])[:2])
    assert slow / fast == pytest.approx(989 / 312)


def test_hours_are_of_tuning_and_scoring() -> None:
    plan = read_plan("mimic3-50")
    stages = estimate_stages(workload_of(TASKS["mimic3-50"], plan, LLAMA), plan, LLAMA, CARDS["a100"].speed)
    assert gpu_hours(stages) == pytest.approx((stages[1].seconds + stages[2].seconds) / 3600)


def test_what_does_not_fit_a_card_says_so() -> None:
    table = hours_table([(TASKS["mimic3-50"], "mimic3-50")], ["a100", "rtx4090"], 70e9, 3500)
    row = table.splitlines()[2]
    assert "does not fit" in row.split("|")[4]
    assert "tune" in row.split("|")[3]
    assert "Estimates, not measured" in table
