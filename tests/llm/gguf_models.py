"""Small models as GGUF files, written by the gguf library as llama.cpp's converter writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

#: Parts of a layer of Llama -> their names in a GGUF file.
_PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTSIDE = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm", "lm_head.weight": "output"}


def write_llama(model: Path, file: Path, **fields: Any) -> dict[str, np.ndarray]:
    """Writes a Llama folder as GGUF, its matrices in Q4_1; returns what its weights then are.

    Args:
        fields: further settings; of "tokenizer.ggml.pre" another value takes the place of the usual one.
    """
    config = json.loads((model / "config.json").read_text())
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_name("a small random model")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    if json.loads((model / "tokenizer.json").read_text())["model"]["byte_fallback"]:
        add_sentencepiece(writer, model)
    else:
        add_byte_level(writer, model, fields.pop("tokenizer.ggml.pre", "smollm"))
    add_fields(writer, fields)
    weights = {}
    for name, values in load_file(model / "model.safetensors").items():
        parts = name.split(".")
        short = _OUTSIDE[name] if name in _OUTSIDE else f"blk.{parts[2]}.{_PARTS['.'.join(parts[3:-1])]}"
        heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}.get(parts[-2])
        if values.ndim == 1:
            writer.add_tensor(f"{short}.weight", values)
            weights[name] = values
            continue
        kind = gguf.GGMLQuantizationType.Q4_1
        stored = gguf.quantize(values if heads is None else turned(values, heads), kind)
        writer.add_tensor(f"{short}.weight", stored, raw_dtype=kind)
        rounded = gguf.dequantize(stored, kind)
        weights[name] = rounded if heads is None else turned(rounded, heads, back=True)
    close(writer)
    return weights


def turned(values: np.ndarray, heads: int, *, back: bool = False) -> np.ndarray:
    """llama.cpp turns neighbouring pairs of a head where transformers turns its halves: rows change places."""
    sizes = (heads, -1, 2) if back else (heads, 2, values.shape[0] // heads // 2)
    return values.reshape(*sizes, values.shape[1]).swapaxes(1, 2).reshape(values.shape)


def add_byte_level(writer: gguf.GGUFWriter, model: Path, pre: str) -> None:
    """The byte-level BPE tokenizer of a folder."""
    found = json.loads((model / "tokenizer.json").read_text())
    vocabulary = sorted(found["model"]["vocab"], key=found["model"]["vocab"].get)
    special = {token["content"] for token in found["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if token in special else 1 for token in vocabulary])
    writer.add_token_merges([" ".join(merge) for merge in found["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)


def add_sentencepiece(writer: gguf.GGUFWriter, model: Path) -> None:
    """A tokenizer like Llama 2's: pieces with scores, from which merges follow, and bytes for all else."""
    found = json.loads((model / "tokenizer.json").read_text())
    vocabulary = sorted(found["model"]["vocab"], key=found["model"]["vocab"].get)
    kinds = [2, 3, 3, *(6 if piece.startswith("<0x") else 1 for piece in vocabulary[3:])]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary)
    writer.add_token_scores([-float(number) for number in range(len(vocabulary))])
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def add_fields(writer: gguf.GGUFWriter, fields: dict[str, Any]) -> None:
    add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    for name, value in fields.items():
        if isinstance(value, list):
            writer.add_array(name, value)
        else:
            add[type(value)](name, value)


def write_header(model: Path, file: Path, kind: str, **fields: Any) -> Path:
    """A file of another kind that holds its settings, a tokenizer and one matrix: enough to be refused."""
    writer = gguf.GGUFWriter(str(file), kind)
    add_byte_level(writer, model, "gpt-2")
    add_fields(writer, {f"{kind}.{name}": value for name, value in fields.items()})
    writer.add_tensor("token_embd.weight", np.zeros((400, 64), dtype=np.float32))
    close(writer)
    return file


def close(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
