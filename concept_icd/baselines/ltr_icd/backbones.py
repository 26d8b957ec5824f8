"""Encoders and decoders of Hugging Face models, taken out of them; and the tiny T5 that is made on the spot.

Weights are read from safetensors alone, no remote code runs, and nothing is downloaded unless a name is a hub's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from concept_icd.baselines.ltr_icd.config import ModelOptions
from concept_icd.errors import InputError
from concept_icd.llm.base_model import INERT, UNREADABLE, bar_on_terminal
from concept_icd.llm.reference import require_safetensors, resolve

#: Model types whose decoder this is written for.
T5 = ("t5", "mt5")
#: Entries of a configuration that are none of the network's shape: code to fetch, or kernels of a hub.
_NOT_SHAPES = ("auto_map", "attn_implementation", "_attn_implementation", "quantization_config", "custom_pipelines")


def load_backbone(base: str, *, ranking: bool) -> tuple[Any, Any, dict[str, Any], Any]:
    """Encoder, decoder (None without ranking), the configuration as a dict, and the tokenizer of a checkpoint.

    Raises:
        InputError: it cannot be loaded, or has no T5 decoder where one is wanted.
    """
    import transformers

    try:
        require_safetensors(base)
        path = resolve(base)
        config = transformers.AutoConfig.from_pretrained(path, **INERT)
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, **INERT)
        if ranking and config.model_type not in T5:
            raise InputError(f"the base model {base!r} is a {config.model_type}, LTR-ICD needs a T5: name one, or set "
                             "ranking to false for PLM-ICD's classifier")  # fmt: skip
        kind = _model_class(config.model_type)
        with bar_on_terminal(path):
            model = kind.from_pretrained(path, use_safetensors=True, dtype="float32", **INERT)
    except UNREADABLE as error:
        reason = " ".join(str(error).split()).split(". ")[0][:300].rstrip(".")
        raise InputError(f"cannot load the base model {base!r} from safetensors: {reason}") from error
    return *_parts(model, ranking), config.to_dict(), tokenizer


def random_backbone(config: Mapping[str, Any], *, ranking: bool) -> tuple[Any, Any]:
    """Encoder and decoder (None without ranking) of a configuration, with random weights."""
    import transformers

    rest = {name: value for name, value in config.items() if name not in ("model_type", *_NOT_SHAPES)}
    backbone = transformers.AutoConfig.for_model(config["model_type"], **rest)
    kind = _model_class(backbone.model_type)
    auto = kind in (transformers.AutoModel,)
    return _parts(kind.from_config(backbone) if auto else kind(backbone), ranking)


def make_tiny(folder: Path, texts: Iterable[str], options: ModelOptions) -> None:
    """Writes a small random T5 and a lower-casing byte-level tokenizer trained on `texts`, as users' models are."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=options.tiny_vocabulary,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")
    fast.save_pretrained(folder)
    config = transformers.T5Config(
        vocab_size=tokenizer.get_vocab_size(),
        d_model=options.tiny_width,
        d_kv=32,
        d_ff=2 * options.tiny_width,
        num_layers=options.tiny_layers,
        num_heads=max(1, options.tiny_width // 32),
        dropout_rate=options.dropout,
        decoder_start_token_id=0,
    )
    with bar_on_terminal(str(folder)):
        transformers.T5ForConditionalGeneration(config).save_pretrained(folder)


def _model_class(model_type: str) -> Any:
    import transformers

    known = {"t5": transformers.T5ForConditionalGeneration, "mt5": transformers.MT5ForConditionalGeneration}
    return known.get(model_type, transformers.AutoModel)


def _parts(model: Any, ranking: bool) -> tuple[Any, Any]:
    """The encoder and, for ranking, the decoder; a pooler, which nothing would train, is taken out."""
    if model.config.model_type in T5:
        return model.encoder, model.decoder if ranking else None
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model, None
