"""Whether vLLM can serve a LoRA adapter on a base model as PEFT would, found out before an engine is started.

vLLM copies an adapter's matrices into larger buffers, where those of another base may fit by accident, and it drops
what it does not know of the LM head; hence the checks here. They read headers and a skeleton without weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from concept_icd.errors import InputError
from concept_icd.model_reference import ADAPTER_FILES, require_plain_adapter, resolve
from concept_icd.question_tokens import QuestionTokens

#: What vLLM allows as the largest rank of an engine's adapters.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
_PREFIX = "base_model.model."


def lora_options(model: str | Path, adapter: str | Path) -> dict[str, Any]:
    """Options of an engine that serves a LoRA adapter: its rank, rounded up to one that vLLM knows, and its layers.

    Layers that are not tuned are spared the work; and vLLM's LoRA on the input embedding cannot cope with learned
    question tokens.

    Raises:
        InputError: no adapter, one of another base model, or one that vLLM cannot serve as PEFT would.
    """
    adapter = Path(adapter)
    require_plain_adapter(adapter)
    try:
        with safe_open(adapter / ADAPTER_FILES[1], framework="pt") as content:
            shapes = {name: tuple(content.get_slice(name).get_shape()) for name in content.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{adapter / ADAPTER_FILES[1]} is damaged: tune the adapter again") from error
    if any("lm_head" in name for name in shapes):
        raise InputError(f"the adapter {adapter} tunes the LM head, which scorers do not share; tune other modules")
    layers = _sizes(model)
    for name, shape in shapes.items():
        place, _, matrix = name.removeprefix(_PREFIX).rpartition(".lora_")
        if matrix not in ("A.weight", "B.weight") or len(shape) != 2:
            raise InputError(f"the adapter {adapter} has {name}, which vLLM does not serve; use the packed scorer")
        inward = matrix == "A.weight"
        if place not in layers or shape[1 if inward else 0] != layers[place][0 if inward else 1]:
            raise InputError(
                f"the adapter {adapter} does not fit the base model {str(model)!r}: {place} is not there, or has "
                "another size"
            )
    rank = max((shape[0] for name, shape in shapes.items() if name.endswith("A.weight")), default=1)
    if rank > _RANKS[-1]:
        raise InputError(f"the adapter {adapter} has rank {rank}; vLLM serves ranks up to {_RANKS[-1]}")
    return {
        "enable_lora": True,
        "max_loras": 1,
        "max_lora_rank": next(known for known in _RANKS if known >= rank),
        "lora_target_modules": sorted({name.rpartition(".lora_")[0].rpartition(".")[2] for name in shapes}),
    }


def embedding_rows(model: str | Path, questions: QuestionTokens) -> int:
    """Rows of the base model's input embedding; learned question tokens have the ids from there on.

    Raises:
        InputError: they have another hidden size.
    """
    words = _skeleton(model).get_input_embeddings()
    if questions.values.shape[2] != words.embedding_dim:
        raise InputError(
            f"the learned question tokens have {questions.values.shape[2]} dimensions, the base model "
            f"{words.embedding_dim}: name the base model that they were tuned with"
        )
    return int(words.num_embeddings)


def _sizes(model: str | Path) -> dict[str, tuple[int, int]]:
    """Name of a linear layer of the base model -> its sizes (in, out)."""
    return {
        name: (layer.in_features, layer.out_features)
        for name, layer in _skeleton(model).named_modules()
        if isinstance(layer, torch.nn.Linear)
    }


def _skeleton(model: str | Path) -> Any:
    """The base model without weights."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(resolve(model), trust_remote_code=False)
    config.quantization_config = None  # sizes are wanted, not weights
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)
