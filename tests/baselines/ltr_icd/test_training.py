"""Training on tiny corpora: it learns an order, resumes, predicts without gold, and leaves no pickle behind."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import processors
from transformers import BertConfig, BertModel

from concept_icd.baselines.corpus import labels_of, training_notes
from concept_icd.baselines.ltr_icd import training
from concept_icd.baselines.ltr_icd.config import PLM_ICD, make_options
from concept_icd.baselines.ltr_icd.data import NoteEncoder, caml_words
from concept_icd.baselines.ltr_icd.model import LtrIcd
from concept_icd.baselines.ltr_icd.predicting import predict
from concept_icd.baselines.ltr_icd.training import train
from concept_icd.corpora import load_corpus, save_corpus, synthetic_notes
from concept_icd.errors import InputError
from concept_icd.readers.predictions import read_predictions
from concept_icd.records import CodedNote, Note
from tests.baselines.ltr_icd.small_models import coded, small_model
from tests.conftest import ROOT, build_tokenizer

#: Of several shapes: one code, only procedures, the same codes in two orders.
EIGHT = [
    coded(0, ("038.9", "486", "428.0"), ("96.04", "38.93")),
    coded(1, ("428.0", "486", "038.9"), ("38.93", "96.04")),
    coded(2, ("486",)),
    coded(3, (), ("45.13", "38.93")),
    coded(4, ("599.0", "250.00", "401.9")),
    coded(5, ("401.9", "599.0"), ("45.13",)),
    coded(6, ("250.00", "401.9", "599.0")),
    coded(7, ("038.9", "599.0"), ("38.93", "45.13")),
]
SMALL = {
    "base": "tiny", "tiny_width": 64, "tiny_layers": 1, "tiny_vocabulary": 400, "channels": 16, "max_tokens": 64,
    "segment_tokens": 64, "report_to": "none", "logging_steps": 50, "seed": 0,
}  # fmt: skip


def corpus(folder: Path, notes: list[CodedNote], **more: object) -> str:
    save_corpus(folder, notes, **more)  # type: ignore[arg-type]
    return str(folder)


def options(corpus: str, out: Path, **more: object):  # type: ignore[no-untyped-def]
    return make_options(**SMALL | {"corpus": corpus, "output_dir": str(out), "num_train_epochs": 1} | more)


def codes_by_note(path: Path) -> dict[str, list[str]]:
    lines = map(json.loads, path.read_text().splitlines())
    return {line["note_id"]: [entry["code"] for entry in line["codes"]] for line in lines}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A short run: 12 training notes, 4 dev notes, 4 test notes of which one is not coded."""
    folder = tmp_path_factory.mktemp("run")
    notes = [coded(n, EIGHT[n % 8].diagnoses, EIGHT[n % 8].procedures) for n in range(12)]
    notes += [coded(12 + n, EIGHT[n].diagnoses, EIGHT[n].procedures, split="dev") for n in range(4)]
    notes += [coded(16 + n, EIGHT[n].diagnoses, split="test") for n in range(3)] + [coded(19, (), split="test")]
    where = corpus(folder / "corpus", notes)
    return folder / "corpus", train(options(where, folder / "out", num_train_epochs=3))


def test_what_a_run_leaves(run: tuple[Path, Path]) -> None:
    _, out = run
    left = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert left == {
        "manifest.json", "predictions.jsonl", "model/config.json", "model/model.safetensors", "model/tokenizer.json",
        "model/tokenizer_config.json",
    }  # fmt: skip
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["stage"], manifest["notes"], len(manifest["held_out"])) == ("ltr-icd", 12, 4)
    assert manifest["config"]["generation_weight"] == 1.0
    threshold = json.loads((out / "model" / "config.json").read_text())["threshold"]
    assert threshold["source"] == "micro-F1 on the dev split"


