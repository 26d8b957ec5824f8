"""CEC end to end on the tiny model: a folder that evaluate reads, that survives a kill, without any test gold."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from concept_icd.baselines.cec import predicting, training
from concept_icd.baselines.cec.options import make_options, parse_options
from concept_icd.baselines.cec.predicting import answer_phrases, read_lines, score_codes, shown_phrases
from concept_icd.baselines.cec.training import run
from concept_icd.cli.main import main
from concept_icd.corpora import save_corpus
from concept_icd.errors import InputError
from concept_icd.llm.reference import ADAPTER_FILES
from concept_icd.readers.predictions import read_predictions
from concept_icd.records import CodedNote, Note
from tests.baselines.cec.test_examples import PHRASES

FILE = {label: {"parent": list(found[:5]), "leaf": list(found[5:])} for label, found in PHRASES.items()}
SMALL = {
    "concept_model": "tiny", "concept_4bit": False, "code_model": "tiny", "concept_steps": 1, "code_steps": 1,
    "optim": "adamw_torch", "max_length": 512, "lora_r": 4, "gradient_checkpointing": False,
    "gradient_accumulation_steps": 1,
}  # fmt: skip


def corpus(folder: Path, test_gold: tuple[str, ...] = ("486",)) -> Path:
    notes = [
        CodedNote(Note(f"a{n}", f"Cough, fever and oedema, day {n}."), (code,), split="train")
        for n, code in enumerate(("486", "428.0", "401.9"))
    ]
    notes += [CodedNote(Note(f"t{n}", f"Short of breath, day {n}."), test_gold, split="test") for n in range(3)]
    save_corpus(folder, notes, label_set=list(PHRASES))
    return folder


@pytest.fixture(scope="module")
def phrases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phrases") / "phrases.json"
    path.write_text(json.dumps(FILE))
    return path


def options(phrases: Path, where: Path, out: Path, **more: object):  # type: ignore[no-untyped-def]
    return make_options(**SMALL | {"phrases": str(phrases), "corpus": str(where), "output_dir": str(out)} | more)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_test_gold_changes_no_byte(
    phrases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(options(phrases, corpus(tmp_path / "c"), tmp_path / "whole"))
    manifest = json.loads((first / "manifest.json").read_text())
    assert (manifest["stage"], manifest["notes"], manifest["config"]["code_alpha"]) == ("cec", 3, 128)
    left = {str(path.relative_to(first)) for path in first.rglob("*") if path.is_file()}
    assert left == {
        *(f"{name}/{file}" for name in ("parent", "leaf", "code") for file in ADAPTER_FILES),
        "answers-parent.jsonl", "answers-leaf.jsonl", "scores.jsonl", "predictions.jsonl", "manifest.json",
    }  # fmt: skip
    predictions = read_predictions(first / "predictions.jsonl")
    assert set(predictions.codes) == set(PHRASES)
    assert predictions.versions["model"] == "cec"

    asked = predicting.write
    calls = []

    def killed(*args: object) -> object:
        calls.append(1)
        if len(calls) == 5:  # the leaf phrases of the second note
            raise KeyboardInterrupt
        return asked(*args)  # type: ignore[arg-type]

    other = corpus(tmp_path / "d", test_gold=("428.0", "401.9"))
    with monkeypatch.context() as patch:
        patch.setattr(predicting, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            run(options(phrases, other, tmp_path / "cut"))
    cut = tmp_path / "cut"
    assert len(read_lines(cut / "answers-parent.jsonl")) == 3
    assert len(read_lines(cut / "answers-leaf.jsonl")) == 1
    with (cut / "answers-leaf.jsonl").open("a") as file:
        file.write('{"note_id": "t1", "yes": [')
    with pytest.raises(InputError, match=r"begun with other options \(leaf_phrases\)"):
        run(options(phrases, other, cut, leaf_phrases=1))
    monkeypatch.setattr(training, "fit_lora", killed)  # finished adapters stay
    run(options(phrases, other, cut))
    for name in ("answers-parent.jsonl", "answers-leaf.jsonl", "scores.jsonl", "predictions.jsonl"):
        assert (cut / name).read_bytes() == (first / name).read_bytes()
    assert main(["evaluate", "--predictions", str(cut / "predictions.jsonl"), "--gold", str(other),
                 "--out", str(tmp_path / "e")]) == 0  # fmt: skip
    with pytest.raises(InputError, match="is finished"):
        run(options(phrases, other, cut))


def test_the_test_path_takes_notes_alone(tmp_path: Path) -> None:
    coded = [CodedNote(Note("n", "cough"), ("486",))]
    with pytest.raises(TypeError, match="a scorer takes Note"):
        predicting._each(coded, lambda note: {}, tmp_path / "x.jsonl", "")  # type: ignore[arg-type]
    for path in (answer_phrases, score_codes):
        assert path.__annotations__["notes"] == "Iterable[Note]"


def test_at_test_six_phrases_of_the_code_and_two_that_were_not_found_are_shown() -> None:
    found = frozenset({*PHRASES["486"], "oedema"})
    shown = shown_phrases("486", PHRASES, found, random.Random(0))
    own = [answer for phrase, answer in shown if phrase in PHRASES["486"]]
    others = [(phrase, answer) for phrase, answer in shown if phrase not in PHRASES["486"]]
    assert own == [True] * 6
    assert [answer for _, answer in others] == [False] * 2
    assert not {phrase for phrase, _ in others} & found
    assert set(dict(shown_phrases("428.0", PHRASES, frozenset(), random.Random(0))).values()) == {False}


@pytest.mark.parametrize("name", ["mimic3-50", "mimic3-rare50", "smollm2", "tiny"])
def test_configs_are_the_releases(name: str, tmp_path: Path) -> None:
    flags = ["--config", name, "--phrases", "p", "--corpus", "c", "--output_dir", str(tmp_path / "o")]
    cec, _, run_options = parse_options([*flags, "--optim", "adamw_torch"])
    assert (cec.parent_phrases, cec.leaf_phrases, cec.lora_r, cec.lora_dropout) == (5, 2, 32, 0.05)
    assert (cec.concept_modules, cec.concept_alpha) == (["q_proj", "v_proj"], 32)
    assert (cec.code_modules, cec.code_alpha, cec.state_truth) == (["k_proj", "v_proj"], 128, True)
    assert (run_options.per_device_train_batch_size, run_options.gradient_accumulation_steps) == (1, 4)
    assert (cec.parent_negative_share, cec.leaf_negative_share) == (0.045, 0.03 if "rare" in name else 0.045)
    if name != "tiny":
        assert (cec.concept_steps, cec.code_steps, cec.max_length) == (100, 500, 8192)
        assert cec.note_share == (0.1 if name == "mimic3-50" else 1.0)
        assert (run_options.learning_rate, run_options.warmup_steps) == (2e-4, 2)
    if name.startswith("mimic3"):
        assert cec.concept_4bit
        assert (cec.concept_model, cec.code_model) == (
            "meta-llama/Meta-Llama-3-8B",
            "ContactDoctor/Bio-Medical-Llama-3-8B",
        )


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"note_share": 0.0}, "note_share must lie in"),
        ({"code_dtype": "int4"}, "code_dtype must be one of"),
        ({"leaf_phrases": 0}, "leaf_phrases must be at least 1"),
    ],
)
def test_wrong_values_are_refused(more: dict[str, object], sentence: str, phrases: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        options(phrases, tmp_path, tmp_path / "o", **more)


def test_nothing_to_predict_and_nf4_without_a_gpu_are_told_before_the_work(phrases: Path, tmp_path: Path) -> None:
    where = corpus(tmp_path / "c")
    with pytest.raises(InputError, match="no notes in the split 'dev'"):
        run(options(phrases, where, tmp_path / "o", predict_split="dev"))
    if not training.torch.cuda.is_available():
        with pytest.raises(InputError, match="NF4 needs a GPU"):
            run(options(phrases, where, tmp_path / "o", concept_4bit=True))
    assert not (tmp_path / "o").exists()
