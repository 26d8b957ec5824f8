"""A scorer written down: plain data that another process, here or on another machine, can make the scorer from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from concept_icd.prompts import PromptTemplate
    from concept_icd.scoring.scorer import Scorer

#: In this process with transformers, in vLLM's engine, or in a vLLM server that runs somewhere.
Kind = Literal["packed", "vllm", "server"]


@dataclass(frozen=True)
class ScorerSpec:
    """What makes one scorer: one adapter on one base model.

    Attributes:
        model: "tiny", a folder or a hub name. adapter: a folder that the maker of the scorer can read.
        options: go to the scorer's `from_pretrained`. url: of the server; None: the default port of this machine.
    """

    kind: Kind
    model: str
    adapter: str | None
    prompt: PromptTemplate
    options: Mapping[str, Any] = field(default_factory=dict)
    url: str | None = None

    def make(self) -> Scorer:
        """Loads the model, or reaches the server.

        Raises:
            InputError: model or adapter is missing, they do not fit, or the server cannot be reached.
        """
        if self.kind == "server":
            from concept_icd.scoring.server import ServerScorer

            return ServerScorer.from_pretrained(self.url, self.model, self.adapter, self.prompt, **self.options)
        if self.kind == "vllm":
            from concept_icd.scoring.vllm import VllmScorer

            return VllmScorer.from_pretrained(self.model, self.adapter, self.prompt, **self.options)
        from concept_icd.scoring.packed import PackedScorer

        return PackedScorer.from_pretrained(self.model, self.adapter, self.prompt, **self.options)
