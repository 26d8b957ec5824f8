"""Which base model and adapter a coder belongs to, in a form that notices when they have been exchanged.

It knows files and hashes; it loads no model.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from concept_icd.artifacts import hash_of, sha256
from concept_icd.errors import InputError

#: What an adapter folder must hold, as PEFT writes it.
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
#: What it holds beside where the adapter was tuned with learned question tokens.
QUESTION_TOKENS = "question_tokens.safetensors"
#: The decoder that travels with the package (see its README.md for data and terms).
TINY = Path(__file__).resolve().parent / "base_models" / "tiny"
_SAMPLE = 2**16


@dataclass(frozen=True)
class ModelReference:
    """A base model by name, and an adapter on it.

    Attributes:
        name: "tiny", a folder, or a hub name, as `load_model` takes it.
        fingerprint: of the model's files where they lie in a folder, else None; see `fingerprint_of`.
        adapter: folder of the LoRA weights, or of several adapters (`members_of`). adapter_sha256: of their
            configurations and weights.
    """

    name: str
    fingerprint: str | None = None
    adapter: Path | None = None
    adapter_sha256: str | None = None

    @classmethod
    def of(cls, model: str | Path, adapter: str | Path | None = None) -> ModelReference:
        """The reference to a model and an adapter that are there now.

        Raises:
            InputError: the adapter folder lacks its files.
        """
        folder = Path(adapter) if adapter is not None else None
        return cls(str(model), fingerprint_of(model), folder, _adapter_sha256(folder) if folder else None)

    def __str__(self) -> str:
        """The name as results carry it: of a folder its last part and the fingerprint, never where it lies."""
        return self.name if self.fingerprint is None else f"{Path(self.name).name}@{self.fingerprint[:12]}"

    def check(self) -> None:
        """Checks that model and adapter are still those that were referred to.

        Raises:
            InputError: one of them has changed.
        """
        if self.fingerprint is not None and (found := fingerprint_of(self.name)) != self.fingerprint:
            state = "is not there" if found is None else "is not the model that the coder was fitted with"
            raise InputError(f"the base model {self.name!r} {state}: name the right one with --model")
        if self.adapter is not None and _adapter_sha256(self.adapter) != self.adapter_sha256:
            raise InputError(f"the adapter in {self.adapter} is damaged or exchanged: fit the coder again")

    @property
    def hash(self) -> str:
        """Hex digest, the same wherever the files lie."""
        return hash_of([self.fingerprint or self.name, self.adapter_sha256])


def resolve(name: str | Path) -> str:
    """The path or hub name behind a base model's name; "tiny" is the shipped one."""
    return str(TINY) if str(name) == "tiny" else str(name)


def fingerprint_of(model: str | Path) -> str | None:
    """Hex digest of a model folder's config, tokenizer and weights; None for a name that is no folder.

    Of each weight file it takes the size and 64 samples of 64 KiB spread evenly, so that it costs no full reading.
    """
    folder = Path(resolve(model))
    if not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for file in sorted((*folder.glob("*.json"), *folder.glob("*.safetensors"))):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as content:
            for sample in range(64):
                content.seek(max(0, size - _SAMPLE) * sample // 63)
                digest.update(content.read(_SAMPLE))
    return digest.hexdigest()


def members_of(adapter: str | Path) -> list[Path]:
    """The adapters whose scores are averaged: those in the subfolders of a folder that is none itself, by name.

    An adapter is its own only member; so is what is no folder here, such as a name that a server serves.
    """
    folder = Path(adapter)
    if (folder / ADAPTER_FILES[0]).is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{ADAPTER_FILES[0]}")) or [folder]


def adapter_files(folder: Path) -> tuple[str, ...]:
    """Names of the files that make an adapter what it is.

    Raises:
        InputError: the folder lacks one that every adapter has.
    """
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            raise InputError(f"{folder} is not a LoRA adapter: it has no {name}")
    return (*ADAPTER_FILES, QUESTION_TOKENS) if (folder / QUESTION_TOKENS).is_file() else ADAPTER_FILES


def _adapter_sha256(folder: Path) -> str:
    members = [hash_of([sha256(member / name) for name in adapter_files(member)]) for member in members_of(folder)]
    return members[0] if len(members) == 1 else hash_of(members)
