"""Label attention in blocks is the plain form: two convolutions, softmax over tokens, and one product a label."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv1d

from concept_icd.baselines.ltr_icd.label_attention import LabelAttention, attend


def naive(block: LabelAttention, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The formula of the module, with torch's own convolutions and all tokens x labels in memory."""
    first, kernel = block.first, block.kernel_size
    second = block.second.view(-1, kernel, len(first)).transpose(1, 2)
    rows = []
    for states, real in zip(hidden, mask, strict=True):  # each note alone, without its padding
        states = states[real]
        inner = torch.tanh(conv1d(states.T[None], first, padding=kernel // 2))
        attention = conv1d(inner, second, padding=kernel // 2)[0].softmax(dim=-1)  # (labels, tokens)
        rows.append(((attention @ states) * block.weight).sum(dim=1) + block.bias)
    return torch.stack(rows)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("block", [1, 60, 2**22], ids=["label by label", "some labels", "all at once"])
def test_logits_and_gradients_are_those_of_the_plain_form(kernel: int, block: int) -> None:
    torch.manual_seed(0)
    attention = LabelAttention(width=12, labels=17, channels=6, kernel_size=kernel)
    torch.nn.init.normal_(attention.bias)
    mask = torch.arange(9)[None] < torch.tensor([[9], [4], [1]])
    weights = torch.randn(3, 17)
    found = []
    for way in (lambda h: attention(h, mask, block), lambda h: naive(attention, h, mask)):
        hidden = torch.randn(3, 9, 12, generator=torch.Generator().manual_seed(1)).requires_grad_()
        attention.zero_grad()
        logits = way(hidden)
        (logits * weights).sum().backward()
        found.append([logits, hidden.grad, *(p.grad.clone() for p in attention.parameters())])
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-4)
    assert found[0][1][mask].abs().min() > 0  # every token had a gradient to compare


def test_gradients_are_the_derivatives() -> None:
    torch.manual_seed(0)
    shapes = [(2, 5, 3), (2, 5, 4), (6, 3), (6, 4)]
    inputs = tuple(torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    assert torch.autograd.gradcheck(lambda *x: attend(*x, mask, block=20), inputs)


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    attention = LabelAttention(8, 5, 4, 3)
    hidden = torch.randn(1, 6, 8)
    alone = attention(hidden, torch.ones(1, 6, dtype=torch.bool))
    padded = torch.cat([hidden, torch.full((1, 7, 8), 9.0)], dim=1)
    mask = torch.arange(13)[None] < 6
    torch.testing.assert_close(attention(padded, mask), alone)


def test_half_precision_is_near() -> None:
    torch.manual_seed(0)
    attention = LabelAttention(32, 20, 16, 3)
    hidden, mask = torch.randn(2, 30, 32), torch.ones(2, 30, dtype=torch.bool)
    full = attention(hidden, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = attention(hidden, mask)
    half.sum().backward()
    assert half.dtype == torch.float32
    assert attention.first.grad.dtype == torch.float32
    torch.testing.assert_close(half, full, atol=0.05, rtol=0.05)
    assert (half - full).abs().max() > 0
