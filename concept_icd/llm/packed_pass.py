"""A packed pass through a causal LM of transformers: who sees whom, and the answers alone.

transformers makes the masks of a model, one for each kind of layer that it has (full attention, sliding window,
chunks), from a function "query index, key index -> seen or not". In a packed pass the same function is asked about
positions in the plain prompt, not about places in the packed sequence, and the rule of `concept_icd.llm.packing`
is laid on top. So every kind of layer sees of a question's prompt what it would see of the prompt alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn.functional import linear
from transformers.masking_utils import AttentionMaskInterface, eager_mask, flex_attention_mask, sdpa_mask
from transformers.modeling_outputs import CausalLMOutput

from concept_icd.llm.packing import NOTE, PADDING, visible


@dataclass(frozen=True)
class Layout:
    """The segment of every token and its position in the plain prompt, as `concept_icd.llm.packing` has them.

    Attributes:
        query_segments, query_positions: (B, Q), of the tokens of the pass.
        key_segments, key_positions: (B, K), of what stands in the cache and of these.
    """

    query_segments: torch.Tensor
    query_positions: torch.Tensor
    key_segments: torch.Tensor
    key_positions: torch.Tensor


_LAYOUT: ContextVar[Layout | None] = ContextVar("layout", default=None)
_ANSWERS: ContextVar[tuple[int, ...] | None] = ContextVar("answers", default=None)


def accept_packing(model: Any) -> None:
    """Lets `model(...)` take packed passes, in place; without these arguments it is as before.

    segments: (B, Q), beside position_ids (B, Q), makes the pass a packed one. cached: segments and positions of what
        the cache holds, (B, C) each.
    answers: ids of tokens; the logits are then float32 (B, Q, answers), of these tokens alone. Scaling and capping are
        the model's own. In float32 whatever the dtype of the model, because two bfloat16 logits near 14 differ by a
        multiple of 1/16, and without the rest of the vocabulary, which would be most of a long batch's memory.
    concepts: (B, K) rows of a concept head (`concept_icd.llm.concept_head`); the logits are then its margins, (B, K).
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    for part, forward in ((base, _forward), (base.get_output_embeddings(), _head)):
        if hasattr(part, "forward") and not isinstance(part.forward, partial):
            part.forward = partial(forward, part, part.forward)


def packed_margins(model: Any, batch: Mapping[str, torch.Tensor], yes: int, no: int, count: int) -> torch.Tensor:
    """logit(yes) - logit(no), float32 (B, count), in the last columns of a batch of `pack_batch`."""
    inputs = {name: batch[name] for name in ("input_ids", "position_ids", "segments")}
    logits = model(**inputs, answers=(yes, no), use_cache=False).logits[:, -count:]
    margins: torch.Tensor = logits[..., 0] - logits[..., 1]
    return margins


def head_margins(model: Any, batch: Mapping[str, torch.Tensor], count: int) -> torch.Tensor:
    """The same by a concept head, float32 (B, count); what `pack_batch` was given as questions are rows of concepts."""
    note = {name: batch[name][:, :-count] for name in ("input_ids", "position_ids", "segments")}
    concepts = batch["input_ids"][:, -count:].masked_fill(batch["segments"][:, -count:] == PADDING, 0)
    margins: torch.Tensor = model(**note, concepts=concepts, use_cache=False).logits
    return margins


def _forward(
    model: Any,
    whole: Callable[..., Any],
    *args: Any,
    segments: torch.Tensor | None = None,
    cached: tuple[torch.Tensor, torch.Tensor] | None = None,
    answers: tuple[int, ...] | None = None,
    concepts: torch.Tensor | None = None,
    **given: Any,
) -> Any:
    if segments is None and answers is None:
        return whole(*args, **given)
    layout = None
    if segments is not None:
        positions = given["position_ids"]
        before = cached or (segments[:, :0], positions[:, :0])
        keys = torch.cat([before[0], segments], dim=1), torch.cat([before[1], positions], dim=1)
        layout = Layout(segments, positions, *keys)
        # Ones, although the layout has all that masks are made of: without a mask, transformers takes positions that
        # start again for prompts packed in its own way.
        given["attention_mask"] = torch.ones_like(layout.key_positions)
    place, chosen = _LAYOUT.set(layout), _ANSWERS.set(answers)
    try:
        if concepts is None:
            return whole(*args, **given)
        states = model.get_decoder()(*args, **given).last_hidden_state
        assert segments is not None
        return CausalLMOutput(logits=model.concept_head(states, concepts, segments == NOTE))
    finally:
        _LAYOUT.reset(place)
        _ANSWERS.reset(chosen)


def _head(head: Any, whole: Callable[[torch.Tensor], torch.Tensor], hidden: torch.Tensor) -> torch.Tensor:
    if (tokens := _ANSWERS.get()) is None:
        return whole(hidden)
    chosen = torch.tensor(tokens, device=head.weight.device)
    bias = getattr(head, "bias", None)
    with torch.autocast(hidden.device.type, enabled=False):
        return linear(hidden.float(), head.weight[chosen].float(), None if bias is None else bias[chosen].float())


def _dense(standard: Callable[..., Any], *args: Any, **given: Any) -> Any:
    """The additive mask (B, 1, Q, K) of a packed pass, made once for all layers of a kind; outside of one, as usual."""
    if (layout := _LAYOUT.get()) is None:
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
    if (layout := _LAYOUT.get()) is None:
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
