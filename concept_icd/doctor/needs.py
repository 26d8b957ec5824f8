"""Whether this machine has what a run needs: the base model, memory of the device, free disk."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from concept_icd.doctor.estimates import StageEstimate
from concept_icd.doctor.findings import Finding, readable_bytes, readable_count, readable_seconds
from concept_icd.doctor.machine import Device, existing_folder, offline
from concept_icd.doctor.model_size import ModelShape, has_weights, local_folder

MODEL, ESTIMATES = "base model", "estimates, not measured"


def examine_model(name: str, shape: ModelShape) -> Finding:
    """Whether the base model lies on this machine, and how large it is."""
    size = f"{readable_count(shape.parameters)} parameters ({shape.source})"
    if (folder := local_folder(name)) and has_weights(folder):
        return Finding(MODEL, "ok", f"{name}: {size}, on this machine")
    if Path(name).is_absolute() or name.startswith("."):
        return Finding(MODEL, "missing", f"{name} is no folder with a model", "correct model_name_or_path")
    command = f"hf download {name}"
    if offline():
        return Finding(MODEL, "missing", f"{name}: not on this machine, and the hub is set offline", command)
    text = f"{name}: {size}; not on this machine, {readable_bytes(2 * shape.parameters)} come at its first use"
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
