"""A base model with an adapter folded into its weights, as an ordinary Hugging Face folder.

For engines that serve a plain model faster, or alone: vLLM's kernels for LoRA are slow on a CPU, and a model is merged
before it is quantised where the engine has no LoRA for quantised layers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from concept_icd.errors import InputError
from concept_icd.llm.base_model import INERT, UNREADABLE, bar_on_terminal, load_tokenizer, with_adapter
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
    config = transformers.AutoConfig.from_pretrained(resolve(model), **INERT)
    if getattr(config, "quantization_config", None) is not None:
        raise InputError(f"{model} is quantised: merge the adapter into the base as it was, then quantise")
    options: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True, **INERT}
    try:
        with bar_on_terminal(resolve(model)):
            base = transformers.AutoModelForCausalLM.from_pretrained(resolve(model), **options)
    except UNREADABLE as error:
        raise InputError(f"cannot load the base model {str(model)!r}: {type(error).__name__}") from error
    with_adapter(base, model, adapter).merge_and_unload().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
