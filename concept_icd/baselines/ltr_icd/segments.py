"""Segment pooling: a long note is cut into segments of one length, each is encoded alone, and the states follow each
other again. So the encoder's cost grows with the note's length, not with its square, and a segment sees only itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad


def encode_segments(
    encoder: Any, ids: torch.Tensor, mask: torch.Tensor, segment_tokens: int, *, keep_padding: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states of the notes, (notes, N, width), 0 where there is no token, and the mask, bool (notes, N).

    N is the tokens rounded up to whole segments. Segments without any token cost nothing.

    Args:
        encoder: a Hugging Face encoder. ids, mask: (notes, tokens), padded on the right.
        keep_padding: as PLM-ICD's script has it: the notes fill whole segments up to the longest note's last one,
            padding is encoded too, in segments with tokens as well as in those without, and counts as tokens in what
            is returned.
    """
    if keep_padding:
        return _with_padding(encoder, ids, mask, segment_tokens)
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


def _with_padding(
    encoder: Any, ids: torch.Tensor, mask: torch.Tensor, segment_tokens: int
) -> tuple[torch.Tensor, torch.Tensor]:
    notes, tokens = ids.shape
    more = -tokens % segment_tokens
    ids = pad(ids, (0, more), value=encoder.config.pad_token_id or 0).reshape(-1, segment_tokens)
    mask = pad(mask.bool(), (0, more)).reshape(-1, segment_tokens)
    # The script's encoder adds one large negative number to the attention of every padded token: where all are padded,
    # that changes no softmax, so they attend to one another as tokens do.
    attended = mask | ~mask.any(dim=1, keepdim=True)
    hidden = encoder(input_ids=ids, attention_mask=attended.long()).last_hidden_state
    hidden = hidden.reshape(notes, tokens + more, -1)
    return hidden, torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)


# One ranking from the decoder's sequence and the classifier's probabilities.


def merge(generated: Sequence[int], probabilities: np.ndarray, floor: float) -> np.ndarray:
    """Every code (column), the first-ranked first.

    First the generated codes in their order (diagnoses, then procedures) whose probability is at least `floor`; then
    all others by falling probability, equals in the label set's order. Taken apart, the diagnoses of this list, and
    the procedures, are each ranked by the same rule; a sequence that ended early, or is empty, leaves the rest to the
    probabilities.

    Args:
        generated: columns, none twice. probabilities: (codes,).
    """
    kept = [column for column in generated if probabilities[column] >= floor]
    falling = np.argsort(-probabilities, kind="stable")
    return np.concatenate([np.array(kept, dtype=np.int64), falling[~np.isin(falling, kept)]])
