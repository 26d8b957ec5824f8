"""What a run costs, by formulas: its operations, its base model's shape, its memory, and the speed of a machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from concept_icd.artifacts import read_json
from concept_icd.doctor.machine import Device
from concept_icd.errors import InputError
from concept_icd.llm.reference import HEAD_SIZE, resolve

#: Share of a card's peak that packed scoring and tuning of an 8B model are taken to reach: an assumption.
SHARE_OF_PEAK = 0.4
#: Share of a square matrix product's speed that they reach. CPU: 0.81 to 0.91 in the committed benchmarks (packed
#: scoring and packed tuning, 2 threads) against 203 GFLOP/s of the probe on the same machine. GPU: an assumption, as
#: none was at hand; the peak share above with a product at 80 % of the peak.
SHARE_OF_PROBE = {"cpu": 0.8, "cuda": 0.5}
#: Packed scoring takes this much longer than one plain forward pass over as many tokens, in the worse of the two
#: benchmarked cases (benchmarks/results/packed_scoring.json).
PACKED_OVER_PLAIN = 1.055


@dataclass(frozen=True)
class Speed:
    """Operations a second that a run gets, and where the number comes from."""

    flops: float
    source: str


@dataclass(frozen=True)
class Card:
    """A GPU by its data sheet: dense bfloat16 peak with float32 sums (FLOP/s), and memory (bytes)."""

    title: str
    peak: float
    memory: float

    @property
    def speed(self) -> Speed:
        """The stated share of the peak."""
        source = f"{SHARE_OF_PEAK:.0%} of {self.title}'s peak of {self.peak / 1e12:.0f} TFLOP/s"
        return Speed(SHARE_OF_PEAK * self.peak, source)


#: From NVIDIA's data sheets, without sparsity.
CARDS = {
    "a100": Card("A100 80 GB", 312e12, 80e9),
    "h100": Card("H100 80 GB", 989e12, 80e9),
    "rtx4090": Card("RTX 4090 24 GB", 165e12, 24e9),
}


def measured_speed(device: Device, seconds: float = 2.0) -> Speed:
    """The stated share of a square matrix product, timed for about `seconds` in the device's dtype."""
    product = probe(device, seconds)
    share = SHARE_OF_PROBE[device.kind]
    source = f"{share:.0%} of {product / 1e12:.3g} TFLOP/s, a matrix product in {device.dtype} measured now"
    return Speed(share * product, source)


def probe(device: Device, seconds: float) -> float:
    """Operations a second of square matrix products: 2 n^3 each."""
    size = 1024 if device.kind == "cpu" else 8192
    left: Any
    try:
        import torch

        left = torch.rand((size, size), device=device.kind).to(getattr(torch, device.dtype))
    except ModuleNotFoundError:  # without torch, NumPy tells the speed of a CPU about as well
        left = np.random.default_rng(0).random((size, size), dtype=np.float32)

    def wait() -> None:
        if device.kind == "cuda":
            torch.cuda.synchronize()

    for _ in range(3):
        left @ left
    wait()
    start, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds:
        left @ left
        wait()
        count += 1
    return 2 * size**3 * count / passed


# How many floating-point operations a run takes: formulas, no measurements.
#
# A multiplication with P weights is 2 P operations a token (one product, one sum). Attention of one token over c others
# is 4 c d operations a layer: 2 c d for the products q.k and 2 c d for the sum over the values, d = heads x head size.
# Embeddings are looked up and the LM head is read at the ends of questions only, so neither counts.

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


def head_flops(shape: ModelShape, note_tokens: float, concepts: float) -> float:
    """A concept head's forward pass: keys and values of each token, and one head of attention for each concept."""
    size = min(HEAD_SIZE, shape.hidden)
    return note_tokens * (4 * shape.hidden * size + 4 * size * concepts)


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


# The shape of a base model, from its config.json where it lies on this machine, else from a small table.
#
# It never asks a model hub.


