"""How many floating-point operations a run takes: formulas, no measurements.

A multiplication with P weights is 2 P operations a token (one product, one sum). Attention of one token over c others
is 4 c d operations a layer: 2 c d for the products q.k and 2 c d for the sum over the values, d = heads x head size.
Embeddings are looked up and the LM head is read at the ends of questions only, so neither counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from concept_icd.doctor.model_size import ModelShape

#: What `PackedScorer` puts into one chunk of questions.
CHUNK = 512


def linear_flops(shape: ModelShape, tokens: float) -> float:
    """2 x parameters x tokens: one forward pass through the linear maps."""
    return 2 * shape.linear_parameters * tokens


def attention_flops(shape: ModelShape, tokens: float, context: float) -> float:
    """4 x layers x heads x head size x tokens x context: one forward pass; `context` is the mean number of keys."""
    return 4 * shape.layers * shape.heads * shape.head_dim * tokens * context


def scoring_flops(shape: ModelShape, note_tokens: float, question_tokens: float) -> float:
    """One note and all its questions: the note once (causal: half the square), each chunk against note and chunk.

    Args:
        question_tokens: tokens of all questions together.
    """
    chunk = min(CHUNK, question_tokens)
    return (
        linear_flops(shape, note_tokens + question_tokens)
        + attention_flops(shape, note_tokens, note_tokens / 2)
        + attention_flops(shape, question_tokens, note_tokens + chunk)
    )


def tuning_flops(shape: ModelShape, tokens: float, lora: int, *, checkpointing: bool) -> float:
    """One packed training sequence: forward and backward through frozen weights with LoRA on them.

    Frozen weights cost a forward pass and the gradient of their input, not of themselves: 4 P a token and not 6 P. The
    packed mask is dense, so attention counts the whole square, and its backward pass twice its forward pass. LoRA's own
    weights cost 6 a parameter. Gradient checkpointing adds one forward pass.

    Args:
        tokens: of the note and the questions asked. lora: LoRA parameters.
    """
    forward = linear_flops(shape, tokens) + attention_flops(shape, tokens, tokens) + 2 * lora * tokens
    backward = linear_flops(shape, tokens) + 2 * attention_flops(shape, tokens, tokens) + 4 * lora * tokens
    return forward * (2 if checkpointing else 1) + backward


def lora_parameters(shape: ModelShape, rank: int, modules: Sequence[str]) -> int:
    """rank x (inputs + outputs) for each tuned map of each layer."""
    maps = shape.linear_layers()
    return shape.layers * rank * sum(sum(maps[name]) for name in modules if name in maps)
