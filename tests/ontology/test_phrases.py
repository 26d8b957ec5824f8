"""Phrases: read from files, proposed by a real (tiny, random) model, checked against notes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concept_icd.errors import InputError
from concept_icd.ontology.coverage import check_coverage
from concept_icd.ontology.nchs import index_phrases
from concept_icd.ontology.phrases import merge_phrases, phrase_key, plain_phrases, read_phrase_file, write_phrase_file
from concept_icd.ontology.propose_phrases import load_proposal_prompt, parse_phrases, propose_phrases
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Note
from concept_icd.text.sentences import sentence_windows

ontology = load_ontology()


# Text and files


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Chest X-rays", "chest x ray"),
        ("Crackles.", "crackle"),
        ("Crohn's disease", "Crohn disease"),
        ("biopsies  of liver", "Biopsy of liver"),
    ],
)
def test_spellings_of_one_phrase_share_a_key(one, other):
    assert phrase_key(one) == phrase_key(other)


def test_different_phrases_keep_different_keys():
    assert len({phrase_key(text) for text in ("no fever", "fever", "sepsis", "stenosis", "pus")}) == 5


def test_plain_phrases():
    assert plain_phrases(["Typhoid (fever) (infection) [any site]", "typhoid", "NOS", "A (b (c)) d, NEC", ""]) == (
        "Typhoid",
    )
    assert plain_phrases(["Cough (with (dry)) night, NEC"]) == ("Cough night",)
    assert plain_phrases(["Tonsil:", "Conditions classifiable to 056", "Asthma, unspecified type"]) == ("Asthma",)


def test_a_phrase_file_as_in_cec(tmp_path):
    path = tmp_path / "phrases.json"
    content = {
        "428.0": {"parent": ["dyspnea", "Leg edema"], "leaf": ["low ejection fraction", "dyspneas"]},
        "486": ["rales"],
        "38.93": {"leaf": ["PICC line"]},
    }
    path.write_text(json.dumps(content))
    phrases = read_phrase_file(path)
    assert phrases == {
        "428.0": ["dyspnea", "Leg edema", "low ejection fraction"],
        "486": ["rales"],
        "38.93": ["PICC line"],
    }
    write_phrase_file(tmp_path / "again.json", phrases)
    assert read_phrase_file(tmp_path / "again.json") == phrases


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "JSON object"),
        ("{", "not valid JSON"),
        ('{"486": "rales"}', "'486' must be a list"),
        ('{"486": {"leaf": [1]}}', "'486' must be a list"),
        ('{"486": {"leaves": ["rales"]}}', "'leaves'"),
    ],
)
def test_bad_phrase_files_name_the_code(tmp_path, content, says):
    path = tmp_path / "phrases.json"
    path.write_text(content)
    with pytest.raises(InputError, match=says):
        read_phrase_file(path)


def test_a_missing_phrase_file(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read_phrase_file(tmp_path / "none.json")


def test_merging_keeps_the_first_spelling():
    merged = merge_phrases({"486": ["Rales"]}, {"486": ["rale", "fever", "..."], "428.0": ["edema"]})
    assert merged == {"486": ["Rales", "fever"], "428.0": ["edema"]}


# Answers of models


@pytest.mark.parametrize(
    ("answer", "phrases"),
    [
        (
            "1. Productive cough\n2. Fever and chills\n3. Lobar infiltrate",
            ["Productive cough", "Fever and chills", "Lobar infiltrate"],
        ),
        ("- rales\n* Rales\n• crackles.\n– Crackle", ["rales", "crackles"]),
        ("Sure! Here are 7 phrases:\n\n1) consolidation\n2) air bronchograms\n", ["consolidation", "air bronchograms"]),
        ("cough, fever, sputum culture, antibiotics", ["cough", "fever", "sputum culture", "antibiotics"]),
        ("Pneumonia, organism unspecified\nrales; wheezing", ["rales", "wheezing"]),  # the title itself adds nothing
        ('**Symptoms:**\n- "short of breath"\n- `low O2 saturation`', ["short of breath", "low O2 saturation"]),
        ("<think>\n</think>\n\n(a) chest x-ray\n(b) levofloxacin", ["chest x-ray", "levofloxacin"]),
        ("the patient was admitted with a very long sentence that is no phrase at all\nrales", ["rales"]),
        ("1. \n2.\n--\n\n12\n3. IV\n4. fever", ["fever"]),
        ("", []),
        ("\ufffd\ufffd\x00 \ufffd", []),
    ],
)
def test_phrases_are_read_from_what_models_write(answer, phrases):
    assert parse_phrases(answer, 7, known=["Pneumonia, organism unspecified"]) == phrases


def test_no_more_than_asked_for():
    assert parse_phrases("one fish\ntwo fish\nred fish\nblue fish", 3) == ["one fish", "two fish", "red fish"]


@given(st.text(max_size=300), st.integers(0, 9))
def test_no_answer_breaks_the_parser(answer, count):
    phrases = parse_phrases(answer, count)
    assert len(phrases) <= count
    assert len({phrase_key(phrase) for phrase in phrases}) == len(phrases)
    for phrase in phrases:
        assert 1 <= len(phrase.split()) <= 6
        assert phrase_key(phrase)


# A real model


def tiny_model(chat_template: str | None = None) -> tuple[Any, Any]:
    """A random Llama of two layers and a byte-level BPE tokenizer trained on a few lines."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    lines = [
        "cough and fever, rales on the left",
        "1. chest pain\n2. dyspnea\n",
        "Phrases:\n- edema\n- crackles\n",
        "crackles",
    ] * 20
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(lines, vocab_size=600, min_frequency=1, special_tokens=["<s>", "</s>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = chat_template
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=1024,
        bos_token_id=0,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config).eval(), tokenizer


CHAT = "{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}<s>{% endif %}"


@pytest.mark.slow
@pytest.mark.parametrize("chat_template", [None, CHAT])
def test_a_model_is_asked_about_every_code_and_its_garbage_is_read(chat_template):
    model, tokenizer = tiny_model(chat_template)
    codes = ["486", "428.0", "36.01"]  # the last is retired
    ask = {"count": 4, "max_new_tokens": 40}
    proposed = propose_phrases(codes, ontology, model, tokenizer, batch_size=2, **ask)
    assert list(proposed) == codes
    for phrases in proposed.values():
        assert len(phrases) <= 4
        assert all(phrase_key(phrase) for phrase in phrases)
    assert propose_phrases(codes, ontology, model, tokenizer, batch_size=2, **ask) == proposed  # greedy: repeatable


@pytest.mark.slow
def test_the_answer_begins_after_the_prompt():
    """A model that repeats one token forever proposes that word, and nothing of the prompt."""
    import torch

    model, tokenizer = tiny_model()
    word = tokenizer("crackles", add_special_tokens=False)["input_ids"]
    assert len(word) == 1
    with torch.no_grad():
        for layer in model.model.layers:  # the residual stream is then the embedding alone
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.fill_(1.0)
        model.lm_head.weight.zero_()
        model.lm_head.weight[word[0]] = 1.0
    proposed = propose_phrases(["486", "428.0"], ontology, model, tokenizer, max_new_tokens=1)
    assert proposed == {"486": ["crackles"], "428.0": ["crackles"]}


def test_the_shipped_prompt_has_its_blanks_and_others_are_checked(tmp_path):
    assert "{title}" in load_proposal_prompt("propose_phrases")
    path = tmp_path / "mine.yaml"
    for content, says in (
        ("name: mine\nprompt: 'about {title} of {path}'", "lacks {count}"),
        ("name: mine\nprompts: x", "keys name and prompt"),
        ("name: [", "not valid YAML"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=says):
            load_proposal_prompt(path)
    with pytest.raises(InputError, match="cannot read"):
        load_proposal_prompt(tmp_path / "none.yaml")


# Coverage


def test_windows_of_three_sentences_begin_two_apart():
    text = "One. Two. Three. Four. Five."
    assert sentence_windows(text) == ["One. Two. Three.", "Three. Four. Five."]
    assert sentence_windows("One. Two. Three. Four.") == ["One. Two. Three.", "Three. Four."]
    assert sentence_windows("One. Two.") == ["One. Two."]
    assert sentence_windows("pH 7.4 is fine") == ["pH 7.4 is fine"]
    assert sentence_windows("  \n ") == []


@given(st.lists(st.sampled_from(["Alpha.", "Beta.", "Gamma."]), min_size=1, max_size=12))
def test_every_sentence_is_in_a_window(sentences):
    windows = sentence_windows(" ".join(sentences))
    assert len(windows) == max(1, len(sentences) // 2)
    assert windows[-1].endswith(sentences[-1])
    assert all(len(window.split()) <= 3 for window in windows)


NOTES = [
    Note(
        "a", "Cough for three days. Fever of 39. Crackles at the left base. Chest x-rays show an infiltrate. Home soon."
    ),
    Note("b", "Fall from a horse. Wrist pain. No cough. Swelling of the left wrist. Cast applied."),
    Note("c", "Routine visit. Feels well. No complaints."),
    Note("d", ""),
]


def test_coverage_counts_the_notes_that_say_a_phrase():
    report = check_coverage(
        ["cough", "Chest X-ray", "wrist swelling", "hemodialysis", "chest hemodialysis", "the"], NOTES
    )
    assert [coverage.phrase for coverage in report][:2] == ["cough", "Chest X-ray"]
    assert [coverage.notes for coverage in report] == [2, 1, 1, 0, 0, 0]
    assert [coverage.found for coverage in report] == [True, True, True, False, False, False]
    assert report[3].best == 0.0
    assert 0 < report[4].best < 0.5  # one word of two, and the commoner one


def test_a_window_that_has_each_word_once_scores_about_one():
    notes = [Note(str(number), f"Word{number} alpha beta gamma.") for number in range(9)]
    assert check_coverage(["word3 word3"], notes)[0].best == pytest.approx(1.0, abs=1e-6)
    assert check_coverage(["word3"], notes, bar=1.01)[0].notes == 0


def test_coverage_without_notes():
    assert [coverage.notes for coverage in check_coverage(["cough"], [])] == [0]
    assert [coverage.notes for coverage in check_coverage(["cough"], [Note("d", " ")])] == [0]


def test_the_index_terms_of_cough_are_found_in_notes(shared_data):
    phrases = index_phrases(shared_data / "icd9cm" / "nchs_2011" / "Dindex12.zip", ["786.2"])["786.2"]
    report = {coverage.phrase: coverage.notes for coverage in check_coverage(phrases, NOTES)}
    assert report["Cough"] == 2
    assert report["tussive syncope"] == 0
