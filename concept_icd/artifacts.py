"""Artefacts: the JSON files, hashes and manifests by which a folder says what made it."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import math
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from concept_icd.errors import InputError
from concept_icd.outputs import MANIFEST, new_file


def write_json(path: str | Path, value: Any) -> None:
    """Writes `value` as indented UTF-8 JSON, by rename."""
    with new_file(path) as staging:
        staging.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: the file is missing, is not JSON, or nests too deeply.
    """
    try:
        return loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error


def loads(text: str | bytes) -> Any:
    """`json.loads` for what comes from outside: ValueError is all that it raises."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it nests too deeply") from None


def require_finite(path: str | Path, value: Any) -> None:
    """Looks into lists, mappings and arrays for numbers that are none.

    Raises:
        InputError: one is NaN or infinite: a coder of such numbers would rank at random.
    """
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            require_finite(path, part)
        return
    if hasattr(value, "dtype"):  # an array of NumPy or torch
        sound = "float" not in str(value.dtype) or bool((abs(value) < math.inf).all())
    else:
        sound = not isinstance(value, float) or math.isfinite(value)
    if not sound:
        raise InputError(f"{path} holds a number that is NaN or infinite: make it again")


def sha256(path: str | Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_of(value: Any) -> str:
    """Hex digest of a JSON-like value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries that decide its figures, as installed."""
    found = {"python": platform.python_version()}
    for name in ("concept-icd", "torch", "transformers", "peft", "trl", "numpy", "scikit-learn"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """The commit of the checkout this package runs from (with "+" when it has uncommitted changes), or None."""
    here = Path(__file__).resolve().parent
    try:
        run = ["git", "-C", str(here)]
        commit = subprocess.run([*run, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
        dirty = subprocess.run([*run, "diff", "--quiet", "HEAD", "--", "."], capture_output=True, timeout=10)
        return commit.stdout.strip() + ("+" if dirty.returncode else "")
    except (OSError, subprocess.SubprocessError):
        return None


def write_manifest(
    folder: str | Path,
    stage: str,
    *,
    inputs: Mapping[str, str],
    config: Mapping[str, Any],
    seed: int | None,
    seconds: float,
    **extra: Any,
) -> None:
    """Writes `manifest.json`: what made this folder.

    Args:
        inputs: name of each input (file, folder, concept set) -> its hash.
        config: the resolved options. seconds: wall-clock time of the stage.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_json(
        Path(folder) / MANIFEST,
        {
            "stage": stage,
            "created": now,
            "inputs": dict(inputs),
            "config": dict(config),
            "seed": seed,
            "seconds": round(seconds, 1),
            "versions": versions(),
            "git_commit": git_commit(),
            **extra,
        },
    )


class Record(dict[str, Any]):
    """A JSON object of this package's own; an entry that is missing is no bug, but a file to mend."""

    path = Path(MANIFEST)

    def __missing__(self, key: str) -> Any:
        raise InputError(f"{self.path} is damaged: it has no {key!r}; make the folder again")


def read_record(path: str | Path) -> Record:
    """Reads a JSON file that holds an object.

    Raises:
        InputError: see `read_json`, or it holds something else; also later, for an entry that is not there.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: it holds no JSON object; make it again")
    record = Record(content)
    record.path = Path(path)
    return record


def read_manifest(folder: str | Path, stage: str | None = None) -> Record:
    """The manifest of a folder, checked to be of `stage` where one is named.

    Raises:
        InputError: no manifest, a damaged one, or another stage's.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder} has no {MANIFEST}: it is not a folder that concept-icd wrote, or it is incomplete")
    manifest = read_record(path)
    parts: dict[str, type] = {"inputs": dict, "config": dict, "files": dict, "stage": str}
    if any(not isinstance(manifest.get(name, kind()), kind) for name, kind in parts.items()):
        raise InputError(f"{path} is damaged: make the folder again")
    if stage is not None and manifest.get("stage") != stage:
        raise InputError(f"{folder} was written by `{manifest.get('stage')}`, not by `{stage}`")
    return manifest
