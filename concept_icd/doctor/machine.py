"""The machine: system, cores, memory, disk, GPUs, and where models are kept. It asks the machine alone, no network."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from concept_icd.doctor.findings import Finding, readable_bytes

SECTION = "machine"

#: Settings of Hugging Face's libraries that forbid the network.
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True)
class Device:
    """What a model would run on.

    Attributes:
        kind: "cuda" or "cpu". count: GPUs, or 1. memory: bytes of one GPU, or of the machine.
        dtype: what the weights are computed in: "bfloat16", "float16" or "float32".
    """

    kind: str
    name: str
    count: int
    memory: int
    dtype: str


def find_device() -> Device:
    """The first GPU that torch can use, else the CPU."""
    import torch

    if not torch.cuda.is_available():
        return Device("cpu", f"CPU, {cores()} cores", 1, memory(), "float32")
    first = torch.cuda.get_device_properties(0)
    dtype = "bfloat16" if first.major >= 8 else "float16"  # emulated bfloat16 of older cards is slow
    return Device("cuda", first.name, torch.cuda.device_count(), first.total_memory, dtype)


def examine_machine(out: Path) -> list[Finding]:
    """System, Python, cores, memory, free disk here and at `out`, GPUs, model cache."""
    findings = [
        Finding(SECTION, "ok", f"{platform.system()} {platform.release()}, Python {platform.python_version()}"),
        Finding(SECTION, "ok", f"{cores()} cores, {readable_bytes(memory())} of memory"),
    ]
    here, there = Path.cwd(), existing_folder(out)
    free = f"{readable_bytes(shutil.disk_usage(here).free)} free in the current folder"
    if there.stat().st_dev != here.stat().st_dev:
        free += f", {readable_bytes(shutil.disk_usage(there).free)} where the output goes ({there})"
    findings.append(Finding(SECTION, "ok", free))
    if not os.access(there, os.W_OK):
        findings.append(Finding(SECTION, "missing", f"{there} cannot be written", "name another folder with --out"))
    return [*findings, *_gpus(), _model_cache()]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Bytes of memory that this process may use: the machine's, or the limit of its container."""
    import psutil  # type: ignore[import-untyped]

    limits = [int(psutil.virtual_memory().total)]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # no container, or one without a limit ("max")
            continue
    return min(limits)


def existing_folder(path: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    path = path.resolve()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def offline() -> bool:
    """Whether the user has forbidden the model hub."""
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in OFFLINE)


def _gpus() -> list[Finding]:
    import torch

    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi") and torch.version.cuda is None:
            text = "there is an NVIDIA driver, but this torch is a CPU build"
            return [Finding(SECTION, "warning", text, "pip install --force-reinstall torch  # its CUDA build")]
        return [Finding(SECTION, "note", "no GPU that torch can use: enough for the tiny model, not for 8B")]
    findings = []
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        text = f"GPU {number}: {card.name}, {readable_bytes(card.total_memory)}, compute {card.major}.{card.minor}"
        text += f", CUDA {torch.version.cuda}"
        if card.major >= 8:
            findings.append(Finding(SECTION, "ok", f"{text}, fast bfloat16"))
        else:
            mend = "set bf16: false, fp16: true and dtype: float16 in the config"
            findings.append(Finding(SECTION, "warning", f"{text}: no fast bfloat16", mend))
    return findings


def _model_cache() -> Finding:
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(HF_HUB_CACHE)
    state = f"{sum(1 for _ in cache.glob('models--*'))} models in {cache}" if cache.is_dir() else f"none yet at {cache}"
    return Finding(SECTION, "note", f"model cache: {state}; {'offline' if offline() else 'downloads are allowed'}")
