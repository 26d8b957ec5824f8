"""A small decoder of the Llama family in NumPy: what the shipped coder runs on, without a training library's start.

Importing torch and transformers takes several seconds, a note of the tiny model some hundredths of one. This is the
same arithmetic in float32 as theirs (RMSNorm, rotary positions, grouped attention, SwiGLU; Touvron et al. 2023,
"LLaMA: Open and Efficient Foundation Language Models"), with LoRA's matrices added to the weights on loading.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from concept_icd.model_reference import ADAPTER_FILES

#: Bytes of weights beyond which torch is worth its start.
MOST_BYTES = 2**26
#: Rows of queries that attend at a time, which bounds the memory of a long note.
QUERIES = 512
#: Settings of a model that change its arithmetic, with the one value that is known here.
_PLAIN = {
    "model_type": "llama",
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
}
#: The same of an adapter; what is not there is off.
_PLAIN_LORA = {
    "peft_type": "LORA",
    "bias": "none",
    "use_dora": False,
    "use_rslora": False,
    "fan_in_fan_out": False,
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "alora_invocation_tokens": None,
    "init_lora_weights": True,  # some of the others change the base model's weights
}


@dataclass(frozen=True, eq=False)
class SmallLlama:
    """The weights, float32, by their names in the file; matrices are (out, in).

    Attributes:
        heads, groups: of the queries, and of keys and values. frequencies: of the rotary positions, (head size / 2,).
        window: positions that there are.
    """

    weights: dict[str, np.ndarray]
    layers: int
    heads: int
    groups: int
    epsilon: float
    frequencies: np.ndarray
    window: int

    @classmethod
    def load(cls, folder: str | Path, adapter: str | Path | None = None) -> SmallLlama | None:
        """Reads a model folder and a LoRA adapter on it; None where it is no small model of this kind, as it stands."""
        folder = Path(folder)
        weights = folder / "model.safetensors"
        config = read_settings(folder / "config.json")
        rope = config.get("rope_parameters") or {}
        plain = all(config.get(name) == value for name, value in _PLAIN.items()) and rope.get("rope_type") == "default"
        if not plain or not weights.is_file() or weights.stat().st_size > MOST_BYTES:
            return None
        try:
            tensors = {name: tensor.astype(np.float32) for name, tensor in load_file(weights).items()}
            if adapter is not None and not _add_adapter(tensors, Path(adapter)):
                return None
            heads = config["num_attention_heads"]
            size = config.get("head_dim") or config["hidden_size"] // heads
            frequencies = rope["rope_theta"] ** (-np.arange(0, size, 2) / size)
            return cls(
                tensors,
                config["num_hidden_layers"],
                heads,
                config["num_key_value_heads"],
                config["rms_norm_eps"],
                frequencies.astype(np.float32),
                config["max_position_embeddings"],
            )
        except (SafetensorError, KeyError, TypeError, OSError):  # bfloat16, or damaged, which the full loader can say
            return None

    @property
    def embedding(self) -> np.ndarray:
        """(vocabulary, hidden size)."""
        return self.weights["model.embed_tokens.weight"]

    @property
    def head(self) -> np.ndarray:
        """Of the LM, (vocabulary, hidden size); that of a file without one is tied to the embedding."""
        return self.weights.get("lm_head.weight", self.embedding)

    def hidden(self, inputs: np.ndarray, segments: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """The last hidden states of one packed sequence, under the rule of `scoring.packing`.

        Args:
            inputs: (tokens, hidden size), embedded. segments, positions: (tokens,) integers.

        Returns:
            float32 (tokens, hidden size), normalised, as the LM head takes them.
        """
        angles = positions[:, None].astype(np.float32) * self.frequencies
        cosine, sine = np.cos(angles), np.sin(angles)
        x = inputs
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            normal = self._normal(x, prefix + "input_layernorm.weight")
            x = x + self._attention(normal, prefix + "self_attn.", cosine, sine, segments, positions)
            normal = self._normal(x, prefix + "post_attention_layernorm.weight")
            gate = normal @ self.weights[prefix + "mlp.gate_proj.weight"].T
            gate /= 1 + np.exp(-gate)
            gate *= normal @ self.weights[prefix + "mlp.up_proj.weight"].T
            x = x + gate @ self.weights[prefix + "mlp.down_proj.weight"].T
        return self._normal(x, "model.norm.weight")

    def _normal(self, x: np.ndarray, name: str) -> np.ndarray:
        mean_square = np.mean(x * x, axis=-1, keepdims=True)
        normal: np.ndarray = x / np.sqrt(mean_square + np.float32(self.epsilon)) * self.weights[name]
        return normal

    def _attention(
        self,
        x: np.ndarray,
        prefix: str,
        cosine: np.ndarray,
        sine: np.ndarray,
        segments: np.ndarray,
        positions: np.ndarray,
    ) -> np.ndarray:
        def heads_of(name: str, count: int) -> np.ndarray:
            """(count, tokens, head size)."""
            return (x @ self.weights[f"{prefix}{name}.weight"].T).reshape(len(x), count, -1).swapaxes(0, 1)

        query = _rotated(heads_of("q_proj", self.heads), cosine, sine)
        key = _rotated(heads_of("k_proj", self.groups), cosine, sine)
        value = heads_of("v_proj", self.groups)
        repeat = self.heads // self.groups
        key, value = (part.repeat(repeat, axis=0) for part in (key, value))
        query = query / np.float32(np.sqrt(query.shape[-1]))
        found = np.empty_like(query)
        for start in range(0, len(x), QUERIES):
            rows = slice(start, start + QUERIES)
            sees = (segments[rows, None] == segments) | (segments == 0)
            sees &= positions <= positions[rows, None]
            scores = np.where(sees, query[:, rows] @ key.swapaxes(1, 2), np.float32(-np.inf))
            np.exp(scores - scores.max(axis=-1, keepdims=True), out=scores)
            found[:, rows] = scores @ value / scores.sum(axis=-1, keepdims=True)
        mixed: np.ndarray = found.swapaxes(0, 1).reshape(len(x), -1) @ self.weights[prefix + "o_proj.weight"].T
        return mixed


def _rotated(x: np.ndarray, cosine: np.ndarray, sine: np.ndarray) -> np.ndarray:
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def _add_adapter(weights: dict[str, np.ndarray], folder: Path) -> bool:
    """Adds a plain LoRA adapter to the weights, in place; False where it is not plain, or of another model."""
    config = read_settings(folder / ADAPTER_FILES[0])
    if any((config.get(name) or value) != value for name, value in _PLAIN_LORA.items()):
        return False
    tensors = load_file(folder / ADAPTER_FILES[1])
    scale = np.float32(config["lora_alpha"] / config["r"])
    for name in [name for name in tensors if name.endswith(".lora_A.weight")]:
        place = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight") + ".weight"
        down, up = tensors.pop(name), tensors.pop(name.replace(".lora_A.", ".lora_B."), None)
        if (
            up is None
            or place not in weights
            or ".layers." not in place
            or weights[place].shape != (len(up), down.shape[1])
        ):
            return False
        weights[place] += scale * (up.astype(np.float32) @ down.astype(np.float32))
    return not tensors


def read_settings(path: Path) -> dict[str, Any]:
    """The content of a file, or nothing where it cannot be read: what is wrong with it is for the full loader."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
