"""A packed pass through a causal LM of transformers: who sees whom, and the answers alone.

transformers makes the masks of a model, one for each kind of layer that it has (full attention, sliding window,
chunks), from a function "query index, key index -> seen or not". In a packed pass the same function is asked about
positions in the plain prompt, not about places in the packed sequence, and the rule of `concept_icd.scoring.packing`
is laid on top. So every kind of layer sees of a question's prompt what it would see of the prompt alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn.functional import linear
from transformers.masking_utils import AttentionMaskInterface, eager_mask, flex_attention_mask, sdpa_mask

from concept_icd.scoring.packing import NOTE, visible

_PLACE: ContextVar[Layout | None] = ContextVar("layout", default=None)
_ANSWERS: ContextVar[tuple[int, ...] | None] = ContextVar("answers", default=None)


@dataclass(frozen=True)
class Layout:
    """The segment of every token and its position in the plain prompt, as `concept_icd.scoring.packing` has them.

    Attributes:
        query_segments, query_positions: (B, Q), of the tokens of the pass.
        key_segments, key_positions: (B, K), of these and of what stands in the cache before them.
    """

    query_segments: torch.Tensor
    query_positions: torch.Tensor
    key_segments: torch.Tensor
    key_positions: torch.Tensor

    @classmethod
    def of(cls, segments: torch.Tensor, positions: torch.Tensor) -> Layout:
        """Of a pass without a cache: (B, L) each."""
        return cls(segments, positions, segments, positions)


def packed_pass(model: Any, layout: Layout, **inputs: Any) -> Any:
    """The model's output for a packed pass; `inputs` are the tokens and what else its `forward` takes."""
    # Ones, although the layout has all that masks are made of: without a mask, transformers takes positions that
    # start again for prompts packed in its own way.
    ones = torch.ones_like(layout.key_positions)
    place = _PLACE.set(layout)
    try:
        return model(attention_mask=ones, position_ids=layout.query_positions, **inputs)
    finally:
        _PLACE.reset(place)


def narrow_head(model: Any) -> None:
    """Lets the LM head compute the logits of some tokens alone, where `answers` names them; otherwise as before.

    The rest of the model's `forward` (scaling, capping) is applied to them as to all others.

    Raises:
        AttributeError: the model has no LM head with weights.
    """
    head = model.get_output_embeddings()
    head.weight.shape  # noqa: B018 (an output embedding of another kind fails here)
    if not isinstance(getattr(head, "forward", None), partial):
        head.forward = partial(_logits, head, head.forward)


def packed_margins(model: Any, batch: Mapping[str, torch.Tensor], yes: int, no: int, count: int) -> torch.Tensor:
    """logit(yes) - logit(no), float32 (B, count), in the last columns of a batch of `pack_batch`; see `narrow_head`."""
    layout = Layout.of(batch["segments"], batch["positions"])
    with answers(yes, no):
        logits = packed_pass(model, layout, input_ids=batch["input_ids"], use_cache=False).logits[:, -count:]
    margins: torch.Tensor = logits[..., 0] - logits[..., 1]
    return margins


@contextmanager
def answers(*tokens: int) -> Iterator[None]:
    """Within it, a model with a narrowed head gives float32 logits (..., len(tokens)) of these tokens alone.

    In float32 whatever the model's dtype: of two bfloat16 logits near 14, the difference is a multiple of 1/16.
    """
    chosen = _ANSWERS.set(tokens)
    try:
        yield
    finally:
        _ANSWERS.reset(chosen)


def _logits(head: Any, whole: Callable[[torch.Tensor], torch.Tensor], hidden: torch.Tensor) -> torch.Tensor:
    if (tokens := _ANSWERS.get()) is None:
        return whole(hidden)
    chosen = torch.tensor(tokens, device=head.weight.device)
    bias = getattr(head, "bias", None)
    with torch.autocast(hidden.device.type, enabled=False):
        return linear(hidden.float(), head.weight[chosen].float(), None if bias is None else bias[chosen].float())


def _dense(standard: Callable[..., Any], *args: Any, **given: Any) -> Any:
    """The additive mask (B, 1, Q, K) of a packed pass, made once for all layers of a kind; outside of one, as usual."""
    if (layout := _PLACE.get()) is None:
        return standard(*args, **given)
    rows = torch.arange(len(layout.query_positions), device=layout.query_positions.device)[:, None, None, None]
    queries, keys = layout.query_positions[:, None, :, None], layout.key_positions[:, None, None, :]
    seen = visible(layout.query_segments, layout.query_positions, layout.key_segments, layout.key_positions)
    seen = seen & given["mask_function"](rows, torch.zeros_like(rows), queries, keys)
    dtype = given.get("dtype") or torch.get_default_dtype()
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)


def _blocks(standard: Callable[..., Any], *args: Any, **given: Any) -> Any:
    """The same for FlexAttention, whose kernel leaves out blocks that nobody sees: no (Q, K) tensor is made."""
    if (layout := _PLACE.get()) is None:
        return standard(*args, **given)
    own = given["mask_function"]

    def seen(row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        segment = layout.key_segments[row, key]
        before, after = layout.key_positions[row, key], layout.query_positions[row, query]
        mine = (segment == layout.query_segments[row, query]) | (segment == NOTE)
        return mine & (before <= after) & own(row, head, after, before)

    whole = {"attention_mask": None, "q_offset": 0, "kv_offset": 0}  # places in the layout are what counts
    return standard(*args, **{**given, **whole, "mask_function": seen})


# transformers' own door for masks of another making; nothing changes where no packed pass is under way.
for _name, _make, _standard in (
    ("sdpa", _dense, sdpa_mask),
    ("eager", _dense, eager_mask),
    ("flex_attention", _blocks, flex_attention_mask),
):
    AttentionMaskInterface.register(_name, partial(_make, _standard))
