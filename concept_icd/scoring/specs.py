"""A scorer written down: plain data that another process, here or on another machine, can make the scorer from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from concept_icd.errors import InputError, extras
from concept_icd.llm.prompts import NOTE_TEXTS, PromptTemplate
from concept_icd.llm.reference import members_of
from concept_icd.records import OneLine

if TYPE_CHECKING:
    from concept_icd.scoring.scorer import Scorer

#: In this process with transformers, or a small model with NumPy; in vLLM's engine, or in a vLLM server somewhere.
Kind = Literal["packed", "light", "vllm", "server"]

#: What a coder's folder may say of the scorer of its fit: its kind, how notes are read, and nothing else.
_SETTINGS: Mapping[str, Callable[[Any], bool]] = {
    "scorer": lambda value: value in ("packed", "light", "vllm", "server"),
    "max_length": lambda value: value is None or (type(value) is int and value > 0),
    "note_text": lambda value: value in NOTE_TEXTS,
    "load_in_4bit": lambda value: value is None or type(value) is bool,
    "dtype": lambda value: value in (None, "float32", "bfloat16", "float16"),
}


def checked_settings(settings: Any) -> dict[str, Any]:
    """Settings of a scorer that are data: a fixed list, with neither an address nor an option that could run code.

    Raises:
        InputError: one of them is none of these, or has another kind of value.
    """
    if not isinstance(settings, Mapping):
        raise InputError("the scorer's settings are no JSON object")
    for name, value in settings.items():
        if name not in _SETTINGS:
            raise InputError(
                f"the scorer's setting {name!r} is none that a coder keeps ({', '.join(_SETTINGS)}); who "
                "codes names it: `with_scorer`, or options of the command line"
            )
        try:
            sound = _SETTINGS[name](value)
        except TypeError:  # a list or an object
            sound = False
        if not sound:
            raise InputError(f"the scorer's setting {name!r} has a value that it cannot have")
    return dict(settings)


@dataclass(frozen=True, repr=False)
class ScorerSpec(OneLine):
    """What makes one scorer: an adapter on a base model, or several whose scores are averaged.

    Attributes:
        model: "tiny", a folder or a hub name.
        adapter: a folder that the maker of the scorer can read, of one adapter or of several (`members_of`).
        options: go to the scorer's `from_pretrained`; for Ray, JSON holds them.
        url: of the server; None: the default port of this machine.
    """

    kind: Kind
    model: str
    adapter: str | None
    prompt: PromptTemplate
    options: Mapping[str, Any] = field(default_factory=dict)
    url: str | None = None

    def __call__(self) -> Scorer:
        """See `make`. So a spec is what makes the scorer of a `Job`, wherever the job is done."""
        return self.make()

    def make(self) -> Scorer:
        """Loads the model, or reaches the server.

        Raises:
            InputError: model or adapter is missing, they do not fit, the server cannot be reached, or torch or vLLM is
                not installed (`MissingExtraError`).
        """
        if self.readings > 1 and self.options.get("served"):
            raise InputError(
                f"the scores of {self.readings} adapters are averaged, and {self.options['served']!r} is one: leave "
                "the served name out, so that each is found by its files"
            )
        with extras():
            return averaged(self.adapter, self._make)

    @property
    def readings(self) -> int:
        """How often a note is read: once by each adapter."""
        return 1 if self.adapter is None else len(members_of(self.adapter))

    def _make(self, adapter: str | None) -> Scorer:
        if self.kind == "server":
            from concept_icd.scoring.server import ServerScorer

            return ServerScorer.from_pretrained(self.url, self.model, adapter, self.prompt, **self.options)
        if self.kind == "vllm":
            from concept_icd.scoring.vllm import VllmScorer

            return VllmScorer.from_pretrained(self.model, adapter, self.prompt, **self.options)
        if self.kind == "light":
            from concept_icd.scoring.numpy_llama import LightScorer

            return LightScorer.from_pretrained(self.model, adapter, self.prompt, **self.options)
        from concept_icd.scoring.packed import PackedScorer

        return PackedScorer.from_pretrained(self.model, adapter, self.prompt, **self.options)


def averaged(adapter: str | None, make: Callable[[str | None], Scorer]) -> Scorer:
    """The scorer of an adapter, or the mean of those of its members, each as `make` makes it."""
    from concept_icd.scoring.averaged import AveragedScorer

    members = [None] if adapter is None else [str(member) for member in members_of(adapter)]
    return make(adapter) if len(members) == 1 else AveragedScorer([make(member) for member in members])


# Names of what a tuning run leaves behind, for those who read it without the training libraries.

CONCEPTS, PROMPT, FOLDS, ADAPTER = "concepts.json", "prompt.yaml", "folds.json", "adapter"
