"""Hand-worked operation counts of a toy decoder, and the known size of Llama 3 8B."""

from __future__ import annotations

import pytest

from concept_icd.doctor.cost_model import (
    KNOWN,
    ModelShape,
    attention_flops,
    linear_flops,
    lora_parameters,
    scoring_flops,
    tuning_flops,
)

# q 4x4, k and v 4x2, o 4x4, gate and up 4x8, down 8x4: 16 + 8 + 8 + 16 + 32 + 32 + 32 = 144 weights a layer.
TOY = ModelShape(2, 4, 8, 2, 1, 2, 10, 100, False, "toy")


def test_toy_sizes() -> None:
    assert TOY.linear_parameters == 288
    assert TOY.embedding_parameters == 80
    assert TOY.parameters == 368


def test_a_forward_pass_is_two_operations_a_weight_and_token() -> None:
    assert linear_flops(TOY, 3) == 2 * 288 * 3


def test_attention_is_four_operations_a_layer_head_dimension_and_key() -> None:
    assert attention_flops(TOY, tokens=3, context=5) == 4 * 2 * 4 * 3 * 5


def test_scoring_reads_the_note_once_and_each_question_against_note_and_chunk() -> None:
    # linear 2*288*16 = 9216; note 4*2*4*10*5 = 1600; questions 4*2*4*6*(10 + 6) = 3072
    assert scoring_flops(TOY, note_tokens=10, question_tokens=6) == 9216 + 1600 + 3072


def test_many_questions_attend_to_one_chunk_at_a_time() -> None:
    more = scoring_flops(TOY, 10, 5120) - scoring_flops(TOY, 10, 512)
    assert more == linear_flops(TOY, 4608) + attention_flops(TOY, 4608, 522)


def test_tuning_skips_the_gradients_of_frozen_weights() -> None:
    # forward 2*288*10 + 4*2*4*10*10 + 2*5*10 = 9060; backward 5760 + 6400 + 200 = 12360
    assert tuning_flops(TOY, 10, lora=5, checkpointing=False) == 9060 + 12360
    assert tuning_flops(TOY, 10, lora=5, checkpointing=True) == 2 * 9060 + 12360


def test_lora_parameters() -> None:
    # q: 4 + 4, v: 4 + 2, rank 3, two layers
    assert lora_parameters(TOY, 3, ["q_proj", "v_proj"]) == 2 * 3 * (8 + 6)


def test_llama_3_8b_has_its_published_size() -> None:
    norms = 65 * 4096  # two a layer and the last; the count leaves them out
    assert KNOWN["meta-llama/Meta-Llama-3-8B"].parameters + norms == 8_030_261_248


def test_a_note_of_3500_tokens_takes_an_8b_model_five_tenths_of_a_quadrillion() -> None:
    # 2 * 6.979e9 * 3500 = 4.885e13, attention 4 * 32 * 4096 * 3500 * 1750 = 3.21e12
    assert scoring_flops(KNOWN["meta-llama/Meta-Llama-3-8B"], 3500, 0) == pytest.approx(5.207e13, rel=1e-3)
