"""A scorer written down: plain data that another process, here or on another machine, can make the scorer from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from concept_icd.errors import InputError, extras
from concept_icd.llm.prompts import NOTE_TEXTS, PromptTemplate
from concept_icd.llm.reference import members_of
from concept_icd.records import OneLine

if TYPE_CHECKING:
    from concept_icd.scoring.scorer import Scorer, TokenScorer

#: In this process with transformers, or a small model with NumPy; in vLLM's engine, or in a vLLM server somewhere; or
#: one prompt a question with transformers, to check the others by; or no model at all, where experts alone read.
Kind = Literal["packed", "light", "vllm", "server", "plain", "none"]
_CLASSES = {
    "packed": ("packed", "PackedScorer"),
    "light": ("numpy_llama", "LightScorer"),
    "vllm": ("vllm", "VllmScorer"),
    "server": ("server", "ServerScorer"),
    "plain": ("plain", "PlainScorer"),
}

#: What a coder's folder may say of the scorer of its fit: its kind, how notes are read, and nothing else.
_SETTINGS: Mapping[str, Callable[[Any], bool]] = {
    "scorer": lambda value: value in ("packed", "light", "vllm", "server", "none"),
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


def precision_of(settings: Mapping[str, Any]) -> str:
    """In which precision a scorer with these settings computes; float32 where they say none.

    >>> precision_of({"scorer": "vllm", "dtype": "bfloat16"}), precision_of({"scorer": "packed"})
    ('bfloat16', 'float32')
    """
    return settings.get("dtype") or "float32"


@dataclass(frozen=True, repr=False)
class ScorerSpec(OneLine):
    """What makes one scorer: an adapter on a base model, or several whose scores are averaged.

    Attributes:
        model: "tiny", a folder or a hub name.
        adapter: a folder that the maker of the scorer can read, of one adapter or of several (`members_of`).
        options: go to the scorer's `from_pretrained`; for Ray, JSON holds them.
        url: of the server; None: the default port of this machine.

        >>> from concept_icd import ConceptSet, Note, load_ontology
        >>> scorer = ScorerSpec("light", "tiny", None, PromptTemplate.load("concept")).make()
        >>> concepts = ConceptSet.expand(["486", "599.0"], load_ontology("icd9cm"), levels=["chapter", "code"])
        >>> scorer.score([Note("n1", "Cough and fever. Right lower lobe pneumonia.")], concepts).logits.shape
        (1, 4)
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
        if self.kind == "none":
            from concept_icd.scoring.silent import SilentScorer

            return SilentScorer()
        if self.readings > 1 and self.options.get("served"):
            raise InputError(
                f"the scores of {self.readings} adapters are averaged, and {self.options['served']!r} is one: leave "
                "the served name out, so that each is found by its files"
            )
        from concept_icd.scoring.averaged import AveragedScorer

        members = [None] if self.adapter is None else [str(member) for member in members_of(self.adapter)]
        with extras():
            if len(members) == 1:
                return self._make(self.adapter)
            together = {"merge": False} if self.kind == "vllm" else {}  # the adapters take turns in one engine
            return AveragedScorer([replace(self, options={**self.options, **together})._make(one) for one in members])

    @property
    def readings(self) -> int:
        """How often a note is read: once by each adapter."""
        return 1 if self.adapter is None else len(members_of(self.adapter))

    def _make(self, adapter: str | None) -> Scorer:
        module, name = _CLASSES[self.kind]
        kind: type[TokenScorer] = getattr(import_module(f"concept_icd.scoring.{module}"), name)
        where: dict[str, Any] = {"url": self.url} if self.kind == "server" else {}
        return kind.from_pretrained(self.model, adapter, self.prompt, **self.options, **where)


# Names of what a tuning run leaves behind, for those who read it without the training libraries.

CONCEPTS, PROMPT, FOLDS, ADAPTER = "concepts.json", "prompt.yaml", "folds.json", "adapter"
