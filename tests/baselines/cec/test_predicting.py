"""What is written is greedy decoding of the whole prompt; answers are hard, scores are probabilities of a Yes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from concept_icd.baselines.cec.predicting import says_yes, write, yes_probability
from concept_icd.llm.base_model import LoadedModel, load_model


@pytest.fixture(scope="module")
def loaded(llama: Path) -> LoadedModel:
    return load_model(llama, device="cpu")


@pytest.mark.parametrize("batch_size", [1, 16])
def test_reading_the_note_once_writes_what_whole_prompts_do(loaded: LoadedModel, batch_size: int) -> None:
    torch.manual_seed(0)
    note = torch.randint(3, 400, (40,)).tolist()
    questions = [torch.randint(3, 400, (length,)).tolist() for length in (3, 5, 3, 4, 3)]
    found = write(loaded.model, note, questions, batch_size)
    for question, written in zip(questions, found, strict=True):
        whole = torch.tensor([[*note, *question]])
        output = loaded.model.generate(
            whole, max_new_tokens=2, do_sample=False, return_dict_in_generate=True, output_logits=True
        )
        assert [token for token, _ in written] == output.sequences[0, whole.shape[1] :].tolist()
        for (token, value), logits in zip(written, output.logits, strict=True):
            assert value == pytest.approx(logits[0].log_softmax(-1)[token].item(), abs=1e-4)


def test_writing_stops_at_the_end_of_text(loaded: LoadedModel) -> None:
    note, question = list(range(3, 30)), [50, 51]
    ((first, _), _) = write(loaded.model, note, [question], 1)[0]
    earlier = loaded.model.generation_config.eos_token_id
    try:
        for ends in (first, [2, first]):
            loaded.model.generation_config.eos_token_id = ends
            assert [token for token, _ in write(loaded.model, note, [question], 1)[0]] == [first]
    finally:
        loaded.model.generation_config.eos_token_id = earlier


def said(tokenizer, *words: tuple[str, float]):  # type: ignore[no-untyped-def]
    return [(tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word))[0], math.log(p)) for word, p in words]


def test_an_answer_is_yes_where_the_text_holds_it_however_probable(loaded: LoadedModel) -> None:
    tokenizer = loaded.tokenizer
    assert says_yes(said(tokenizer, (" yes", 0.2), (".", 0.9)), tokenizer)
    assert not says_yes(said(tokenizer, (" no", 0.51), (".", 0.9)), tokenizer)
    assert not says_yes([], tokenizer)


def test_a_score_is_the_probability_of_the_yes_that_was_written_and_0_on_no(loaded: LoadedModel) -> None:
    tokenizer = loaded.tokenizer
    assert yes_probability(said(tokenizer, (" yes", 0.7), (".", 0.9)), tokenizer) == pytest.approx(0.7)
    assert yes_probability(said(tokenizer, (" yes", 0.3), (" yes", 0.6)), tokenizer) == pytest.approx(0.6)
    assert yes_probability(said(tokenizer, (" no", 0.51), (".", 0.4)), tokenizer) == 0.0
