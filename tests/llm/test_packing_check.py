"""Which kinds of models can be asked packed questions, and that every other kind is refused before any work."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from concept_icd.cli.main import main
from concept_icd.corpora import save_corpus
from concept_icd.errors import InputError
from concept_icd.llm import packed_pass
from concept_icd.llm.base_model import LoadedModel, load_model, load_tokenizer
from concept_icd.llm.packed_pass import accept_packing, packed_margins
from concept_icd.llm.packing import pack_batch
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.llm.question_tokens import QuestionTokens
from concept_icd.records import CodedNote, Note
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.scorer import NoteScores
from concept_icd.tuning.__main__ import main as tune
from tests.conftest import build_tokenizer
from tests.scoring.test_packed import CONCEPTS, TEXTS

SIZES = {
    "vocab_size": 400,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
WINDOW = {"sliding_window": 40}
MIXED = ["sliding_attention", "full_attention"]
#: What can be packed: a window in all layers or in some, chunks, experts, learned positions, sinks, capped and scaled
#: logits, heads with a bias.
FITTING = {
    "llama": ("LlamaConfig", {}),
    "mistral, window": ("MistralConfig", WINDOW),
    "qwen2, window in one layer": ("Qwen2Config", {**WINDOW, "use_sliding_window": True, "max_window_layers": 1}),
    "gemma 2, window and caps": ("Gemma2Config", {**WINDOW, "layer_types": MIXED, "final_logit_softcapping": 3.0}),
    "gemma 3, window": ("Gemma3TextConfig", {**WINDOW, "layer_types": MIXED}),
    "cohere 2, window and scale": ("Cohere2Config", {**WINDOW, "layer_types": MIXED, "logit_scale": 0.3}),
    "phi 3, window": ("Phi3Config", WINDOW),
    "phi, biased head": ("PhiConfig", {}),
    "llama 4, chunks": (
        "Llama4TextConfig",
        {"attention_chunk_size": 40, "num_local_experts": 2, "layer_types": ["chunked_attention", "full_attention"]},
    ),
    "gpt-oss, sinks, window, experts": ("GptOssConfig", {**WINDOW, "layer_types": MIXED, "num_local_experts": 4}),
    "granite, scaled": ("GraniteConfig", {"logits_scaling": 3.0, "embedding_multiplier": 2.0}),
    "qwen3 with experts": ("Qwen3MoeConfig", EXPERTS),
    "gpt-2, learned positions": ("GPT2Config", {}),
    "opt, learned positions": ("OPTConfig", {"ffn_dim": 64, "word_embed_proj_dim": 64}),
    "falcon, rotary": ("FalconConfig", {"alibi": False}),
    "olmo 3": ("Olmo3Config", {**WINDOW, "layer_types": MIXED}),
    "lfm 2 without convolutions": ("Lfm2Config", {"layer_types": ["full_attention"] * 2}),
}
#: What cannot: linear attention, convolutions, states, ALiBi, both directions, positions or windows counted in places.
UNFIT = {
    "qwen 3.5": (
        "Qwen3_5TextConfig",
        {
            "layer_types": ["linear_attention", "full_attention"],
            "linear_num_value_heads": 2,
            "linear_num_key_heads": 1,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
        },
    ),
    "lfm 2": ("Lfm2Config", {"layer_types": ["conv", "full_attention"]}),
    "mamba": ("MambaConfig", {}),
    "recurrent gemma": ("RecurrentGemmaConfig", {}),
    "rwkv": ("RwkvConfig", {}),
    "falcon, alibi": ("FalconConfig", {"alibi": True}),
    "bloom": ("BloomConfig", {}),
    "mpt": ("MptConfig", {}),
    "bert": ("BertConfig", {}),
    "bart": ("BartConfig", {"d_model": 64, "decoder_layers": 2, "decoder_attention_heads": 4}),
    "gpt-neo, window by place": (
        "GPTNeoConfig",
        {"window_size": 40, "num_layers": 2, "attention_types": [[["global", "local"], 1]]},
    ),
    "xlm": ("XLMConfig", {"emb_dim": 64, "n_layers": 2, "n_heads": 4}),
}


def random_model(kind: str, options: dict) -> LoadedModel:
    drop = {"head_dim", "num_key_value_heads"} if kind in ("FalconConfig", "GPT2Config", "MptConfig") else set()
    config = getattr(transformers, kind)(**{key: value for key, value in SIZES.items() if key not in drop} | options)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("lm_head.bias"):
            torch.nn.init.normal_(parameter)
    return LoadedModel(model, build_tokenizer(), 512)


@pytest.fixture(scope="module")
def notes() -> list[Note]:
    """One much longer than the windows, one shorter."""
    return [Note("long", "cough and fever for three days, normal renal ultrasound. " * 8), Note("short", "fever")]


@pytest.mark.parametrize("name", FITTING)
@torch.no_grad()
def test_packed_and_plain_answers_are_the_same(name, notes):
    loaded = random_model(*FITTING[name])
    scorer = PackedScorer(loaded, PromptTemplate.load(), chunk_tokens=30)
    questions = [scorer.tokens.encode_question(text) for text in TEXTS]
    scores = {one.note_id: one for one in scorer.iter_scores(notes, CONCEPTS.concepts)}
    yes, no = scorer.tokens.yes_id, scorer.tokens.no_id
    for note in notes:
        ids = list(scorer.tokens.encode_note(note, 20).ids)
        plain = torch.stack([loaded.model(torch.tensor([ids + question])).logits[0, -1] for question in questions])
        expected = (plain[:, yes] - plain[:, no]).numpy()
        trained = packed_margins(loaded.model, pack_batch([ids], [questions], 0), yes, no, len(questions))[0].numpy()
        assert np.ptp(expected) > 1e-3, "questions must differ for the comparison to mean something"
        one = scores[note.note_id]
        assert isinstance(one, NoteScores)
        assert one.truncated is None
        np.testing.assert_allclose(one.logits, expected, atol=1e-4)
        np.testing.assert_allclose(trained, expected, atol=1e-4)


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_be_packed_is_refused_in_a_sentence_that_names_what_can(name):
    with pytest.raises(InputError, match="cannot be asked packed questions") as refused:
        PackedScorer(random_model(*UNFIT[name]), PromptTemplate.load())
    assert "Llama" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", UNFIT)
def test_bfloat16_hides_no_kind_that_cannot_be_packed(name):
    """Its rounding is allowed for widely; the kind is asked in float32."""
    loaded = random_model(*UNFIT[name])
    with pytest.raises(InputError, match="cannot be asked packed questions"):
        PackedScorer(LoadedModel(loaded.model.to(torch.bfloat16), loaded.tokenizer, 512), PromptTemplate.load())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_check_allows_for_the_rounding_of_half_precision_and_no_more(dtype):
    fits, unfit = random_model(*FITTING["gemma 3, window"]), random_model(*UNFIT["falcon, alibi"])
    PackedScorer(LoadedModel(fits.model.to(dtype), fits.tokenizer, 512), PromptTemplate.load())
    with pytest.raises(InputError, match="cannot be asked packed questions"):
        PackedScorer(LoadedModel(unfit.model.to(dtype), unfit.tokenizer, 512), PromptTemplate.load())


def test_learned_question_tokens_do_not_make_a_model_of_half_precision_a_full_one(llama, llama_adapter, tmp_path):
    """They are float32 in any model."""
    adapter = shutil.copytree(llama_adapter, tmp_path / "adapter")
    values = np.random.default_rng(0).normal(size=(len(CONCEPTS), 2, 128)).astype(np.float32)
    QuestionTokens(tuple(one.key for one in CONCEPTS.concepts), values).save(adapter)
    full, half = (PackedScorer.from_pretrained(llama, adapter, dtype=dtype) for dtype in ("float32", "bfloat16"))
    note = Note("n1", "cough and fever for three days")
    gap = np.abs(full.score([note], CONCEPTS).logits - half.score([note], CONCEPTS).logits).max()
    assert 1e-4 < gap < 1


@torch.no_grad()
def test_answers_alone_are_the_logits_of_the_whole_head_in_float32():
    loaded = random_model(*FITTING["gemma 2, window and caps"])
    ids = torch.tensor([[5, 6, 7, 8]])
    before = loaded.model(ids).logits
    accept_packing(loaded.model)
    accept_packing(loaded.model)
    assert torch.equal(loaded.model(ids).logits, before)
    batch = pack_batch([[5, 6]], [[[7, 8]]], 0)
    margin = packed_margins(loaded.model, batch, 21, 22, 1)
    torch.testing.assert_close(margin[0, 0], before[0, -1, 21] - before[0, -1, 22], atol=1e-5, rtol=0)
    half = loaded.model.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert packed_margins(half, batch, 21, 22, 1).dtype == torch.float32


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama", "gemma 3, window"])
@pytest.mark.filterwarnings("ignore")  # that this is slow where it is not compiled
def test_flex_attention_makes_its_blocks_of_the_same_rule(name):
    loaded = random_model(*FITTING[name])
    note, questions = [*range(5, 205)], [[7, 8, 9], [10, 11], [12, 13, 14, 15]]
    accept_packing(loaded.model)
    batch = pack_batch([note, note[:150]], [questions, questions[:2]], 0)
    dense = packed_margins(loaded.model, batch, 21, 22, 3)
    loaded.model.set_attn_implementation("flex_attention")
    with torch.compiler.set_stance("force_eager"):
        blocks = packed_margins(loaded.model, batch, 21, 22, 3)
    assert dense.abs().max() > 1e-2
    torch.testing.assert_close(blocks[0], dense[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(blocks[1, 1:], dense[1, 1:], atol=1e-4, rtol=0)


def saved(kind: str, options: dict, folder: Path) -> Path:
    loaded = random_model(kind, options)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def corpus(tmp_path, notes) -> Path:
    texts = [(f"n{number}", notes[number % 2].text + f" case {number}") for number in range(6)]
    save_corpus(
        tmp_path / "corpus", [CodedNote(Note(name, text, name), ("486",), split="train") for name, text in texts]
    )
    return tmp_path / "corpus"


def flags(model: Path, corpus: Path, out: Path, *more: str) -> list[str]:
    line = f"--model_name_or_path {model} --corpus {corpus} --output_dir {out} --folds 0 --holdout 0.3 --max_steps 1"
    return [*f"{line} --levels code --lora_target_modules q_proj v_proj".split(), *more]


@pytest.mark.parametrize("name", ["qwen 3.5", "bloom", "mamba"])
def test_finetune_refuses_before_the_first_step(name, tmp_path, corpus, capsys):
    model = saved(*UNFIT[name], tmp_path / "model")
    assert tune(flags(model, corpus, tmp_path / "tuned")) == 2
    said = capsys.readouterr().err
    assert "cannot be asked packed questions" in said
    assert "Traceback" not in said
    assert not list((tmp_path / "tuned").glob("checkpoints/*/checkpoint-*"))


def test_an_encoder_and_decoder_is_refused_in_a_sentence(tmp_path, corpus, capsys):
    config = transformers.T5Config(vocab_size=400, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / "model")
    build_tokenizer().save_pretrained(tmp_path / "model")
    assert tune(flags(tmp_path / "model", corpus, tmp_path / "tuned")) == 2
    assert "is no causal language model: take a decoder" in capsys.readouterr().err


def test_a_window_cuts_no_note_and_a_real_limit_is_said_by_both_verbs(tmp_path, corpus, capsys):
    model = saved(*FITTING["gemma 3, window"], tmp_path / "model")
    assert load_tokenizer(model)[1] == load_model(model).max_length == 512
    for limit, cut in (((), False), (("--max_length", "150"), True)):
        tuned, scores = tmp_path / f"tuned{cut}", tmp_path / f"scores{cut}"
        assert tune(flags(model, corpus, tuned, *limit)) == 0
        told = "2 of 4 notes are not read to their end: the longest prompt is 150 tokens (max_length)"
        assert (told in capsys.readouterr().err) == cut
        score = ["score", "--corpus", str(corpus), "--tuned", str(tuned), "--out", str(scores), "--in-sample"]
        for _ in ("new", "complete"):
            assert main(score) == 0
            told = "3 of 6 notes were not read to their end: the longest prompt is 150 tokens (max_length)"
            assert (told in capsys.readouterr().err) == cut


def test_positions_that_turn_with_the_length_are_used_as_far_as_they_stand_still(tmp_path, notes):
    factors = {"short_factor": [1.0] * 8, "long_factor": [4.0] * 8, "factor": 4.0}
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 128, **factors}
    loaded = load_model(saved("LlamaConfig", {"rope_parameters": rope}, tmp_path / "model"))
    assert loaded.max_length == 128
    [short, long] = PackedScorer(loaded, PromptTemplate.load()).iter_scores(notes, CONCEPTS.concepts)
    assert short.truncated is None
    assert "the note's end was not read" in long.truncated


def test_masks_are_made_where_the_model_is():
    """On torch's device without memory, an operator that met one tensor from the CPU would refuse."""
    batch = pack_batch([[5, 6, 7], [5, 6]], [[[7, 8], [9]], [[7, 8]]], 0)
    assert {part.dim() for part in batch.values()} == {2}, "a batch holds no mask, which would be made on the CPU"
    segments, positions = (batch[name].to("meta") for name in ("segments", "position_ids"))
    place = packed_pass._LAYOUT.set(packed_pass.Layout(segments, positions, segments, positions))
    try:
        mask = packed_pass._dense(None, mask_function=lambda row, head, query, key: key <= query, dtype=torch.bfloat16)
    finally:
        packed_pass._LAYOUT.reset(place)
    length = batch["input_ids"].shape[1]
    assert (mask.device.type, mask.dtype, mask.shape) == ("meta", torch.bfloat16, (2, 1, length, length))
