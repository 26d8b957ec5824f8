"""The plain scorer: one prompt a question through transformers, nothing shared. The yardstick of all others, and slow.

It is for checking, not for use: `concept-icd check-parity` compares the other scorers with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from concept_icd.llm.base_model import LoadedModel, load_model
from concept_icd.llm.prompts import TokenizedPrompt
from concept_icd.llm.reference import require_questions
from concept_icd.scoring.by_prompt import Answered, Asked, PromptScorer, margin
from concept_icd.scoring.scorer import TokensOf


class PlainScorer(PromptScorer):
    """Scores concepts of notes as a generic library does: the whole vocabulary's logits at each prompt's end."""

    def __init__(self, loaded: LoadedModel, tokens: TokenizedPrompt) -> None:
        super().__init__(tokens, notes_at_once=1)
        self.model = loaded.model

    @classmethod
    def load(cls, tokens_of: TokensOf, model: str | Path, adapter: str | Path | None, **loading: Any) -> Self:
        """See `from_pretrained`; `loading` goes to `concept_icd.llm.base_model.load_model`."""
        require_questions(adapter, "the plain scorer")
        loaded = load_model(model, adapter, **loading)
        return cls(loaded, tokens_of(loaded.tokenizer, loaded.max_length, loaded.questions))

    @torch.inference_mode()
    def _ask(self, asked: Sequence[Asked]) -> list[Answered]:
        yes, no = self.tokens.yes_id, self.tokens.no_id
        answers = []
        for one in asked:
            prompts = (torch.tensor([ids], device=self.model.device) for ids in one.prompts)
            ends = [self.model(ids, logits_to_keep=1, use_cache=False).logits[0, -1].float() for ids in prompts]
            answers.append(Answered(np.array([margin(logits, yes, no) for logits in ends], dtype=np.float32)))
        return answers
