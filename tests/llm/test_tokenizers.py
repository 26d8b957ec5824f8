"""Tokenizers as models bring them: what begins a text, how answers are cut, and what stands for padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from concept_icd.corpora import save_corpus
from concept_icd.errors import InputError
from concept_icd.llm.base_model import load_model
from concept_icd.llm.gguf_files import dequantise
from concept_icd.llm.packed_pass import packed_margins
from concept_icd.llm.packing import pack_batch
from concept_icd.llm.prompts import PromptTemplate, TokenizedPrompt
from concept_icd.records import CodedNote, Note
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.plain import PlainScorer
from concept_icd.tuning.__main__ import main as tune
from tests.conftest import TRAINING_TEXT
from tests.llm.gguf_models import write_llama
from tests.scoring.test_packed import CONCEPTS

SPECIAL = ["<unk>", "<s>", "</s>"]
NOTE = Note("n", "cough and fever, 3 days\nBP  120/80")


def adding(tokenizer: Tokenizer, *, end: bool = False) -> Tokenizer:
    """Lets it begin every text with <s>, and end it with </s>."""
    single = "<s> $A </s>" if end else "<s> $A"
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    return tokenizer


def sentencepiece(*, whole: bool = False) -> Tokenizer:
    """As Llama 2's: a blank before every text, no cutting into words where `whole`, so that merges cross them."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    answers = ["Concept: pneumonia?: yes", "Concept: asthma?: no", "?: yes", "?: no"] * 50
    if whole:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    strip = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(strip)
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=[*SPECIAL, *bytes_], max_token_length=8)
    tokenizer.train_from_iterator([*TRAINING_TEXT, *answers, *["yes", "no"] * 60], trainer)
    return adding(tokenizer)


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TRAINING_TEXT, trainer)
    return tokenizer


def fast(tokenizer: Tokenizer, **named: str) -> transformers.PreTrainedTokenizerFast:
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


USUAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
KINDS = {
    "llama 2": lambda: fast(sentencepiece(), **USUAL),
    "merges across words": lambda: fast(sentencepiece(whole=True), **USUAL),
    "byte-level": lambda: fast(byte_level(), **USUAL),
    "begins": lambda: fast(adding(byte_level()), **USUAL),
    "begins and ends": lambda: fast(adding(byte_level(), end=True), **USUAL),
    "pad is eos": lambda: fast(adding(byte_level()), **USUAL, pad_token="</s>"),
    "one token for all": lambda: fast(adding(byte_level()), bos_token="<s>", eos_token="<s>", pad_token="<s>"),
    "no special tokens": lambda: fast(byte_level()),
    "pad beyond the embedding": lambda: fast(byte_level(), **USUAL, pad_token="<pad>"),
}


def saved(kind: str, folder: Path) -> Path:
    tokenizer = KINDS[kind]()
    rows = len(tokenizer) - (kind == "pad beyond the embedding")
    assert rows == tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
    config = transformers.LlamaConfig(
        **{"vocab_size": rows, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512},
        **{"initializer_range": 0.15, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None},
    )
    transformers.set_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory) -> Path:
    return saved(request.param, tmp_path_factory.mktemp("model") / request.param.replace(" ", "-"))


def test_packed_and_plain_prompts_agree_whatever_the_tokenizer(folder):
    prompt = PromptTemplate.load()
    [packed] = PackedScorer.from_pretrained(str(folder), prompt=prompt).iter_scores([NOTE], CONCEPTS.concepts)
    [plain] = PlainScorer.from_pretrained(str(folder), prompt=prompt).iter_scores([NOTE], CONCEPTS.concepts)
    assert np.ptp(packed.logits) > 1e-3
    np.testing.assert_allclose(packed.logits, plain.logits, atol=1e-4)
    assert packed.truncated is None