@dataclass(frozen=True)
class ModelShape:
    """A decoder of the Llama family (grouped heads, gated MLP), as its config.json says it.

    Attributes:
        positions: the longest prompt in tokens. source: where the numbers come from, in words.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    positions: int
    tied: bool
    source: str

    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """Name -> (inputs, outputs) of the linear maps of one layer."""
        attention, grouped = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, attention),
            "k_proj": (self.hidden, grouped),
            "v_proj": (self.hidden, grouped),
            "o_proj": (attention, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Parameters of the linear maps of all layers: what every token is multiplied with."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear_layers().values())

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the token embedding and, where it is not the same, of the LM head."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All parameters but the norms."""
        return self.linear_parameters + self.embedding_parameters


#: Models that the shipped configs name, or that CEC tried, from their published config.json.
KNOWN = {
    "meta-llama/Meta-Llama-3-8B": ModelShape(32, 4096, 14336, 32, 8, 128, 128256, 8192, False, "published size"),
    "smollm2-135m": ModelShape(30, 576, 1536, 9, 3, 64, 49152, 8192, True, "published size"),
    "BioMistral/BioMistral-7B": ModelShape(32, 4096, 14336, 32, 8, 128, 32000, 32768, False, "published size"),
}
#: The shape that a bare number of parameters is scaled from.
_PATTERN = KNOWN["meta-llama/Meta-Llama-3-8B"]


def shape_of(model: str, parameters: float | None = None) -> ModelShape:
    """The shape of a base model.

    Args:
        model: "tiny", a folder or a hub name. parameters: where given, wins: Llama 3 8B scaled in depth and width.

    Raises:
        InputError: the model is not on this machine, and its size is not known.
    """
    if parameters is not None:
        return _scaled(parameters)
    if folder := local_folder(model):
        return _from_config(read_json(folder / "config.json"), str(folder))
    if model in KNOWN:
        return KNOWN[model]
    first = f"make it ready first (python -m concept_icd.llm {model}), or " if Path(model).is_file() else ""
    raise InputError(f"the size of {model!r} is not known on this machine: {first}give --parameters, such as 7e9")


def local_folder(model: str) -> Path | None:
    """The folder of a model on this machine (a path, shipped or prepared, or in the hub's cache), or None."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    folder = Path(resolve(model, fetch=False))
    if (folder / "config.json").is_file():
        return folder
    try:
        cached = try_to_load_from_cache(model, "config.json")
    except HFValidationError:  # a path that is not there is no hub name either
        return None
    return Path(cached).parent if isinstance(cached, str) else None


def has_weights(folder: Path) -> bool:
    """Whether the weights lie beside the config: a cache may hold the config alone."""
    return any(folder.glob("*.safetensors"))


def _from_config(config: dict[str, Any], folder: str) -> ModelShape:
    text = config.get("text_config", config)
    try:
        heads, hidden = text["num_attention_heads"], text["hidden_size"]
        return ModelShape(
            layers=text["num_hidden_layers"],
            hidden=hidden,
            intermediate=text["intermediate_size"],
            heads=heads,
            kv_heads=text.get("num_key_value_heads") or heads,
            head_dim=text.get("head_dim") or hidden // heads,
            vocabulary=text["vocab_size"],
            positions=text["max_position_embeddings"],
            tied=bool(text.get("tie_word_embeddings", False)),
            source="config.json",
        )
    except KeyError as error:
        raise InputError(f"{folder}/config.json does not say {error}: give --parameters, such as 7e9") from error


def _scaled(parameters: float) -> ModelShape:
    """Depth and width grow with the cube root of the size, so that depth x width^2 grows with it."""
    if parameters < 1e5:
        raise InputError(f"--parameters is a count such as 7e9, not {parameters:g}")
    factor = (parameters / _PATTERN.parameters) ** (1 / 3)
    heads = max(1, round(_PATTERN.heads * factor))
    return ModelShape(
        layers=max(1, round(_PATTERN.layers * factor)),
        hidden=round(_PATTERN.hidden * factor),
        intermediate=round(_PATTERN.intermediate * factor),
        heads=heads,
        kv_heads=max(1, heads // 4),
        head_dim=_PATTERN.head_dim,
        vocabulary=round(_PATTERN.vocabulary * factor),
        positions=_PATTERN.positions,
        tied=False,
        source=f"Llama 3 8B scaled to {parameters:.2g} parameters",
    )


# How much memory of the device tuning and scoring take: formulas, no measurements.

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