def test_predictions_are_read_by_evaluate(run: tuple[Path, Path]) -> None:
    _, out = run
    found = read_predictions(out / "predictions.jsonl")
    assert list(found.note_ids) == ["n16", "n17", "n18", "n19"]
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    for line in lines:
        assert [entry["rank"] for entry in line["codes"]] == list(range(1, 10))
        assert line["versions"]["model"].startswith("ltr-icd@")
        assert line["truncated"] is None


def test_the_saved_model_predicts_the_same_for_new_notes(run: tuple[Path, Path]) -> None:
    where, out = run
    notes = [note.note for note in load_corpus(where).split("test")]
    results = list(predict(out / "model", notes, device="cpu", batch_size=3))
    written = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    for result, line in zip(results, written, strict=True):
        assert [code.code for code in result.codes] == [entry["code"] for entry in line["codes"]]
        assert [code.accepted for code in result.codes] == [entry["accepted"] for entry in line["codes"]]
        for code, entry in zip(result.codes, line["codes"], strict=True):
            assert code.probability == pytest.approx(entry["probability"], abs=1e-4)
    assert {code.title for code in results[0].codes} >= {"Congestive heart failure, unspecified"}


def test_a_scorer_never_sees_gold(run: tuple[Path, Path]) -> None:
    with pytest.raises(TypeError, match="a scorer takes Note"):
        list(predict(run[1] / "model", EIGHT, device="cpu"))  # type: ignore[arg-type]


def test_a_finished_run_and_other_options_are_refused(run: tuple[Path, Path], tmp_path: Path) -> None:
    where, out = run
    with pytest.raises(InputError, match="is finished"):
        train(options(str(where), out))
    out = tmp_path / "begun"
    (out / "model").mkdir(parents=True)
    (out / "run.json").write_text(json.dumps({"config": {"merge_floor": 0.9}, "made_of": {}}))
    with pytest.raises(InputError, match=r"begun with other options \(.*merge_floor"):
        train(options(str(where), out))


def test_long_notes_are_cut_and_say_so(run: tuple[Path, Path]) -> None:
    import dataclasses

    note = dataclasses.replace(EIGHT[0].note, text=EIGHT[0].note.text * 30)
    short, long = predict(run[1] / "model", [EIGHT[0].note, note], device="cpu")
    assert short.truncated is None
    assert long.truncated is not None
    assert long.truncated.endswith("tokens, the first 64 were read")
    with pytest.raises(InputError, match="note 'n00'"):
        list(predict(run[1] / "model", [dataclasses.replace(note, text="  ")], device="cpu"))


