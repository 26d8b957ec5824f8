"""Segment pooling: a long note is cut into segments of one length, each is encoded alone, and the states follow each
other again. So the encoder's cost grows with the note's length, not with its square, and a segment sees only itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad


def encode_segments(
    encoder: Any, ids: torch.Tensor, mask: torch.Tensor, segment_tokens: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states of the notes, (notes, N, width), 0 where there is no token, and the mask, bool (notes, N).

    N is the tokens rounded up to whole segments. Segments without any token cost nothing.

    Args:
        encoder: a Hugging Face encoder. ids, mask: (notes, tokens), padded on the right.
    """
    notes, tokens = ids.shape
    length = min(segment_tokens, tokens)
    more = -tokens % length
    ids, mask = pad(ids, (0, more)), pad(mask.bool(), (0, more))
    cut_ids, cut_mask = ids.reshape(-1, length), mask.reshape(-1, length)
    real = cut_mask.any(dim=1)
    states = encoder(input_ids=cut_ids[real], attention_mask=cut_mask[real].long()).last_hidden_state
    hidden = states.new_zeros(len(cut_ids), length, states.shape[-1])
    hidden = hidden.index_put((real.nonzero().squeeze(1),), states * cut_mask[real][..., None])
    return hidden.reshape(notes, tokens + more, -1), mask
