"""Sizes of passes: chosen by a GPU's free memory, written into the store, taken from there by a run that goes on."""

from __future__ import annotations

import json

import pytest
import transformers

from concept_icd.errors import InputError
from concept_icd.scoring import batch_sizes
from concept_icd.scoring.adapters import plan_scoring, score_corpus
from concept_icd.scoring.batch_sizes import DEFAULTS, batch_tokens_for, sizes_before_loading
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.specs import ScorerSpec
from tests.scoring.test_adapters import FOLD_OF, NEW, TRAIN, tuned_folder

GIB = 2**30


@pytest.fixture(scope="module")
def folds(llama, tmp_path_factory):
    return tuned_folder(tmp_path_factory.mktemp("folds") / "tuned", llama, FOLD_OF, list(FOLD_OF))


@pytest.fixture
def made(monkeypatch) -> list[dict]:
    """The sizes of the scorers that are made from here on; they are really made."""
    found: list[dict] = []
    make = ScorerSpec.make

    def watched(spec):
        found.append({name: spec.options[name] for name in DEFAULTS})
        return make(spec)

    monkeypatch.setattr(ScorerSpec, "make", watched)
    monkeypatch.setattr(ScorerSpec, "__call__", watched)
    return found


def test_more_memory_means_more_tokens_in_powers_of_two_between_bounds():
    shape = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_key_value_heads": 8}
    config = transformers.LlamaConfig(**shape, num_attention_heads=32, head_dim=64)
    # 2 x 16 layers x 8 heads x 64 + 3 x 8,192 + 6 x 2,048 numbers of 2 bytes, and 512 x 5 bytes of mask: 109,056 bytes.
    assert batch_tokens_for(int(16_384 * 109_056 / 0.6) + 1, config, 2) == 16_384
    assert batch_tokens_for(int(16_384 * 109_056 / 0.6) - 10, config, 2) == 8_192
    assert batch_tokens_for(-GIB, config, 2) == 8_192
    assert batch_tokens_for(1000 * GIB, config, 2) == 2**17
    assert batch_tokens_for(1000 * GIB, transformers.GPT2Config(), 2) == 2**17  # which says n_embd
    assert batch_tokens_for(1000 * GIB, transformers.PreTrainedConfig(), 2) == 8_192


def test_without_a_gpu_the_sizes_are_always_the_same(llama):
    assert sizes_before_loading(str(llama), device="cpu") == DEFAULTS
    scorer = PackedScorer.from_pretrained(llama, device="cpu")
    assert (scorer.chunk_tokens, scorer.batch_tokens) == (512, 8192)


def test_weights_that_are_to_come_are_taken_off(llama, monkeypatch):
    """The fixture has 328 thousand parameters; a card with room beside one of them has none beside 400."""
    config, free = transformers.AutoConfig.from_pretrained(llama), 600 * 2**20
    monkeypatch.setattr(batch_sizes, "free_bytes", lambda device: free)
    one = sizes_before_loading(str(llama), dtype="float32")["batch_tokens"]
    many = sizes_before_loading(str(llama), dtype="float32", readings=400)["batch_tokens"]
    assert one == batch_tokens_for(free, config, 4) > many == DEFAULTS["batch_tokens"]


def test_a_run_that_goes_on_takes_the_sizes_that_it_was_begun_with(folds, made, monkeypatch, tmp_path):
    monkeypatch.setattr(batch_sizes, "free_bytes", lambda device: 10 * GIB)  # a GPU with room
    chosen = plan_scoring(TRAIN, folds).settings["batch_tokens"]
    assert chosen > DEFAULTS["batch_tokens"]
    score_corpus([*TRAIN, *NEW], folds, tmp_path / "s", shard_notes=2)
    assert {sizes["batch_tokens"] for sizes in made} == {chosen}
    assert json.loads((tmp_path / "s" / "scoring.json").read_text())["batch_tokens"] == chosen
    monkeypatch.setattr(batch_sizes, "free_bytes", lambda device: GIB // 100)  # something else has taken it
    assert plan_scoring(TRAIN, folds).settings["batch_tokens"] == DEFAULTS["batch_tokens"]
    (tmp_path / "s" / "shards" / "00000.parquet").unlink()
    made.clear()
    assert score_corpus([*TRAIN, *NEW], folds, tmp_path / "s", shard_notes=2)
    assert made == [{"chunk_tokens": 512, "batch_tokens": chosen}]
    with pytest.raises(InputError, match=r"other settings \(batch_tokens\)"):
        score_corpus([*TRAIN, *NEW], folds, tmp_path / "s", shard_notes=2, batch_tokens=8192)


def test_a_store_that_does_not_name_its_sizes_goes_on(folds, tmp_path):
    """As versions before this one left it: its shards are known by settings without the sizes."""
    notes = [*TRAIN, *NEW]
    plain = plan_scoring(notes, folds).settings
    with pytest.MonkeyPatch.context() as patch:
        from concept_icd.scoring import adapters

        patch.setattr(adapters, "plan_scoring", lambda *given, **more: _without_sizes(plan_scoring(*given, **more)))
        score_corpus(notes, folds, tmp_path / "s")
    kept = json.loads((tmp_path / "s" / "scoring.json").read_text())
    assert DEFAULTS.keys() <= plain.keys()
    assert not DEFAULTS.keys() & kept.keys()
    assert not score_corpus(notes, folds, tmp_path / "s"), "a complete store is complete"
    with pytest.raises(InputError, match=r"other settings \(batch_tokens"):
        score_corpus(notes, folds, tmp_path / "s", batch_tokens=100)


def _without_sizes(scoring):
    for name in DEFAULTS:
        del scoring.settings[name]
    return scoring