@pytest.mark.slow
def test_it_learns_the_order_of_eight_notes_by_heart(tmp_path: Path) -> None:
    """Trained and predicted on the same notes: every code found, each kind in its order, shapes of all sorts."""
    where = corpus(tmp_path / "corpus", EIGHT)
    out = train(
        options(
            where,
            tmp_path / "out",
            num_train_epochs=300,
            learning_rate=3e-3,
            holdout=0.0,
            predict_split="train",
            dropout=0.0,
            merge_floor=0.0,
            save_strategy="no",
        )
    )
    found = codes_by_note(out / "predictions.jsonl")
    accepted = {
        line["note_id"]: [entry["code"] for entry in line["codes"] if entry["accepted"]]
        for line in map(json.loads, (out / "predictions.jsonl").read_text().splitlines())
    }
    for note in EIGHT:
        assert found[note.note.note_id][: len(note.codes)] == list(note.codes)
        assert accepted[note.note.note_id] == list(note.codes)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    where = corpus(tmp_path / "corpus", [coded(n, EIGHT[n % 8].diagnoses, EIGHT[n % 8].procedures) for n in range(24)])
    whole = train(options(where, tmp_path / "whole", num_train_epochs=3, predict_split="train"))

    from transformers import Trainer

    steps = Trainer.training_step

    def killed(self: Trainer, *args: object, **kwargs: object) -> object:
        if self.state.global_step == 4:  # in the second epoch
            raise KeyboardInterrupt
        return steps(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            train(options(where, tmp_path / "cut", num_train_epochs=3, predict_split="train"))
    assert list((tmp_path / "cut" / "checkpoints").glob("checkpoint-3"))
    cut = train(options(where, tmp_path / "cut", num_train_epochs=3, predict_split="train"))
    assert (cut / "model" / "model.safetensors").read_bytes() == (whole / "model" / "model.safetensors").read_bytes()
    assert codes_by_note(cut / "predictions.jsonl") == codes_by_note(whole / "predictions.jsonl")
    assert not list(cut.rglob("*.pt")) + list(cut.rglob("*.bin"))


def test_a_run_killed_while_it_predicts_does_not_train_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = corpus(tmp_path / "corpus", [coded(n, EIGHT[n % 8].diagnoses, EIGHT[n % 8].procedures) for n in range(10)])
    wanted = options(where, tmp_path / "out", predict_split="train", holdout=0.2)

    def killed(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "write_predictions", killed)
        with pytest.raises(KeyboardInterrupt):
            train(wanted)
    weights = (tmp_path / "out" / "model" / "model.safetensors").read_bytes()
    monkeypatch.setattr(training, "fit", killed)
    train(wanted)
    assert (tmp_path / "out" / "model" / "model.safetensors").read_bytes() == weights
    assert len(codes_by_note(tmp_path / "out" / "predictions.jsonl")) == 10
    threshold = json.loads((tmp_path / "out" / "model" / "config.json").read_text())["threshold"]
    assert threshold["source"] == "micro-F1 on the 2 held-out training notes"


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path: Path) -> None:
    where = corpus(tmp_path / "corpus", synthetic_notes(notes=24, seed=3))
    words = {"corpus": where, "output_dir": tmp_path / "out", "config": "tiny", "num_train_epochs": 1, "tiny_width": 32}
    flags = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [*launch, str(ROOT / "scripts" / "train_ltr_icd.py"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "training ltr-icd: 2/2 steps" in done.stderr  # 17 notes to learn from, batches of 8, two at a time
    assert (tmp_path / "out" / "manifest.json").is_file()
    assert len((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()) == len(
        load_corpus(where).split("test")
    )


@pytest.mark.slow
def test_a_sharded_model_is_saved_whole(tmp_path: Path) -> None:
    """Each of two processes holds half of every weight (FSDP2); the file holds them all, written by one process."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    worker = Path(__file__).with_name("sharded_worker.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*launch, str(worker), str(tmp_path / "model")], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    saved, whole = LtrIcd.from_pretrained(tmp_path / "model", "cpu").state_dict(), small_model().state_dict()
    assert set(saved) == set(whole)
    for name, weight in whole.items():
        torch.testing.assert_close(saved[name], weight, rtol=0, atol=0)


def test_where_the_classifier_begins() -> None:
    """PLM-ICD's: weights of standard deviation .02, biases 0. Ours: biases at the log-odds of (n + .5) / (N + 1)."""
    examples = [{"codes": [0, 8]}, {"codes": [0]}, {"codes": []}]
    released = small_model("bert", ranking=False, kernel_size=1, channels=64, initializer_range=0.02)
    training.begin_from_training_notes(released, examples, tokenizer=None)
    (block,) = released.label_attentions
    assert not block.bias.any()
    assert block.first.std().item() == pytest.approx(0.02, rel=0.1)  # 1,024 draws: standard error 2.2 %
    ours = small_model("bert", ranking=False)
    training.begin_from_training_notes(ours, examples, tokenizer=None)
    assert ours.label_attentions[0].bias[[0, 1, 8]].tolist() == pytest.approx(
        [math.log(2.5 / 1.5), math.log(0.5 / 3.5), math.log(1.5 / 2.5)]
    )


def test_cut_notes_end_as_the_tokenizer_ends_a_text_and_numbers_are_no_words_of_caml() -> None:
    tokenizer = build_tokenizer()
    post = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    tokenizer.backend_tokenizer.post_processor = post
    text = "Given 40 mg Lasix, 40mg IV. ½ dose; ÉCG: v2_3"
    ids, said = NoteEncoder(tokenizer, 6, "caml").encode(Note("n", text))
    assert caml_words(text) == "given mg lasix 40mg iv dose écg v2_3"
    assert (len(ids), ids[0], ids[-1]) == (6, 1, 2)
    assert list(ids[1:-1]) == tokenizer(caml_words(text), add_special_tokens=False)["input_ids"][:4]
    assert said is not None


@pytest.mark.parametrize("base", ["tiny", "bert"])
def test_plm_icd_ranks_by_probability(base: str, tmp_path: Path) -> None:
    if base == "bert":  # a checkpoint by its folder
        sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        BertModel(BertConfig(vocab_size=400, pad_token_id=0, **sizes)).save_pretrained(tmp_path / "bert")
        build_tokenizer().save_pretrained(tmp_path / "bert")
        base = str(tmp_path / "bert")
    where = corpus(tmp_path / "corpus", [coded(n, EIGHT[n % 8].diagnoses, EIGHT[n % 8].procedures) for n in range(10)])
    released = PLM_ICD | {"predict_split": "train", "max_grad_norm": 0.0, "train_sampling_strategy": "random"}
    out = train(options(where, tmp_path / "out", **released, base=base, per_device_eval_batch_size=1))
    assert json.loads((out / "manifest.json").read_text())["stage"] == "plm-icd"
    for line in map(json.loads, (out / "predictions.jsonl").read_text().splitlines()):
        probabilities = [entry["probability"] for entry in line["codes"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert line["versions"]["model"].startswith("plm-icd@")


def test_held_out_patients_are_apart_and_test_notes_are_never_used() -> None:
    notes = synthetic_notes(notes=60, seed=2)
    no_dev = [note for note in notes if note.split != "dev"]
    train_notes, held_out = training_notes(corpus_of(no_dev), 0.2, seed=0)
    assert held_out
    assert not {n.note.patient_id for n in train_notes} & {n.note.patient_id for n in held_out}
    assert {n.split for n in (*train_notes, *held_out)} == {"train"}
    train_notes, held_out = training_notes(corpus_of(notes), 0.2, seed=0)
    assert {n.split for n in held_out} == {"dev"}
    assert training_notes(corpus_of(no_dev), 0.0, seed=0)[1] == []
    with pytest.raises(InputError, match="no coded training notes"):
        training_notes(corpus_of([coded(0, (), split="train"), coded(1, ("486",), split="test")]), 0.1, seed=0)
    with pytest.raises(InputError, match="one patient"):
        training_notes(corpus_of([coded(0, ("486",))]), 0.1, seed=0)


def corpus_of(notes: list[CodedNote]):  # type: ignore[no-untyped-def]
    from concept_icd.corpora import Corpus

    return Corpus(tuple(notes), {})


def test_a_label_set_with_an_alias_and_codes_outside(tmp_path: Path) -> None:
    """rare50's spoilt labels: "40.7" is a label that means another code; a code outside is left out, order kept."""
    from concept_icd.baselines.ltr_icd.data import training_example
    from concept_icd.baselines.ltr_icd.decoding import DIAGNOSES, END, PROCEDURES, Grammar

    notes = [coded(0, ("486", "428.0", "038.9"), ("96.04",))]
    save_corpus(tmp_path / "c", notes, label_set=["038.9", "96.4", "486"], aliases={"96.4": "96.04"})
    read = load_corpus(tmp_path / "c")
    assert labels_of(read, notes, "icd9cm") == (("038.9", "486"), ("96.4",), {"96.4": "96.04"})
    encoder = NoteEncoder(lambda text, verbose: {"input_ids": [5, 6]}, 10)
    example = training_example(notes[0], encoder, {"038.9": 0, "486": 1, "96.4": 2}, Grammar(2, 3))
    assert example["codes"] == [1, 0]
    assert example["sequence"] == [DIAGNOSES, 5, 4, PROCEDURES, END]
