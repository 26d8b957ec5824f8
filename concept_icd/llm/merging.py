"""A base model with an adapter folded into its weights, as an ordinary Hugging Face folder.

For engines that serve a plain model faster, or alone: vLLM's kernels for LoRA are slow on a CPU, and a model is merged
before it is quantised where the engine has no LoRA for quantised layers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from concept_icd.errors import InputError
from concept_icd.llm.base_model import INERT, load_tokenizer, with_adapter
from concept_icd.llm.reference import require_safetensors, resolve


def merge_adapter(model: str | Path, adapter: str | Path, folder: str | Path) -> None:
    """Writes base and adapter as one model, in float32; the adapter's learned question tokens stay with the adapter.

    Args:
        model: "tiny", a folder or a hub name; not quantised. folder: is made, or filled.

    Raises:
        InputError: model or adapter is missing, one does not fit the other, or the model is quantised.
    """
    import torch
    import transformers

    require_safetensors(model)
    tokenizer, _ = load_tokenizer(model)
    options: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True, **INERT}
    base = transformers.AutoModelForCausalLM.from_pretrained(resolve(model), **options)
    if getattr(base.config, "quantization_config", None) is not None:
        raise InputError(f"{model} is quantised: merge the adapter into the base as it was, then quantise")
    with_adapter(base, model, adapter).merge_and_unload().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
