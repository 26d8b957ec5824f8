"""How many tokens go through a packed scorer's model at once: on a GPU what its free memory holds, else always as many.

The sizes decide how notes are batched, and so the last bits of their scores. What was chosen is therefore written into
the store (`concept_icd.scoring.adapters`), and a run that goes on takes it from there, however much is free by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Question tokens of a pass, and tokens of a pass over all its notes, where no GPU says otherwise.
DEFAULTS: Mapping[str, int] = {"chunk_tokens": 512, "batch_tokens": 8192}
#: More fill the card no better, and make tensors of over 2^31 numbers.
MOST_TOKENS = 2**17
#: Share of the free memory that a pass may take; the rest is for what the estimate leaves out.
SHARE = 0.6


def free_bytes(device: str | None = None) -> int | None:
    """Free memory of the GPU that a model would be loaded on; None: it would be loaded on no GPU."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available() or not (device or "cuda").startswith("cuda"):
        return None
    try:
        return int(torch.cuda.mem_get_info(device)[0])
    except (RuntimeError, AssertionError, ValueError):  # no such card: loading says so in a sentence
        return None


def batch_tokens_for(free: int, config: Any, bytes_a_number: int) -> int:
    """The largest power of two of tokens whose pass fits, from the default to `MOST_TOKENS`.

    A token needs its keys and values in every layer; at one layer at a time the tensors of its feed-forward part and
    six of the hidden size; and its row of the mask of a chunk of questions, with three booleans that it is made of.

    Args:
        free: bytes beside the weights. config: of the model. bytes_a_number: of what is computed in.

    A Llama of 8 billion parameters in bfloat16, on what such a card has left: 80 GB, then 24 GB.

        >>> from transformers import LlamaConfig
        >>> llama = LlamaConfig(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_key_value_heads=8)
        >>> batch_tokens_for(80 * 10**9 - 16 * 10**9, llama, 2), batch_tokens_for(24 * 10**9 - 16 * 10**9, llama, 2)
        (131072, 16384)
    """
    config = config.get_text_config()
    try:
        hidden, heads = config.hidden_size, config.num_attention_heads
        kept = 2 * config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or heads)
        kept *= getattr(config, "head_dim", None) or hidden // heads
        wide = getattr(config, "intermediate_size", None) or 4 * hidden
    except AttributeError:  # a model that names its sizes in its own way
        return DEFAULTS["batch_tokens"]
    a_token = (kept + 3 * wide + 6 * hidden) * bytes_a_number + DEFAULTS["chunk_tokens"] * (bytes_a_number + 3)
    fitting = int(SHARE * free / a_token)
    return min(MOST_TOKENS, max(DEFAULTS["batch_tokens"], 1 << max(0, fitting.bit_length() - 1)))


def sizes_before_loading(
    model: str, *, device: str | None = None, dtype: str | None = None, load_in_4bit: bool = False, readings: int = 1
) -> dict[str, int]:
    """The sizes for a model that is not loaded yet.

    Args:
        readings: how many of it there will be at once, each with an adapter of its own.
    """
    if (free := free_bytes(device)) is None:
        return dict(DEFAULTS)
    import torch

    from concept_icd.llm.base_model import skeleton

    bare = skeleton(model)
    bytes_a_number = getattr(torch, dtype or "bfloat16").itemsize
    weights = sum(weight.numel() for weight in bare.parameters()) * (0.6 if load_in_4bit else bytes_a_number)
    return {**DEFAULTS, "batch_tokens": batch_tokens_for(free - int(readings * weights), bare.config, bytes_a_number)}
