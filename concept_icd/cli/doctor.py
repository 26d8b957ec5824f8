"""`concept-icd doctor`: is all there that a benchmark needs, and what will it cost on this machine?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concept_icd.corpora.mimic3.tasks import Task
    from concept_icd.doctor.cost_model import Speed
    from concept_icd.doctor.estimates import StageEstimate
    from concept_icd.doctor.findings import Finding

EXAMPLE = "concept-icd doctor --mimic-dir MIMIC_DIR --splits-dir SPLITS_DIR --task mimic3-50"

_COLOURS = {"ok": "green", "missing": "red", "warning": "yellow", "note": "cyan"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the tables and lists are, which task and config, what to print."""
    parser.add_argument("--mimic-dir", type=Path, metavar="DIR", help="folder of the raw MIMIC-III tables")
    parser.add_argument("--splits-dir", type=Path, metavar="DIR", help="folder of the published admission lists")
    parser.add_argument("--task", metavar="NAME", help="benchmark that is to run, such as mimic3-50")
    parser.add_argument(
        "--config", metavar="NAME", help="tuning config, a shipped name or a file (default: the task's)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs"), metavar="DIR", help="folder of the output (default: runs)"
    )
    parser.add_argument("--checksums", action="store_true", help="hash the tables (reads every byte: minutes)")
    parser.add_argument("--parameters", type=float, metavar="N", help="size of a base model that is not here: 7e9")
    parser.add_argument("--note-tokens", type=float, metavar="N", help="mean tokens of a summary (default: 3500)")
    parser.add_argument("--card", metavar="NAME", help="only a table of estimated GPU hours: a100, h100, rtx4090, all")
    parser.add_argument("--json", action="store_true", help="print the findings as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Prints one line a finding; exit code 1 when something that the task needs is missing."""
    from concept_icd.corpora.mimic3.tasks import TASKS, find_task
    from concept_icd.doctor.findings import all_there

    if args.card:
        print(_hours_table(args))
        return 0
    task = find_task(args.task or args.config) if args.task or args.config in TASKS else None
    findings = _examine_machine(args, task) + _examine_data(args, task)
    estimated, stages, speed = _estimate(args, task)
    findings += estimated
    if args.json:
        print(json.dumps(_as_json(findings, stages, speed), indent=2))
    else:
        _print(findings, task)
    return 0 if all_there(findings) else 1


def _examine_machine(args: argparse.Namespace, task: Task | None) -> list[Finding]:
    from concept_icd.doctor.machine import examine_machine, examine_packages

    needed = set()
    if task or args.mimic_dir:
        needed.add("duckdb")
    if task and task.name != "mimic3-tables":
        needed |= {"torch", "trl", "datasets"}
        if _plan(args, task).load_in_4bit:
            needed.add("bitsandbytes")
    return examine_machine(args.out) + examine_packages(needed)


def _examine_data(args: argparse.Namespace, task: Task | None) -> list[Finding]:
    from concept_icd.doctor.data import TABLE_SECTION as SECTION
    from concept_icd.doctor.data import examine_checksums, examine_folder, examine_lists, examine_rows
    from concept_icd.doctor.findings import Finding

    findings = []
    notes = task is None or task.name != "mimic3-tables"
    if args.mimic_dir:
        found, tables = examine_folder(args.mimic_dir, notes=notes)
        findings += found + (examine_rows(tables, notes=notes) if tables else [])
        if args.checksums:
            findings += examine_checksums(args.mimic_dir, tables)
    elif task:
        mend = "name their folder with --mimic-dir; invented ones: concept-icd synth mimic3 --out DIR"
        findings.append(Finding(SECTION, "missing", f"{task.name} needs the raw tables of MIMIC-III 1.4", mend))
    if task or args.splits_dir:
        findings += examine_lists(args.splits_dir, task)
    return findings


def _estimate(args: argparse.Namespace, task: Task | None) -> tuple[list[Finding], list[StageEstimate], Speed | None]:
    from concept_icd.doctor.cost_model import measured_speed, shape_of
    from concept_icd.doctor.estimates import (
        ESTIMATES,
        PREPARE_STAYS,
        describe_stages,
        estimate_prepare,
        estimate_stages,
        examine_fit,
        examine_model,
    )
    from concept_icd.doctor.findings import Finding
    from concept_icd.doctor.machine import find_device, memory
    from concept_icd.doctor.workload import NOTE_TOKENS, workload_of

    if task is None:
        hint = "name a benchmark with --task (and --config) to have its time, memory and disk estimated"
        return [Finding(ESTIMATES, "note", hint)], [], None
    device = find_device()
    if task.name == "mimic3-tables":
        stages = [estimate_prepare(PREPARE_STAYS, notes=False)]
        fit = examine_fit(stages, device, memory(), args.out)
        return describe_stages(stages, device) + fit, stages, None
    plan = _plan(args, task)
    shape = shape_of(plan.model_name_or_path, args.parameters)
    work = workload_of(task, plan, shape, args.note_tokens or NOTE_TOKENS)
    speed = measured_speed(device)
    dtype = (plan.dtype or device.dtype) if device.kind == "cuda" else "float32"
    stages = estimate_stages(work, plan, shape, speed, dtype)
    config = args.config or _default_config(task)
    return (
        [
            examine_model(plan.model_name_or_path, shape),
            Finding(ESTIMATES, "note", f"{task.name} with the config {config}, at {speed.source}"),
            *describe_stages(stages, device),
            *examine_fit(stages, device, memory(), args.out),
        ],
        stages,
        speed,
    )


def _plan(args: argparse.Namespace, task: Task) -> Any:
    from concept_icd.doctor.workload import read_plan

    return read_plan(args.config or _default_config(task))


def _default_config(task: Task) -> str:
    """The shipped config of the task's name; a recounted label set shares that of the published one."""
    return task.name.removesuffix("-recounted")


def _hours_table(args: argparse.Namespace) -> str:
    from concept_icd.corpora.mimic3.tasks import TASKS, find_task
    from concept_icd.doctor.cost_model import CARDS
    from concept_icd.doctor.estimates import hours_table
    from concept_icd.doctor.workload import NOTE_TOKENS
    from concept_icd.errors import InputError, did_you_mean

    if args.card not in (*CARDS, "all"):
        raise InputError(f"no card {args.card!r}{did_you_mean(args.card, CARDS)}; cards: {', '.join(CARDS)}, all")
    named = args.task or (args.config if args.config in TASKS else None)
    names = (named,) if named else ("mimic3-50", "mimic3-rare50", "mimic3-clean", "mimic3-full")
    tasks = [find_task(name) for name in names]
    rows = [(task, args.config or _default_config(task)) for task in tasks if task.stays]
    cards = CARDS if args.card == "all" else (args.card,)
    return hours_table(rows, cards, args.parameters, args.note_tokens or NOTE_TOKENS)


def _as_json(findings: Sequence[Finding], stages: Sequence[StageEstimate], speed: Speed | None) -> dict[str, Any]:
    from dataclasses import asdict

    from concept_icd.doctor.findings import all_there

    return {
        "ok": all_there(findings),
        "findings": [asdict(finding) for finding in findings],
        "estimates": {"measured": False, "speed": asdict(speed) if speed else None, "stages": [*map(asdict, stages)]},
    }


def _print(findings: Sequence[Finding], task: Task | None) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(soft_wrap=True, highlight=False)
    section = ""
    for finding in findings:
        if finding.section != section:
            section = finding.section
            console.print(f"\n[bold]{section}[/bold]")
        console.print(f"  [{_COLOURS[finding.state]}]{finding.state:<8}[/] {escape(finding.text)}")
        if finding.mend and finding.state != "ok":
            console.print(f"           -> {escape(finding.mend)}")
    missing = sum(finding.state == "missing" for finding in findings)
    what = f"for {task.name} " if task else ""
    console.print(f"\n{f'{missing} missing {what}'.strip() if missing else f'all is there {what}'.strip()}")
