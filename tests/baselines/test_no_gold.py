"""No baseline sees the codes of what it predicts: changed or taken away, they change no byte of its predictions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from concept_icd.cli.baseline import BASELINES
from concept_icd.cli.main import main
from concept_icd.corpora import save_corpus
from concept_icd.records import CodedNote, Note

SAID = {"486": "pneumonia", "428.0": "heart failure", "401.9": "hypertension"}
#: The test notes' codes, by run: the right ones; others, and none.
GOLD = {"right": tuple(SAID), "wrong": ("428.0", "486", None)}
NETWORK = ["--num_train_epochs", "1", "--report_to", "none"]
#: The smallest run of each, so that a new baseline has to be here.
SMALLEST = {
    "frequency": [],
    "tfidf-svm": [],
    "lora-classifier": ["--config", "tiny", "--lora_r", "2", "--holdout", "0.34", *NETWORK],
    "plm-icd": ["--config", "plm-icd-tiny", "--tiny_width", "32", "--channels", "32", "--tiny_vocabulary", "300",
                "--holdout", "0.34", *NETWORK],
    "ltr-icd": ["--config", "tiny", "--tiny_width", "32", "--channels", "8", "--tiny_vocabulary", "300",
                "--holdout", "0.34", *NETWORK],
    "cec": ["--config", "tiny", "--concept_steps", "1", "--code_steps", "1", "--gradient_accumulation_steps", "1",
            "--lora_r", "2", "--max_length", "512", "--phrases", "phrases.json"],
}  # fmt: skip


def corpus(folder: Path, gold: tuple[str | None, ...]) -> str:
    train = [(f"a{n}", code, (code,), "train") for n in range(2) for code in SAID]
    test = [(f"t{code}", code, (own,) if own else (), "test") for code, own in zip(SAID, gold, strict=True)]
    notes = [
        CodedNote(Note(name, f"Report {name}. Impression: {SAID[said]}.", f"p {name}"), codes, split=split)
        for name, said, codes, split in (*train, *test)
    ]
    save_corpus(folder, notes, label_set=list(SAID))
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", BASELINES)
def test_predictions_are_the_same_bytes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phrases = {code: {"parent": [f"sign of {said}"], "leaf": [said]} for code, said in SAID.items()}
    left = {}
    for way, gold in GOLD.items():
        (tmp_path / way).mkdir()
        monkeypatch.chdir(tmp_path / way)  # the names of the folders are the same, which a model may keep
        Path("phrases.json").write_text(json.dumps(phrases))
        assert main(["baseline", name, "--corpus", corpus(Path("corpus"), gold), "--out", "out", *SMALLEST[name]]) == 0
        left[way] = Path("out", "predictions.jsonl").read_bytes()
        assert len(left[way].splitlines()) == 3
    assert left["right"] == left["wrong"]
