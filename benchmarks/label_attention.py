"""Label attention in blocks against the plain form: peak memory and time of a step at MIMIC-III-full's size.

    python benchmarks/label_attention.py --out benchmarks/results/label_attention.json

One note of 4,096 tokens, 8,922 labels, hidden states of width 768, kernel 3, 256 channels (the options' defaults),
float32; a step is forward and backward. The plain form is what one writes first: two convolutions, a softmax, two
products, with tokens x labels stored for the gradients. Peak: above inputs and weights, less their gradients, which
both ways leave behind; each way in a process of its own. Times: both ways take turns; medians.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from common import arguments, finish, median_ratio, parser_of, peak_bytes, take_turns
from torch.nn.functional import conv1d

from concept_icd.baselines.ltr_icd.label_attention import LabelAttention


def plain(block: LabelAttention, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The formula as it is written; without padding, so that the mask has nothing to do."""
    kernel = block.kernel_size
    second = block.second.view(len(block.bias), kernel, -1).transpose(1, 2)
    inner = torch.tanh(conv1d(hidden.transpose(1, 2), block.first, padding=kernel // 2))
    attention = conv1d(inner, second, padding=kernel // 2).softmax(dim=-1)  # (notes, labels, tokens)
    return ((attention @ hidden) * block.weight).sum(dim=-1) + block.bias


WAYS: dict[str, Callable[..., torch.Tensor]] = {"plain": plain, "blocks": lambda b, hidden, mask: b(hidden, mask)}


def build(labels: int, tokens: int, width: int, channels: int, kernel: int, seed: int) -> tuple[Any, ...]:
    torch.manual_seed(seed)
    block = LabelAttention(width, labels, channels, kernel)
    hidden = torch.randn(1, tokens, width, requires_grad=True)
    targets = (torch.rand(1, labels) < 0.002).float()
    return block, hidden, torch.ones(1, tokens, dtype=torch.bool), targets


def step(way: str, block: LabelAttention, hidden: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor) -> Any:
    for tensor in (hidden, *block.parameters()):
        tensor.grad = None
    logits = WAYS[way](block, hidden, mask)
    torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum").backward()
    return logits.detach()


def memory_of(way: str, *sizes: int) -> Callable[[], Any]:
    made = build(*sizes)
    return lambda: step(way, *made)


def gradients(way: str, made: tuple[Any, ...]) -> list[torch.Tensor]:
    """The logits and every gradient of one step."""
    block, hidden, _, _ = made
    return [step(way, *made), *(tensor.grad for tensor in (hidden, *block.parameters()))]


def main() -> None:
    defaults = {"labels": 8922, "tokens": 4096, "width": 768, "channels": 256, "kernel": 3}
    args = arguments(parser_of(__doc__, **defaults, rounds=3))
    sizes = {name: getattr(args, name) for name in defaults}
    made = build(*sizes.values(), args.seed)
    both = {way: gradients(way, made) for way in WAYS}  # also the warm-up
    gaps = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(both["blocks"], both["plain"], strict=True)]
    del both
    seconds = take_turns({way: partial(step, way, *made) for way in WAYS}, args.rounds)
    left = 4 * (made[1].numel() + sum(weight.numel() for weight in made[0].parameters()))
    del made
    peak = {way: peak_bytes(memory_of, way, *sizes.values(), args.seed) - left for way in WAYS}
    result = sizes | {
        "rounds": args.rounds,
        "tokens_times_labels_bytes": 4 * args.labels * args.tokens,
        "peak_bytes_above_weights_and_gradients": peak,
        "memory_ratio": round(peak["plain"] / peak["blocks"], 1),
        "seconds": {way: round(statistics.median(times), 2) for way, times in seconds.items()},
        "time_ratio": median_ratio(seconds["blocks"], seconds["plain"], 2),
        "largest_relative_gap": max(gaps),
    }
    finish(args, result)


if __name__ == "__main__":
    main()
