"""The tiny decoder, its tokenizer and its optimisers."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from concept_icd.outputs import new_folder

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


class Float32Muon(torch.optim.Muon):
    """Muon whose Newton-Schulz iteration runs in float32, on all matrices of a size at once.

    PyTorch's own iterates in bfloat16. Processors without instructions for it emulate these products, which took two
    thirds of a step of the tiny model.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Updates every matrix that has a gradient; a closure is not called."""
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[torch.nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[tuple(parameter.shape)].append(parameter)
            for parameters in alike.values():
                self._step_together(group, parameters)

    def _step_together(self, group: dict[str, Any], parameters: list[torch.nn.Parameter]) -> None:
        updates = []
        for parameter in parameters:
            gradient: Any = parameter.grad
            buffer = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
            buffer.lerp_(gradient, 1 - group["momentum"])
            updates.append(gradient.lerp(buffer, group["momentum"]) if group["nesterov"] else buffer)
        rows, columns = parameters[0].shape
        rate = group["lr"] * 0.2 * math.sqrt(max(rows, columns))  # match_rms_adamw
        for parameter, update in zip(parameters, orthogonal(torch.stack(updates), group), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=rate)


def orthogonal(matrices: torch.Tensor, group: Mapping[str, Any]) -> torch.Tensor:
    """(n, rows, columns): the nearest orthogonal matrix of each, nearly, by Newton-Schulz iteration."""
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonal(matrices.mT, group).mT
    a, b, c = group["ns_coefficients"]
    matrices = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = matrices @ matrices.mT
        matrices = torch.baddbmm(matrices, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), matrices, beta=a)
    return matrices


def new_optimizers(model: Any, learning_rate: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan 2024) for the matrices inside the layers, AdamW for the embedding and the norms.

    In a trial on lists of random words, finding a word again was learnt with Muon in half the steps of AdamW alone.
    """
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if ".layers." in name and parameter.ndim == 2 else others).append(parameter)
    return [
        torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=weight_decay),
        Float32Muon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
    ]


def save_model(folder: str | Path, model: Any, tokenizer: Any) -> None:
    """The finished model as a loadable folder, weights in float16 (loaders ask for float32)."""
    with new_folder(folder, "model", overwrite=True) as staging:
        half = model.__class__(model.config).to(torch.float16)
        half.load_state_dict(model.state_dict())
        half.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
