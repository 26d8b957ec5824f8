"""Which base model and adapter a coder belongs to, in a form that notices when they have been exchanged.

It knows files and hashes; it loads no model.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from concept_icd.artifacts import hash_of, read_record, sha256
from concept_icd.errors import InputError
from concept_icd.llm.model_files import add_samples, prepare, prepared_folder
from concept_icd.records import OneLine

#: What an adapter folder must hold, as PEFT writes it.
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
#: What it holds beside where the adapter was tuned with learned question tokens.
QUESTION_TOKENS = "question_tokens.safetensors"
#: What it holds beside where the adapter was tuned with a concept head.
CONCEPT_HEAD = "concept_head.safetensors"
#: Numbers in a key, a value and a concept's two vectors of such a head; never more than the model's hidden size.
HEAD_SIZE = 64
#: The decoder that travels with the package (see its README.md for data and terms).
TINY = Path(__file__).resolve().parents[1] / "base_models" / "tiny"
#: An implementation of a layer by the name of a hub's repository: transformers would fetch and run it.
_KERNEL = re.compile(rb'_implementation[^"]*"\s*:\s*(\{[^}]*)?"[^"]*/')
#: What loaders read of a model folder: configurations, weights, and tokenizers in their various files.
_LOADED = ("*.json", "*.safetensors", "*.model", "*.tiktoken", "merges.txt", "vocab.txt")
#: What an adapter's configuration may set. Everything else that PEFT knows has to be empty: some of it imports modules
#: by name (`megatron_config`) or reads further files and hubs (`arrow_config`).
_LORA_SETTINGS = frozenset((
    "alora_invocation_tokens", "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "corda_config",
    "ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights",
    "layer_replication", "layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha", "lora_bias",
    "lora_dropout", "megatron_core", "modules_to_save", "peft_type", "peft_version", "qalora_group_size", "r",
    "rank_pattern", "revision", "target_modules", "target_parameters", "task_type", "trainable_token_indices",
    "use_dora", "use_qalora", "use_rslora",
))  # fmt: skip


#: In the place of a model, of a coder whose experts alone read the note.
NO_MODEL = "none"


@dataclass(frozen=True, repr=False)
class ModelReference(OneLine):
    """A base model by name, and an adapter on it.

    Attributes:
        name: as `load_model` takes it.
        fingerprint: of the model's files where they lie in a folder, else None; see `fingerprint_of`.
        from_folder: the name was read from a folder, and no user gave it; see `location`.
        adapter: folder of the LoRA weights, or of several adapters (`members_of`). adapter_sha256: of their
            configurations and weights.
    """

    name: str
    fingerprint: str | None = None
    adapter: Path | None = None
    adapter_sha256: str | None = None
    from_folder: bool = False

    @classmethod
    def of(cls, model: str | Path, adapter: str | Path | None = None) -> ModelReference:
        """The reference to a model and an adapter that are there now.

        Raises:
            InputError: the adapter folder lacks its files.
        """
        if model == NO_MODEL:
            return cls(NO_MODEL)
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
        if self.fingerprint is not None and (found := self._fingerprint_now()) != self.fingerprint:
            state = "is not there" if found is None else "is not the model that the coder was fitted with"
            raise InputError(f"the base model {self.name!r} {state}: name the right one with --model")
        if self.adapter is not None and _adapter_sha256(self.adapter) != self.adapter_sha256:
            raise InputError(f"the adapter in {self.adapter} is damaged or exchanged: fit the coder again")

    def _fingerprint_now(self) -> str | None:
        return fingerprint_of(self.name, fetch=not self.from_folder)

    @property
    def location(self) -> str:
        """What `load_model` is to be given. A hub is asked only for a name that the user gave.

        Raises:
            InputError: a folder names a model that is not on this machine.
        """
        if not self.from_folder or Path(resolve(self.name, fetch=False)).is_dir():
            return self.name
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            return str(snapshot_download(self.name, local_files_only=True))
        except (HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
            raise InputError(
                f"the base model {self.name!r} that the coder's folder names is not on this machine; to have it "
                f"fetched from the hub, name it yourself: --model {self.name}, or model= of `from_pretrained`"
            ) from error

    @property
    def hash(self) -> str:
        """Hex digest, the same wherever the files lie."""
        return hash_of([self.fingerprint or self.name, self.adapter_sha256])


def resolve(name: str | Path, *, fetch: bool = True) -> str:
    """The folder or hub name behind a base model's name; "tiny" is the shipped one.

    Args:
        fetch: make ready what is not yet (`concept_icd.llm.model_files`); else such a name is returned as it is.

    Raises:
        InputError: it cannot be made ready.
    """
    if str(name) == "tiny":
        return str(TINY)
    if (folder := prepared_folder(name)) is None:
        return str(name)
    if fetch:
        prepare(name, folder)
    return str(folder if folder.is_dir() else name)


def fingerprint_of(model: str | Path, *, fetch: bool = True) -> str | None:
    """Hex digest of a model folder's config, tokenizer and weights; None for a name that is no folder.

    Of each weight file it takes the size and 64 samples of 64 KiB spread evenly, so that it costs no full reading.

    Args:
        fetch: see `resolve`.
    """
    folder = Path(resolve(model, fetch=fetch))
    if not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for file in sorted(file for pattern in _LOADED for file in folder.glob(pattern)):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        add_samples(digest, file)
    return digest.hexdigest()


def require_safetensors(name: str | Path) -> None:
    """Checks that a model folder has weights in safetensors, the one form that is read; a hub's name is not asked.

    Raises:
        InputError: it has none, or is an adapter, whose configuration would name another model to load.
    """
    folder = Path(resolve(name))
    if not folder.is_dir():
        return
    if (folder / ADAPTER_FILES[0]).is_file():
        raise InputError(f"{name} is an adapter: name its base model, and the adapter apart")
    if not (folder / "config.json").is_file() and (files := sorted(folder.glob("*.gguf"))):
        raise InputError(f"{name} has no config.json: name the GGUF file in it itself, such as {files[0]}")
    if (folder / "config.json").is_file() and not any(folder.glob("*.safetensors")):
        raise InputError(
            f"{name} has no weights in safetensors; pickled ones (pytorch_model.bin) are not read, since a pickle can "
            "run code: where you trust it, convert it with transformers, AutoModelForCausalLM.from_pretrained(OLD)"
            ".save_pretrained(NEW), and copy the tokenizer's files"
        )
    if (folder / "config.json").is_file() and _KERNEL.search((folder / "config.json").read_bytes()):
        raise InputError(f"{name} names a kernel of a hub in its config.json, which is code: it is not loaded")


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
            pickled = (folder / "adapter_model.bin").is_file()
            more = " (adapter_model.bin is a pickle, and none is read)" if pickled else ""
            raise InputError(f"{folder} is not a LoRA adapter: it has no {name}{more}")
    return (*ADAPTER_FILES, *(name for name in (QUESTION_TOKENS, CONCEPT_HEAD) if (folder / name).is_file()))


def require_questions(adapter: str | Path | None, reader: str) -> None:
    """Checks that an adapter asks questions, as all ways of scoring can but the packed one.

    Args:
        reader: who is to score, for the message.

    Raises:
        InputError: it answers by a concept head.
    """
    if adapter is not None and (Path(adapter) / CONCEPT_HEAD).is_file():
        raise InputError(
            f"the adapter {adapter} answers by a concept head, for which {reader} has no hidden states: use the packed "
            "scorer"
        )


def require_plain_adapter(folder: str | Path) -> None:
    """Checks that an adapter is numbers and nothing that runs, before PEFT or vLLM is given its folder.

    Raises:
        InputError: the folder lacks a file, or its configuration is of more than a LoRA.
    """
    folder = Path(folder)
    adapter_files(folder)
    path = folder / ADAPTER_FILES[0]
    config = read_record(path)
    if str(config.get("peft_type")).upper() != "LORA":
        raise InputError(f"{folder} is not a LoRA adapter: its peft_type is {config.get('peft_type')!r}")
    if strange := [name for name, value in config.items() if value and name not in _LORA_SETTINGS]:
        raise InputError(f"{path} sets {strange[0]!r}, which a LoRA adapter does not need: it is not loaded")


def _adapter_sha256(folder: Path) -> str:
    members = [hash_of([sha256(member / name) for name in adapter_files(member)]) for member in members_of(folder)]
    return members[0] if len(members) == 1 else hash_of(members)
