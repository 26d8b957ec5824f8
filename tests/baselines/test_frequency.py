"""The frequency row: shares of the training notes, one threshold of theirs, the same for every note."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from concept_icd.baselines.frequency import fit_frequency, run
from concept_icd.corpora import save_corpus
from concept_icd.errors import InputError
from concept_icd.metrics.decisions import decision_metrics
from concept_icd.readers.predictions import read_predictions
from concept_icd.records import CodedNote, Note


def note(name: str, codes: tuple[str, ...], split: str) -> CodedNote:
    return CodedNote(Note(name, f"Report {name}: cough."), codes, split=split)


def corpus(folder: Path) -> Path:
    train = [note("a", ("486", "401.9"), "train"), note("b", ("486",), "train"), note("c", ("486", "786.2"), "train")]
    others = [note("d", ("401.9",), "dev"), note("t1", ("401.9",), "test"), note("t2", (), "test")]
    save_corpus(folder, [*train, note("uncoded", (), "train"), *others], label_set=["401.9", "486", "599.0", "786.2"])
    return folder


def test_every_test_note_gets_the_shares_of_the_coded_training_notes(tmp_path: Path) -> None:
    out = run(corpus(tmp_path / "corpus"), tmp_path / "out")
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [line["note_id"] for line in lines] == ["t1", "t2"]
    for line in lines:
        found = {entry["code"]: entry["probability"] for entry in line["codes"]}
        assert found == pytest.approx({"486": 1, "401.9": 1 / 3, "786.2": 1 / 3, "599.0": 0})
        assert [entry["code"] for entry in line["codes"] if entry["accepted"]] == ["486"]
    assert read_predictions(out / "predictions.jsonl").versions["model"] == "frequency"
    assert json.loads((out / "manifest.json").read_text())["notes"] == 3
    with pytest.raises(InputError, match="exists already"):
        run(tmp_path / "corpus", out)


def test_no_other_threshold_is_better_on_the_training_notes() -> None:
    gold = np.random.default_rng(0).random((200, 6)) < np.array([0.7, 0.5, 0.35, 0.2, 0.1, 0.02])
    shares, threshold = fit_frequency(gold)

    def micro_f1(codes: int) -> float:
        accepted = np.zeros_like(gold)
        accepted[:, np.argsort(-shares)[:codes]] = True
        return decision_metrics(gold, accepted)["micro_f1"]

    taken = int(threshold.accept(shares[None]).sum())
    assert micro_f1(taken) == max(micro_f1(codes) for codes in range(1, 7))
    assert 1 <= taken < 6


def test_nothing_to_count_or_to_predict_is_a_sentence_and_leaves_no_folder(tmp_path: Path) -> None:
    save_corpus(tmp_path / "test", [note("t", ("486",), "test")])
    save_corpus(tmp_path / "train", [note("a", ("486",), "train")])
    for name, sentence in (("test", "no coded training notes"), ("train", "no notes in the split 'test'")):
        with pytest.raises(InputError, match=sentence):
            run(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()
