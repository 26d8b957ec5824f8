"""Folders and files that a stage leaves behind: they appear whole, by rename, with a manifest beside them."""

from __future__ import annotations

import datetime
import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from concept_icd.errors import InputError

MANIFEST = "manifest.json"


@contextmanager
def new_folder(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its name when the block ends without an error.

    Raises:
        InputError: `path` exists and `overwrite` is False, or it cannot be written.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists already; name another folder or pass --overwrite")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        with writing(target):
            yield staging
            staging.chmod(0o755)
            if target.exists():
                shutil.rmtree(target)
            staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """A temporary file name beside `path` that takes its name when the block ends without an error."""
    target = Path(path)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():  # told before the work, not after it
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    staging = target.with_name(f".{target.name}-{os.getpid()}")
    try:
        with writing(target):
            yield staging
            staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)


@contextmanager
def begun_folder(path: Path, holds_work: Callable[[], bool]) -> Iterator[None]:
    """For a folder that grows and can be resumed: a new one goes away again if bad input comes before any work."""
    new = not path.exists()
    try:
        yield
    except InputError:
        if new and not holds_work():
            shutil.rmtree(path, ignore_errors=True)
        raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an operating-system error while writing `path` (disk full, no permission) into one sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise InputError(f"cannot write {path}: {error}") from error


def write_json(path: str | Path, value: Any) -> None:
    """Writes `value` as indented UTF-8 JSON, by rename."""
    with new_file(path) as staging:
        staging.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error


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


def read_manifest(folder: str | Path, stage: str | None = None) -> dict[str, Any]:
    """The manifest of a folder, checked to be of `stage` where one is named.

    Raises:
        InputError: no manifest, or another stage's.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder} has no {MANIFEST}: it is not a folder that concept-icd wrote, or it is incomplete")
    manifest: dict[str, Any] = read_json(path)
    if stage is not None and manifest.get("stage") != stage:
        raise InputError(f"{folder} was written by `{manifest.get('stage')}`, not by `{stage}`")
    return manifest
