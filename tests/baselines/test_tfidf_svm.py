"""TF-IDF + SVM: it learns what words tell, survives codes that all or none of the notes have, and is a verb."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from concept_icd.baselines.tfidf_svm import TfidfSvm, run
from concept_icd.cli.main import main
from concept_icd.corpora import load_corpus, save_corpus, synthetic_notes
from concept_icd.errors import InputError
from concept_icd.readers.predictions import read_predictions
from concept_icd.records import CodedNote, Note

WORDS = {"486": "pneumonia", "401.9": "hypertension", "45.13": "endoscopy"}


def notes(count: int, split: str, seed: int) -> list[CodedNote]:
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        codes = [code for code in WORDS if rng.random() < 0.5]
        text = "report of " + " and ".join(["nothing", *(WORDS[code] for code in codes)])
        note = Note(f"{split}{number:03d}", text, f"{split}-p{number // 2}")
        found.append(
            CodedNote(
                note,
                tuple(code for code in codes if code != "45.13"),
                tuple(code for code in codes if code == "45.13"),
                split=split,
            )
        )
    return found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tfidf") / "corpus"
    save_corpus(folder, [*notes(60, "train", 0), *notes(20, "test", 1)])
    return folder


def test_the_verb_finds_the_codes_and_evaluate_reads_them(corpus: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "svm"
    assert main(["baseline", "tfidf-svm", "--corpus", str(corpus), "--out", str(out), "--folds", "4"]) == 0
    found = read_predictions(out / "predictions.jsonl")
    gold = {note.note.note_id: set(note.codes) for note in load_corpus(corpus).split("test")}
    assert found.accepted is not None
    accepted = {
        note: {code for code, taken in zip(found.codes, row, strict=True) if taken}
        for note, row in zip(found.note_ids, found.accepted, strict=True)
    }
    assert accepted == gold
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["stage"], manifest["notes"], manifest["config"]["folds"]) == (
        "tfidf-svm",
        sum(bool(note.codes) for note in load_corpus(corpus).split("train")),
        4,
    )
    assert found.versions["threshold"].endswith("4-fold cross-validated micro-F1 on the training notes")
    evaluation = ["--predictions", str(out / "predictions.jsonl"), "--gold", str(corpus), "--out", str(tmp_path / "e")]
    assert main(["evaluate", *evaluation]) == 0
    assert main(["baseline", "tfidf-svm", "--corpus", str(corpus), "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_dev_and_test_gold_decide_nothing(corpus: Path, tmp_path: Path) -> None:
    """Other gold codes of the dev and test notes leave every byte of the predictions as it was."""
    kept = load_corpus(corpus).notes
    label_set = list(WORDS)
    changed = [note if note.split == "train" else CodedNote(note.note, ("486",), (), split=note.split) for note in kept]
    changed += [CodedNote(note.note, ("401.9",), (), split="dev") for note in notes(10, "dev", 5)]
    save_corpus(tmp_path / "a", kept, label_set=label_set)
    save_corpus(tmp_path / "b", changed, label_set=label_set)
    first, second = run(tmp_path / "a", tmp_path / "out-a"), run(tmp_path / "b", tmp_path / "out-b")
    assert (first / "predictions.jsonl").read_bytes() == (second / "predictions.jsonl").read_bytes()


def test_it_takes_the_label_set_of_the_corpus(tmp_path: Path) -> None:
    save_corpus(tmp_path / "c", [*notes(30, "train", 0), *notes(4, "test", 1)], label_set=["486", "428.0"])
    line = json.loads((run(tmp_path / "c", tmp_path / "o") / "predictions.jsonl").read_text().splitlines()[0])
    assert sorted(entry["code"] for entry in line["codes"]) == ["428.0", "486"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"predict_split": "dev"}, "no notes in the split 'dev'"),
        ({"folds": 1}, "folds must be at least 2"),
        ({"cs": (1.0, 0.0)}, "cs must be positive numbers"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_leaves_no_folder(corpus, tmp_path, change, sentence) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=sentence):
        run(corpus, tmp_path / "out", **change)
    assert not (tmp_path / "out").exists()


def test_one_patient_is_refused(tmp_path: Path) -> None:
    one = [CodedNote(Note(f"n{i}", "pneumonia", "p"), ("486",), split="train") for i in range(4)]
    save_corpus(tmp_path / "c", [*one, *notes(2, "test", 1)])
    with pytest.raises(InputError, match="one patient"):
        run(tmp_path / "c", tmp_path / "out")


def test_a_held_out_fold_is_counted_as_it_is() -> None:
    """Three patients make three folds, whatever was asked: the source of the threshold says three."""
    gold = np.array([[True], [False], [True], [False], [True], [False]])
    texts = ["cough", "well", "cough", "well", "cough", "well"]
    assert TfidfSvm.fit(texts, gold, [0, 0, 1, 1, 2, 2], folds=5).threshold.source.startswith("3-fold")


def test_synthetic_notes_need_no_more_than_the_corpus(tmp_path: Path) -> None:
    save_corpus(tmp_path / "c", synthetic_notes(notes=40, seed=0))
    assert len(read_predictions(run(tmp_path / "c", tmp_path / "o") / "predictions.jsonl").codes) > 20


TOLD = ["cough", "fever", "hydronephrosis"]


def texts_and_gold(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    gold = rng.random((count, len(TOLD))) < 0.4
    texts = [" ".join(["report of", *(w for w, said in zip(TOLD, row, strict=True) if said)]) for row in gold]
    return texts, gold


def test_it_learns_the_words_and_keeps_the_threshold_that_it_chose():
    texts, gold = texts_and_gold(120, 0)
    model = TfidfSvm.fit(texts, gold, list(range(120)))
    new_texts, new_gold = texts_and_gold(60, 1)
    assert (model.threshold.accept(model.predict_proba(new_texts)) == new_gold).mean() > 0.98
    assert "cross-validated" in model.threshold.source


def test_codes_of_all_or_no_notes_are_constants():
    texts, gold = texts_and_gold(60, 0)
    gold = np.column_stack([gold, np.ones(60, dtype=bool), np.zeros(60, dtype=bool)])
    probabilities = TfidfSvm.fit(texts, gold, list(range(60))).predict_proba(texts[:5])
    assert np.allclose(probabilities[:, 3], 1 / (1 + np.exp(-1)))
    assert np.allclose(probabilities[:, 4], 1 / (1 + np.exp(1)))
