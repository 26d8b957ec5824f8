"""A causal LM with LoRA and a classification head: its loss by hand, its pooling, and a run end to end."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from concept_icd.baselines import lora_classifier
from concept_icd.baselines.lora_classifier import (
    ClassifierOptions,
    load_classifier,
    make_options,
    mean_loss,
    predict_proba,
    run,
)
from concept_icd.corpora import save_corpus
from concept_icd.errors import InputError
from concept_icd.readers.predictions import read_predictions
from concept_icd.records import CodedNote, Note
from tests.conftest import ROOT
from tests.llm.test_tokenizers import saved

WORDS = {"486": "pneumonia", "401.9": "asthma", "45.13": "renal"}


def note(number: int, *codes: str, split: str = "train") -> CodedNote:
    text = f"Day {number}: " + " and ".join(["cough", *(WORDS[code] for code in codes)])
    procedures = tuple(code for code in codes if code == "45.13")
    return CodedNote(
        Note(f"{split}{number}", text, f"{split}-p{number}"),
        tuple(code for code in codes if code not in procedures),
        procedures,
        split=split,
    )


TRAIN = [note(0, "486"), note(1, "401.9"), note(2, "486", "45.13"), note(3, "401.9", "45.13")]


def options(base: Path, where: Path, out: Path, **more: object):  # type: ignore[no-untyped-def]
    small = {"lora_r": 4, "lora_dropout": 0.0, "per_device_train_batch_size": 4, "save_strategy": "no", "holdout": 0.0}
    asked = small | {"base": str(base), "corpus": str(where), "output_dir": str(out), "max_steps": 1} | more
    return make_options(**asked)


def test_the_loss_is_the_mean_over_notes_and_labels() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [0.0, -math.log(3)]])
    labels = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    total = 2 * math.log(2) + math.log(4 / 3) + math.log(4)
    outputs = {"logits": logits}
    assert mean_loss(outputs, labels).item() == pytest.approx(total / 4)
    assert mean_loss(outputs, labels, torch.tensor(8)).item() == pytest.approx(total / 8)  # half of a step


def test_small_batches_learn_what_one_batch_does(llama: Path, tmp_path: Path) -> None:
    """4 notes at once and 4 one by one are one step: the same adapter."""
    save_corpus(tmp_path / "c", TRAIN)
    found = []
    for name, size in (("whole", 4), ("parts", 1)):
        out = run(
            options(
                llama, tmp_path / "c", tmp_path / name, optim="sgd", learning_rate=0.5,
                per_device_train_batch_size=size, gradient_accumulation_steps=4 // size, lr_scheduler_type="constant",
            )
        )  # fmt: skip
        found.append(load_file(out / "adapter" / "adapter_model.safetensors"))
    heads = [name for name in found[0] if "score" in name]
    assert heads
    for name, weight in found[0].items():
        torch.testing.assert_close(found[1][name], weight, atol=1e-5, rtol=1e-4)


def test_a_note_is_read_alike_alone_and_beside_longer_ones(llama: Path) -> None:
    """The head reads the last token of the note itself, not padding."""
    torch.manual_seed(0)
    classifier = load_classifier(ClassifierOptions(base=str(llama), max_length=40), 3)
    notes = [Note("a", "cough"), Note("b", "cough and fever for three days " * 20)]
    (_, alone, cut), *_ = predict_proba(classifier, notes[:1], 1)
    (_, first, _), (_, _, long) = predict_proba(classifier, notes, 2)
    np.testing.assert_allclose(first, alone, atol=1e-5)
    assert cut is None
    assert long is not None
    assert long.endswith("the first 40 were read")
    hidden = classifier.model.model(**classifier.collate([{"input_ids": classifier.encode(notes[0])[0]}]))[0][0, -1]
    by_hand = (classifier.model.score.weight @ hidden).sigmoid().detach().numpy()
    np.testing.assert_allclose(alone, by_hand, atol=1e-5)


def test_what_a_run_leaves_and_that_no_test_gold_enters(llama: Path, tmp_path: Path) -> None:
    folders = []
    for name, gold in (("a", ("486",)), ("b", ("401.9", "45.13"))):
        test = [CodedNote(note(n, "486").note, *((gold, ())), split="test") for n in range(10, 13)]
        dev = [note(n, "486", split="dev") for n in range(20, 22)]
        save_corpus(tmp_path / name, [*TRAIN, *dev, *test], label_set=list(WORDS))
        folders.append(run(options(llama, tmp_path / name, tmp_path / f"out-{name}", predict_split="test")))
    first, second = folders
    assert (first / "predictions.jsonl").read_bytes() == (second / "predictions.jsonl").read_bytes()
    left = {str(path.relative_to(first)) for path in first.rglob("*") if path.is_file()}
    assert left == {
        "adapter/adapter_config.json", "adapter/adapter_model.safetensors", "labels.json", "predictions.jsonl",
        "manifest.json",
    }  # fmt: skip
    found = read_predictions(first / "predictions.jsonl")
    assert set(found.codes) == set(WORDS)
    assert found.versions["model"].startswith("lora-classifier@")
    assert found.versions["threshold"].endswith("micro-F1 on the dev split")
    assert json.loads((first / "manifest.json").read_text())["stage"] == "lora-classifier"
    with pytest.raises(InputError, match="is finished"):
        run(options(llama, tmp_path / "a", first))
    with pytest.raises(TypeError, match="a scorer takes Note"):
        list(predict_proba(SimpleNamespace(model=None), TRAIN, 1))  # type: ignore[arg-type]


@pytest.mark.slow
def test_it_learns_four_notes_by_heart(llama: Path, tmp_path: Path) -> None:
    save_corpus(tmp_path / "c", TRAIN)
    learnt = {"max_steps": 60, "learning_rate": 1e-2, "predict_split": "train", "lr_scheduler_type": "constant"}
    out = run(options(llama, tmp_path / "c", tmp_path / "out", **learnt))
    for line, coded in zip(map(json.loads, (out / "predictions.jsonl").read_text().splitlines()), TRAIN, strict=True):
        assert {entry["code"] for entry in line["codes"] if entry["accepted"]} == set(coded.codes)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "lora-classifier").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_configs_parse(path: Path, tmp_path: Path) -> None:
    import yaml

    flags = ["--config", path.stem, "--corpus", "c", "--output_dir", str(tmp_path / "o")]
    parts = lora_classifier.parse_into(lora_classifier._CLASSES, flags, "configs/lora-classifier")
    for name, value in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        if name != "bf16":  # off where there is no GPU
            assert getattr(next(part for part in parts if hasattr(part, name)), name) == value


def test_a_base_that_is_not_there_is_one_sentence_and_leaves_no_folder(tmp_path: Path) -> None:
    save_corpus(tmp_path / "c", TRAIN)
    with pytest.raises(InputError, match=r"cannot load the base model .* with a classification head") as error:
        run(options(tmp_path / "nothing", tmp_path / "c", tmp_path / "out"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["no special tokens", "pad beyond the embedding", "pad is eos"])
def test_padding_changes_no_answer_whatever_the_tokenizer_pads_with(kind: str, tmp_path: Path) -> None:
    base = saved(kind, tmp_path / "model")
    torch.manual_seed(0)  # of the new head
    classifier = load_classifier(ClassifierOptions(base=str(base)), 3)
    notes = [Note("short", "cough"), Note("long", "cough and fever for three days, and more of it")]
    together = {one.note_id: found for one, found, _ in predict_proba(classifier, notes, 2)}
    for one in notes:
        [(_, alone, _)] = predict_proba(classifier, [one], 1)
        np.testing.assert_allclose(together[one.note_id], alone, atol=1e-5)
    assert np.abs(together["short"] - together["long"]).max() > 1e-4
