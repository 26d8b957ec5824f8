"""The tiny decoder and its tokenizer, before any training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

#: Positions that the model is made for; rotary, so they cost no weights.
MAX_LENGTH = 4096


def train_tokenizer(texts: Iterable[str], size: int) -> Any:
    """A lower-casing byte-level BPE with `size` tokens or fewer, as a `PreTrainedTokenizerFast`.

    Lower case is a third less vocabulary for a small model, and clinical notes shout at random. A word is the same
    token at the start of a line or after a hyphen as elsewhere: it always has its blank. Digits stand alone.
    Answers (" yes", " no") are common in the training text, so that each becomes one token.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    spaces = [normalizers.Replace(mark, f"{mark} ") for mark in ("\n", "(", "[", "/", "-")]
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_with_answers(texts), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def _with_answers(texts: Iterable[str]) -> Iterator[str]:
    yield from texts
    yield from ("is it documented? yes\nis it documented? no\n",) * 2000


def new_model(tokenizer: Any, seed: int, *, layers: int, hidden: int, heads: int, mlp: int) -> Any:
    """A Llama-style decoder with random weights that follow from `seed`.

    Queries start equal to keys, so that a token looks for itself ("mimetic initialisation", Trockman and Kolter 2023):
    finding a question's words again in the note is then learnt in half the steps. The slow rotary base serves the same
    end: what is far away still matches.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="sdpa",
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            attention = layer.self_attn
            attention.q_proj.weight.normal_(0, 0.075)
            attention.k_proj.weight.copy_(attention.q_proj.weight)
    return model
