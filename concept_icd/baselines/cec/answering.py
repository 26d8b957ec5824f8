"""What a model writes after a prompt, greedily, two tokens, and what CEC reads from it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch

#: Tokens that are written after a prompt.
WRITTEN = 2
#: Spellings that stage 2 takes for a yes.
YES = ("Yes", "yes", "YES")

#: (token, its log-probability over the vocabulary), in the order of writing.
Written = list[tuple[int, float]]


@torch.inference_mode()
def write(model: Any, note: Sequence[int], questions: Sequence[Sequence[int]], batch_size: int) -> list[Written]:
    """What the model writes after note + question, for each question; the note is read once.

    Questions of one length go together, so that nothing is padded. Writing ends with the end-of-text token.

    Args:
        model: a causal LM. note, questions: ids.
    """
    from transformers import DynamicCache

    read = DynamicCache(config=model.config)
    model(input_ids=torch.tensor([note], device=model.device), past_key_values=read, use_cache=True, logits_to_keep=1)
    by_length: dict[int, list[int]] = {}
    for number, question in enumerate(questions):
        by_length.setdefault(len(question), []).append(number)
    written: list[Written] = [[] for _ in questions]
    for numbers in by_length.values():
        for start in range(0, len(numbers), batch_size):
            part = numbers[start : start + batch_size]
            cache = copy.deepcopy(read)
            cache.batch_repeat_interleave(len(part))
            ids = torch.tensor([list(questions[number]) for number in part], device=model.device)
            for _ in range(WRITTEN):
                logits = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
                values, tokens = logits.float().log_softmax(dim=-1).max(dim=-1)
                for number, token, value in zip(part, tokens.tolist(), values.tolist(), strict=True):
                    if not ended(written[number], model.generation_config.eos_token_id):
                        written[number].append((token, value))
                ids = tokens[:, None]
    return written


def ended(written: Written, end: int | list[int] | None) -> bool:
    """Whether the last token written ends a text."""
    ends = end if isinstance(end, list) else [end]
    return bool(written) and written[-1][0] in ends


def says_yes(written: Written, tokenizer: Any) -> bool:
    """Stage 1: whether the text that was written holds "yes", in any case."""
    return "yes" in tokenizer.decode([token for token, _ in written], skip_special_tokens=True).lower()


def yes_probability(written: Written, tokenizer: Any) -> float:
    """Stage 2: the probability of the Yes that was written, the greater of two; 0 where none was."""
    found = [value for token, value in written if tokenizer.decode([token]).strip() in YES]
    return math.exp(max(found)) if found else 0.0
