"""What comes in a folder is data: it names no address and no code, its numbers are numbers, its weights no pickles."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from concept_icd.artifacts import read_json, sha256
from concept_icd.coder import folder as coder_folder
from concept_icd.coder.coder import ConceptCoder
from concept_icd.errors import InputError
from concept_icd.heads.fitting import Heads
from concept_icd.llm import reference as model_reference
from concept_icd.llm.base_model import load_model, load_tokenizer
from concept_icd.llm.reference import fingerprint_of, resolve
from concept_icd.scoring.specs import checked_settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(coder_folder.SHIPPED / "radiology", tmp_path / "coder"))


def change(folder: Path, **settings: Any) -> None:
    """Changes coder.json as somebody would who can compute its hash, since that is no secret."""
    path = folder / "coder.json"
    record = read_json(path) | settings
    record["files"] = {name: sha256(folder / name) for name in record["files"]}
    coder = ConceptCoder.from_pretrained("radiology")
    model = replace(coder.model, name=record["model"], fingerprint=record["model_fingerprint"])
    record["hash"] = replace(coder, scorer_settings=record["scorer_settings"], model=model).hash
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "settings",
    [
        {"scorer": "server", "url": "http://127.0.0.1:9"},
        {"scorer": "vllm", "trust_remote_code": True},
        {"scorer": "vllm", "worker_cls": "module.Worker"},
        {"scorer": "packed", "device": "cuda"},
        {"scorer": "server", "served": "x"},
        {"scorer": "other"},
        {"scorer": ["packed"]},
        {"max_length": "2048"},
        {"max_length": True},
        {"max_length": -1},
        {"note_text": "http://127.0.0.1:9"},
        {"dtype": {"a": 1}},
        {"load_in_4bit": "yes"},
        ["scorer"],
        None,
    ],
)
def test_a_folder_says_how_notes_are_read_and_nothing_else(folder, settings):
    change(folder, scorer_settings=settings if isinstance(settings, dict) else {})
    record = read_json(folder / "coder.json") | {"scorer_settings": settings}
    (folder / "coder.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="the scorer's setting"):
        ConceptCoder.from_pretrained(folder)


def test_what_a_fit_may_record_is_what_a_folder_may_hold(fitted):
    assert checked_settings({"scorer": "vllm", "max_length": 2048, "note_text": "sections", "load_in_4bit": None})
    with pytest.raises(InputError, match="'url' is none that a coder keeps"):
        ConceptCoder.fit(
            fitted.scores,
            fitted.train,
            fitted.coder.concepts,
            scorer_settings={"scorer": "server", "url": "http://x"},
            **fitted.arguments,
        )


def test_notes_go_to_no_server_that_the_user_did_not_name(folder, tmp_path, capsys):
    from concept_icd.cli.main import main

    change(folder, scorer_settings={"scorer": "server"})
    with pytest.raises(InputError, match=r"name the server that may read the notes .*--server-url"):
        ConceptCoder.from_pretrained(folder).code("Cough.")
    (tmp_path / "note.txt").write_text("Cough.")
    assert main(["code", str(tmp_path / "note.txt"), "--coder", str(folder)]) == 2
    assert "--server-url URL" in capsys.readouterr().err


def test_a_hub_is_asked_only_for_what_the_user_named(folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    change(folder, model="nobody/no-such-model", model_fingerprint=None)
    with pytest.raises(InputError, match=r"is not on this machine; .*--model nobody/no-such-model"):
        ConceptCoder.from_pretrained(folder).code("Cough.")


def test_a_coder_is_pinned_by_its_hash(folder, tmp_path):
    from concept_icd.cli.main import main

    coder = ConceptCoder.from_pretrained(folder)
    assert ConceptCoder.from_pretrained(folder, expected_hash=coder.hash[:12]).hash == coder.hash
    for other in (coder.hash[:11], "0" * 64, ""):
        with pytest.raises(InputError, match=f"its hash is {coder.hash}"):
            ConceptCoder.from_pretrained(folder, expected_hash=other)
    (tmp_path / "note.txt").write_text("Cough.")
    command = ["code", str(tmp_path / "note.txt"), "--coder", str(folder), "--coder-hash"]
    assert main([*command, coder.hash[:12]]) == 0
    assert main([*command, "0" * 12]) == 2


@pytest.mark.parametrize("name", ["../concepts.json", "/dev/zero"])
def test_a_folder_names_no_file_outside(folder, name):
    record = read_json(folder / "coder.json")
    record["files"][name] = "0" * 64
    (folder / "coder.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="outside the folder"):
        ConceptCoder.from_pretrained(folder)


@pytest.mark.parametrize("name", ["coder.json", "concepts.json", "heads.json", "terms/terms.json", "words/words.json"])
@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000])
def test_a_file_that_nests_too_deeply_is_one_sentence(folder, name, text):
    (folder / name).write_text(text)
    record = read_json(coder_folder.SHIPPED / "radiology" / "coder.json")
    if name != "coder.json":
        record["files"][name] = sha256(folder / name)
        (folder / "coder.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="nests too deeply"):
        ConceptCoder.from_pretrained(folder)


def test_yaml_that_nests_too_deeply_is_one_sentence(folder):
    from concept_icd.llm.prompts import PromptTemplate

    (folder / "prompt.yaml").write_text("[" * 5_000)
    with pytest.raises(InputError, match=r"prompt\.yaml is not valid YAML"):
        PromptTemplate.load(folder / "prompt.yaml")


@pytest.mark.parametrize("tensor", ["mean", "scale", "bias", "data", "frequency"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_heads_that_are_not_finite_are_refused(folder, tensor, number):
    weights = folder / "heads.safetensors"
    tensors = load_file(weights)
    tensors[tensor] = np.array(tensors[tensor], dtype=np.float64)
    tensors[tensor].flat[0] = number
    save_file(tensors, weights)
    record = read_json(folder / "heads.json") | {"sha256": sha256(weights)}
    (folder / "heads.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="NaN or infinite"):
        Heads.load(folder)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999"])
def test_settings_of_heads_that_are_not_finite_are_refused(folder, text):
    path = folder / "heads.json"
    record = read_json(path)
    record["threshold"]["value"] = 0.123456
    path.write_text(json.dumps(record).replace("0.123456", text))
    with pytest.raises(InputError, match="NaN or infinite"):
        Heads.load(folder)


def test_terms_and_words_that_are_not_finite_are_refused(folder):
    from concept_icd.experts.terms import TermExpert
    from concept_icd.experts.words import WordExpert

    path = folder / "terms" / "terms.json"
    record = read_json(path)
    record["bias"][0] = float("nan")
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="NaN or infinite"):
        TermExpert.load(folder / "terms")
    whole = load_file(folder / "words" / "words.safetensors")
    loop = whole["having"].copy()
    loop[0] = 0  # a tree that leads a note round in a circle
    for name, values in (("value", np.full_like(whole["value"], np.nan)), ("having", loop)):
        save_file({**whole, name: values}, folder / "words" / "words.safetensors")
        digest = sha256(folder / "words" / "words.safetensors")
        settings = read_json(folder / "words" / "words.json") | {"sha256": digest}
        (folder / "words" / "words.json").write_text(json.dumps(settings))
        with pytest.raises(InputError, match=r"NaN or infinite|damaged"):
            WordExpert.load(folder / "words")


def test_scores_that_are_no_numbers_are_refused(fitted):
    logits = fitted.scores.logits.copy()
    logits[0, 0] = np.nan
    with pytest.raises(InputError, match="NaN or infinite"):
        fitted.coder.predict_proba(replace(fitted.scores, logits=logits))


class Code:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("malicious", [False, True])
def test_a_base_model_of_pickles_alone_is_refused(tmp_path, malicious):
    import torch
    from safetensors.torch import load_file as load_torch

    folder = Path(shutil.copytree(resolve("tiny"), tmp_path / "model"))
    state: dict[str, Any] = load_torch(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state | ({"x": Code(tmp_path / "ran")} if malicious else {}), folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"no weights in safetensors; .*save_pretrained"):
        load_model(folder)
    assert not (tmp_path / "ran").exists()


def test_pickles_beside_safetensors_are_not_read(tmp_path):
    import torch

    folder = Path(shutil.copytree(resolve("tiny"), tmp_path / "model"))
    torch.save({"x": Code(tmp_path / "ran")}, folder / "pytorch_model.bin")
    load_model(folder)
    assert not (tmp_path / "ran").exists()


def test_a_model_folder_brings_no_code(tmp_path):
    folder = Path(shutil.copytree(resolve("tiny"), tmp_path / "model"))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\n")
    config = read_json(folder / "config.json") | {"model_type": "mine"}
    config["auto_map"] = {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.C"}
    (folder / "config.json").write_text(json.dumps(config))
    for load in (load_model, load_tokenizer):
        with pytest.raises(InputError, match="cannot load the base model"):
            load(folder)  # and nobody is asked on the terminal
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("value", ["somebody/kernel", {"": "sdpa", "vision": "somebody/kernel@main:f"}])
@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation_internal", "experts_implementation"])
def test_a_model_folder_names_no_kernel_of_a_hub(tmp_path, name, value):
    folder = Path(shutil.copytree(resolve("tiny"), tmp_path / "model"))
    config = read_json(folder / "config.json")
    (folder / "config.json").write_text(json.dumps({**config, name: "sdpa"}))
    model_reference.require_safetensors(folder)
    (folder / "config.json").write_text(json.dumps({**config, name: value}))
    with pytest.raises(InputError, match="which is code"):
        load_model(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_model_folder_with_json_that_nests_too_deeply(tmp_path, name):
    folder = Path(shutil.copytree(resolve("tiny"), tmp_path / "model"))
    (folder / name).write_text('{"a":' * 100_000)
    with pytest.raises(InputError, match="cannot load the base model"):
        load_model(folder)


def test_an_adapter_is_no_base_model(tmp_path):
    folder = Path(shutil.copytree(resolve("tiny"), tmp_path / "model"))
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/elses"}')
    with pytest.raises(InputError, match="is an adapter: name its base model"):
        load_model(folder)


@pytest.mark.parametrize(
    "setting",
    [
        {"peft_type": "PROMPT_TUNING"},
        {"megatron_config": {"a": 1}, "megatron_core": "this"},
        {"arrow_config": {"a": 1}},
        {"something_new": "http://127.0.0.1:9"},
    ],
)
def test_an_adapter_sets_what_a_lora_has(tmp_path, setting):
    adapter = Path(shutil.copytree(coder_folder.SHIPPED / "radiology" / "adapter", tmp_path / "adapter"))
    config = read_json(adapter / "adapter_config.json") | setting
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"is not a LoRA adapter|which a LoRA adapter does not need"):
        load_model("tiny", adapter)


def test_a_pickled_adapter_is_refused(tmp_path):
    adapter = Path(shutil.copytree(coder_folder.SHIPPED / "radiology" / "adapter", tmp_path / "adapter"))
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(InputError, match=r"adapter_model\.bin is a pickle, and none is read"):
        load_model("tiny", adapter)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "tokenizer.model", "vocab.txt"])
def test_the_fingerprint_covers_what_is_loaded(tmp_path, name):
    folder = Path(shutil.copytree(model_reference.TINY, tmp_path / "model"))
    (folder / name).touch()
    before = fingerprint_of(folder)
    with (folder / name).open("ab") as file:
        file.write(b" ")
    assert fingerprint_of(folder) != before
