"""How much memory of the device tuning and scoring take: formulas, no measurements."""

from __future__ import annotations

from concept_icd.doctor.flops import CHUNK
from concept_icd.doctor.model_size import ModelShape

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
#: NF4 with double quantisation: 4 bits and 0.127 bits of scales a weight (QLoRA, Dettmers et al. 2023, section 3).
NF4_BYTES = (4 + 0.127) / 8
#: float32 weights, gradients and Adam's two moments of LoRA.
LORA_BYTES = 16
#: CUDA context, kernels' work space and fragments of the allocator: an assumption.
OVERHEAD = 1.5e9


def weight_bytes(shape: ModelShape, dtype: str, *, nf4: bool) -> float:
    """The base model's weights: in NF4 the linear maps alone shrink, embeddings stay in `dtype`."""
    linear = shape.linear_parameters * (NF4_BYTES if nf4 else BYTES[dtype])
    return linear + shape.embedding_parameters * BYTES[dtype]


def layer_activation_bytes(shape: ModelShape, tokens: float, dtype: str) -> float:
    """What the backward pass of one layer keeps: about 16 hidden and 4 intermediate vectors a token."""
    return tokens * (16 * shape.hidden + 4 * shape.intermediate) * BYTES[dtype]


def tuning_bytes(
    shape: ModelShape,
    tokens: float,
    questions: float,
    lora: int,
    *,
    batch: int,
    dtype: str,
    nf4: bool,
    checkpointing: bool,
) -> float:
    """Weights, LoRA with optimiser, activations of a batch of sequences of `tokens`, masks, answers, and overhead.

    With gradient checkpointing each layer keeps its input, and one layer at a time is computed again. The answers of
    `questions` are logits over the whole vocabulary, with a float32 copy and its gradient.
    """
    width = BYTES[dtype]
    layer = layer_activation_bytes(shape, tokens, dtype)
    kept = shape.layers * tokens * shape.hidden * width + layer if checkpointing else shape.layers * layer
    mask = tokens * tokens * (1 + width)  # boolean, and additive inside the attention
    largest = shape.hidden * shape.intermediate * width if nf4 else 0  # one map at a time is unpacked
    answers = questions * shape.vocabulary * (width + 8)
    fixed = weight_bytes(shape, dtype, nf4=nf4) + lora * LORA_BYTES + largest + OVERHEAD
    return fixed + batch * (kept + mask + answers)


def scoring_bytes(shape: ModelShape, note_tokens: float, *, dtype: str, nf4: bool) -> float:
    """Weights, keys and values of a note and a chunk, one layer's activations, and overhead."""
    width = BYTES[dtype]
    tokens = note_tokens + CHUNK
    cache = 2 * shape.layers * shape.kv_heads * shape.head_dim * tokens * width
    return weight_bytes(shape, dtype, nf4=nf4) + cache + layer_activation_bytes(shape, tokens, dtype) + OVERHEAD
