r"""Label attention: every label looks at the tokens of a note with weights of its own.

    A = softmax over tokens of conv_W2(tanh(conv_W1(H))),   V = A^T H,   logit_l = w_l . V_l + b_l

with H (tokens, d), W1 (k, d, c), W2 (k, c, L). Since logit_l = sum_n A_nl (h_n . w_l) + b_l, no label depends on
another: `attend` takes some labels at a time, keeps one number a label (the log of the softmax's sum), and computes the
weights again for the gradients. So tokens x labels is never in memory, and results are those of the plain form.
With k = 1 this is the label attention of LAAT and PLM-ICD.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

#: Numbers in one block of (notes, tokens, labels): 4 MB in float32, which stays in a CPU's cache; a GPU likes more.
CPU_BLOCK, GPU_BLOCK = 2**20, 2**24


class LabelAttention(nn.Module):
    """Logits of `labels` labels from hidden states of width `width`.

    Args:
        channels: c, between the convolutions. kernel_size: k, odd: tokens that a convolution sees at once.
    """

    def __init__(self, width: int, labels: int, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(channels, width, kernel_size) / (kernel_size * width) ** 0.5)
        self.second = nn.Parameter(torch.randn(labels, kernel_size * channels) / (kernel_size * channels) ** 0.5)
        self.weight = nn.Parameter(torch.randn(labels, width) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(labels))
        self.kernel_size = kernel_size

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor, block: int | None = None) -> torch.Tensor:
        """Logits, (notes, labels), float32 or wider.

        Args:
            hidden: (notes, tokens, width). mask: bool (notes, tokens), True where there is a token.
            block: most numbers of (notes, tokens, labels) at a time; by default what suits the device.
        """
        device = hidden.device.type
        if torch.is_autocast_enabled(device):
            hidden = hidden.to(torch.get_autocast_dtype(device))
        weights = (weight.to(hidden.dtype) for weight in (self.first, self.second, self.weight))
        first, second, weight = weights
        # Without padding that counts: what lies beyond a note's end is 0 for both convolutions, in any batch.
        hidden = hidden * mask[..., None]
        inner = nn.functional.conv1d(hidden.transpose(1, 2), first, padding=self.kernel_size // 2)
        keys = torch.tanh(inner.transpose(1, 2)) * mask[..., None]
        return attend(neighbours(keys, self.kernel_size), hidden, second, weight, mask, block) + self.bias


def neighbours(states: torch.Tensor, kernel_size: int) -> torch.Tensor:
    """Each token's state beside those around it, (notes, tokens, kernel_size x width): a convolution is then a product.

    Beyond the ends stand zeros.
    """
    if kernel_size == 1:
        return states
    reach, tokens = kernel_size // 2, states.shape[1]
    padded = nn.functional.pad(states, (0, 0, reach, reach))
    return torch.cat([padded[:, shift : shift + tokens] for shift in range(kernel_size)], dim=-1)


def attend(
    keys: torch.Tensor,
    values: torch.Tensor,
    queries: torch.Tensor,
    weight: torch.Tensor,
    mask: torch.Tensor,
    block: int | None = None,
) -> torch.Tensor:
    """sum_n softmax_n(keys_n . queries_l) (values_n . weight_l), shape (notes, labels), in float32 or wider.

    Args:
        keys: (notes, tokens, q). values: (notes, tokens, d). queries: (labels, q). weight: (labels, d).
            All of one type.
        mask: bool (notes, tokens); every note has a token.
    """
    if block is None:
        block = CPU_BLOCK if keys.device.type == "cpu" else GPU_BLOCK
    labels = max(1, block // mask.numel())
    logits: torch.Tensor = _Attend.apply(keys, values, queries, weight, mask, labels)
    return logits


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        keys: torch.Tensor,
        values: torch.Tensor,
        queries: torch.Tensor,
        weight: torch.Tensor,
        mask: torch.Tensor,
        step: int,
    ) -> torch.Tensor:
        wide = torch.promote_types(keys.dtype, torch.float32)
        logits = keys.new_empty((len(keys), len(queries)), dtype=wide)
        sums = torch.empty_like(logits)
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            scores = _scores(keys, queries[part], mask, wide)
            sums[:, part] = scores.logsumexp(dim=1)
            attention = scores.sub_(sums[:, None, part]).exp_()
            logits[:, part] = attention.mul_(values @ weight[part].T).sum(dim=1)
        ctx.save_for_backward(keys, values, queries, weight, mask, logits, sums)
        ctx.step = step
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        keys, values, queries, weight, mask, logits, sums = ctx.saved_tensors
        narrow, wide = keys.dtype, logits.dtype
        to_keys, to_values = keys.new_zeros(keys.shape, dtype=wide), values.new_zeros(values.shape, dtype=wide)
        to_queries, to_weight = torch.empty_like(queries), torch.empty_like(weight)
        flat_keys, flat_values = keys.flatten(0, 1), values.flatten(0, 1)
        with torch.autocast(keys.device.type, enabled=False):
            for start in range(0, len(queries), ctx.step):
                part = slice(start, start + ctx.step)
                scores = _scores(keys, queries[part], mask, wide)
                attention = scores.sub_(sums[:, None, part]).exp_().mul_(gradient[:, None, part])
                spread = (values @ weight[part].T).to(wide).sub_(logits[:, None, part]).mul_(attention)
                # d logit / d (values . weight) = attention; d logit / d score = attention (values . weight - logit)
                flat, flat_spread = attention.flatten(0, 1).to(narrow), spread.flatten(0, 1).to(narrow)
                to_values.view(-1, values.shape[-1]).add_(flat @ weight[part])
                to_weight[part] = flat.T @ flat_values
                to_keys.view(-1, keys.shape[-1]).add_(flat_spread @ queries[part])
                to_queries[part] = flat_spread.T @ flat_keys
        return to_keys.to(narrow), to_values.to(narrow), to_queries, to_weight, None, None


def _scores(keys: torch.Tensor, queries: torch.Tensor, mask: torch.Tensor, wide: torch.dtype) -> torch.Tensor:
    scores = (keys @ queries.T).to(wide)
    return scores.masked_fill_(~mask[..., None], -torch.inf)
