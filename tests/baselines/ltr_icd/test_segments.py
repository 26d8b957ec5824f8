"""Segment pooling is: encode each segment alone, put the states one behind the other."""

from __future__ import annotations

import torch
from transformers import RobertaConfig, RobertaModel, T5Config, T5EncoderModel

from concept_icd.baselines.ltr_icd.model import encode_segments


def encoder() -> T5EncoderModel:
    torch.manual_seed(0)
    return T5EncoderModel(T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)).eval()


def test_states_are_those_of_segments_encoded_one_by_one() -> None:
    model = encoder()
    notes = [list(range(3, 14)), list(range(20, 28)), [5]]  # 11, 8 and 1 tokens; segments of 4
    ids = torch.tensor([note + [0] * (11 - len(note)) for note in notes])
    mask = torch.tensor([[1] * len(note) + [0] * (11 - len(note)) for note in notes])
    with torch.no_grad():
        hidden, real = encode_segments(model, ids, mask, 4)
        assert hidden.shape == (3, 12, 16)
        assert real.sum(dim=1).tolist() == [11, 8, 1]
        for row, note in enumerate(notes):
            cut = [note[start : start + 4] for start in range(0, len(note), 4)]
            alone = torch.cat([model(input_ids=torch.tensor([part])).last_hidden_state[0] for part in cut])
            torch.testing.assert_close(hidden[row, : len(note)], alone, atol=1e-4, rtol=1e-4)
            assert not hidden[row, len(note) :].any()


def test_a_short_note_is_one_segment_and_padding_costs_no_segment() -> None:
    model, seen = encoder(), []
    model.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True)
    ids = torch.tensor([[3, 4, 5, 0, 0, 0], [3, 4, 5, 6, 7, 8]])
    hidden, _ = encode_segments(model, ids, (ids != 0).long(), 3)
    assert seen == [(3, 3)]  # the short note's second segment is all padding
    assert encode_segments(model, ids, (ids != 0).long(), 512)[0].shape == hidden.shape == (2, 6, 16)


def test_padding_that_is_kept_fills_whole_segments_and_counts_as_tokens() -> None:
    """As in PLM-ICD's script: segments of 4 up to the longest note's last, padding's states as the encoder has them."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = RobertaModel(RobertaConfig(vocab_size=50, pad_token_id=1, **sizes), add_pooling_layer=False).eval()
    notes = [[0, 7, 8, 9, 10, 2], [0, 11, 2]]
    ids = torch.tensor([note + [1] * (6 - len(note)) for note in notes])
    with torch.no_grad():
        hidden, real = encode_segments(model, ids, (ids != 1).long(), 4, keep_padding=True)
        assert hidden.shape == (2, 8, 16)
        assert real.all()
        segments = [
            ([0, 7, 8, 9], [1, 1, 1, 1]),
            ([10, 2, 1, 1], [1, 1, 0, 0]),
            ([0, 11, 2, 1], [1, 1, 1, 0]),
            ([1, 1, 1, 1], [1, 1, 1, 1]),  # padding alone: one number added to all of its attention changes nothing
        ]
        for segment, (tokens, mask) in zip(hidden.view(4, 4, 16), segments, strict=True):
            alone = model(input_ids=torch.tensor([tokens]), attention_mask=torch.tensor([mask])).last_hidden_state[0]
            torch.testing.assert_close(segment, alone, atol=1e-4, rtol=1e-4)
        assert encode_segments(model, ids[1:, :3], torch.ones(1, 3), 4, keep_padding=True)[0].shape == (1, 4, 16)