def test_a_text_begins_once_and_does_not_end(folder):
    loaded = load_model(folder)
    tokenizer = loaded.tokenizer
    begins = folder.name not in ("byte-level", "no-special-tokens", "pad-beyond-the-embedding")
    for before in ("Note: ", ""):
        template = PromptTemplate("t", before, "\nConcept:", " {concept}?:", (" yes", "yes"), (" no", "no"))
        tokens = TokenizedPrompt(template, tokenizer, 400)
        ids = tokens.encode_note(NOTE, 20).ids
        assert [token for token in ids if token in (1, 2)] == [1] * begins
        assert (ids[0] == 1) == begins
        # A template that names the token itself, as a chat's does, is not begun twice; one that ends a turn keeps that.
        chat = PromptTemplate("t", f"<s>{before}</s>", "\nConcept:", " {concept}?:", (" yes", "yes"), (" no", "no"))
        ids = TokenizedPrompt(chat, tokenizer, 400).encode_note(NOTE, 20).ids
        assert [token for token in ids if token in (1, 2)] == [1, 2]
        assert tokenizer.decode([tokens.yes_id]).strip() == "yes"
        assert tokenizer.decode([tokens.no_id]).strip() == "no"
        assert tokenizer.decode(tokens.encode_question("asthma")).strip() == "asthma?:"


def test_answers_stand_alone_where_the_tokenizer_would_merge_them_with_the_cue():
    tokenizer = KINDS["merges across words"]()
    merged = tokenizer.tokenize("Concept: asthma?: yes")
    assert merged[-1] not in ("▁yes", "yes"), "this tokenizer makes one token of the cue's end and the answer"
    template = PromptTemplate("t", "", "\nConcept:", " {concept}?:", (" yes", "yes"), (" no", "no"))
    tokens = TokenizedPrompt(template, tokenizer, 400)
    assert tokenizer.convert_ids_to_tokens([tokens.yes_id, tokens.no_id]) == ["▁yes", "▁no"]
    assert tokenizer.convert_ids_to_tokens(tokens.encode_question("asthma"))[-1] != merged[-1]


def test_an_answer_that_is_unknown_is_none():
    words = Tokenizer(models.WordLevel({"<unk>": 0, "yes": 1, "cough": 2, "Note": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(InputError, match="no single token for any of the answers"):
        TokenizedPrompt(PromptTemplate.load(), fast(words, unk_token="<unk>"), 100)


@pytest.mark.parametrize(("fields", "begins"), [({}, True), ({"tokenizer.ggml.add_bos_token": False}, False)])
def test_a_gguf_file_says_how_its_texts_begin(fields, begins, tmp_path):
    model = saved("llama 2", tmp_path / "model")
    write_llama(model, tmp_path / "model.gguf", **fields)
    (tmp_path / "out").mkdir()
    dequantise(tmp_path / "model.gguf", tmp_path / "out")
    expected, found = KINDS["llama 2"](), load_model(tmp_path / "out").tokenizer
    for text in (NOTE.text, "yes", " no", "naïve </s>"):
        ids = expected(text)["input_ids"]
        assert found(text)["input_ids"] == (ids if begins else ids[1:])
        assert ids[0] == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["no special tokens", "pad beyond the embedding", "llama 2"])
def test_tuning_needs_no_padding_token(kind, tmp_path, capsys):
    """Two notes of different length are padded in one batch."""
    model = saved(kind, tmp_path / "model")
    notes = [Note(f"n{number}", "cough and fever " * (1 + 5 * number), f"n{number}") for number in range(4)]
    save_corpus(tmp_path / "corpus", [CodedNote(note, ("486",), split="train") for note in notes])
    line = (
        f"--model_name_or_path {model} --corpus {tmp_path / 'corpus'} --output_dir {tmp_path / 'tuned'} --levels code"
    )
    more = "--folds 0 --holdout 0 --max_steps 1 --per_device_train_batch_size 4 --lora_target_modules q_proj v_proj"
    assert tune([*line.split(), *more.split()]) == 0, capsys.readouterr().err


def test_padding_changes_no_answer(folder):
    """The note alone and beside a longer one, as tuning pads them."""
    loaded = load_model(folder)
    tokens = TokenizedPrompt(PromptTemplate.load(), loaded.tokenizer, loaded.max_length)
    note, longer = (list(tokens.encode_note(one, 20).ids) for one in (NOTE, Note("l", NOTE.text * 3)))
    question = tokens.encode_question("asthma")
    alone = packed_margins(loaded.model, pack_batch([note], [[question]], 0), tokens.yes_id, tokens.no_id, 1)
    beside = pack_batch([note, longer], [[question]] * 2, 0)
    both = packed_margins(loaded.model, beside, tokens.yes_id, tokens.no_id, 1)
    np.testing.assert_allclose(both[0].detach(), alone[0].detach(), atol=1e-4)
