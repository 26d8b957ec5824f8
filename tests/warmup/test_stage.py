"""The warm-up of any causal LM: it learns, goes on after a kill, and leaves what tuning starts from."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from concept_icd.artifacts import read_record
from concept_icd.errors import InputError
from concept_icd.llm.base_model import load_model
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.records import Concept, Note
from concept_icd.scoring.packed import PackedScorer
from concept_icd.tuning.config import parse_into
from concept_icd.warmup.questions import QuestionMaker, batches
from concept_icd.warmup.stage import WarmupArguments, begin, warm_up
from concept_icd.warmup.training import Warmup
from tests.conftest import ROOT

SMALL = {
    "model_name_or_path": "tiny",
    "steps": 4,
    "notes": 2,
    "warmup": 2,
    "held_out_notes": 8,
    "synthetic_notes": 20,
    "lora_r": 4,
    "learning_rate": 3e-3,
}


def arguments(out: Path, **changed: object) -> WarmupArguments:
    return WarmupArguments(**{**SMALL, "out": str(out), **changed})


def start(maker: QuestionMaker, out: Path, **changed: object) -> Warmup:
    own = arguments(out, **changed)
    return Warmup(own, maker, [list(maker.text.notes) * 50], out, partial(begin, own), {"full": own.full})


def learnt(run: Warmup) -> dict[str, torch.Tensor]:
    return {name: weights.detach().clone() for name, weights in run.model.named_parameters() if weights.requires_grad}


@pytest.mark.parametrize("full", [False, True])
def test_a_killed_warm_up_goes_on_as_if_nothing_had_happened(maker: QuestionMaker, tmp_path: Path, full: bool) -> None:
    whole = start(maker, tmp_path / "whole", full=full)
    whole.run(lambda _: None)
    start(maker, tmp_path / "parts", full=full).run(lambda _: None, stop_at=2)
    resumed = start(maker, tmp_path / "parts", full=full)
    assert resumed.step == 2
    resumed.run(lambda _: None)
    first, second = learnt(whole), learnt(resumed)
    assert first.keys() == second.keys()
    assert all(torch.equal(weights, second[name]) for name, weights in first.items())
    files = {file.name for file in (tmp_path / "parts" / "checkpoint").iterdir()}
    assert ("adapter_model.safetensors" in files) is not full


def test_the_answers_are_learnt_by_the_lora_alone(maker: QuestionMaker, tmp_path: Path) -> None:
    run = start(maker, tmp_path, steps=40)
    base = {name: weights.clone() for name, weights in run.model.state_dict().items() if "lora" not in name}
    notes = next(batches(maker, 1, 0, 4))
    losses = [run._take_step(notes)[2] for _ in range(40)]
    assert losses[-1] < losses[0] - 0.1
    assert all(torch.equal(run.model.state_dict()[name], weights) for name, weights in base.items())


def test_the_language_can_be_learnt_beside_the_answers(maker: QuestionMaker, tmp_path: Path) -> None:
    run = start(maker, tmp_path, steps=30, told_weight=1.0, language_weight=1.0, row_tokens=16)
    notes = next(batches(maker, 1, 0, 4))
    language, told, _ = zip(*(run._take_step(notes) for _ in range(30)), strict=True)
    assert told[-1] < told[0] - 0.1
    assert language[-1] < language[0] - 0.1


def test_adapter_and_model_are_one_and_the_figures_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = warm_up(arguments(tmp_path / "out"))
    figures = read_record(out / "figures.json")
    assert 0 < figures["held_out_at_start"]["auc"] < 1
    assert f"'auc': {figures['held_out']['auc']}" in capfd.readouterr().err
    assert {path.name for path in out.iterdir()} == {"adapter", "model", "figures.json", "manifest.json"}
    assert "tiny" in read_record(out / "adapter" / "adapter_config.json")["base_model_name_or_path"]
    concepts = ConceptSet(("486",), (Concept("code:486", "code", "Pneumonia", ("486",)),))
    notes = [Note("a", "Pneumonia of the left lower lobe."), Note("b", "No pneumonia.")]
    base = PackedScorer.from_pretrained("tiny").score(notes, concepts).logits
    merged = PackedScorer.from_pretrained(out / "model").score(notes, concepts).logits
    adapted = PackedScorer.from_pretrained("tiny", out / "adapter").score(notes, concepts).logits
    torch.testing.assert_close(torch.tensor(merged), torch.tensor(adapted), atol=1e-4, rtol=1e-4)
    assert abs(merged - base).max() > 1e-3
    with pytest.raises(InputError, match="is finished"):
        warm_up(arguments(out))


def test_tuning_goes_on_from_the_adapter(tmp_path: Path) -> None:
    from concept_icd.corpora import save_corpus, synthetic_notes
    from concept_icd.tuning.config import make_options
    from concept_icd.tuning.finetune import finetune

    warm = warm_up(arguments(tmp_path / "warm", lora_target_modules=["q_proj", "v_proj"]))
    save_corpus(tmp_path / "corpus", synthetic_notes(notes=10, seed=0))
    options = make_options(
        corpus=str(tmp_path / "corpus"), output_dir=str(tmp_path / "tuned"), start_from=str(warm / "adapter"), folds=0,
        max_steps=1, learning_rate=0.0, per_device_train_batch_size=2,
    )  # fmt: skip
    tuned = load_file(finetune(options) / "adapter" / "adapter_model.safetensors")
    begun = load_file(warm / "adapter" / "adapter_model.safetensors")
    assert tuned.keys() == begun.keys()
    assert all(torch.equal(weights, tuned[name]) for name, weights in begun.items())


PROCESSES = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
AVERAGING = """
import torch
from accelerate import PartialState
from concept_icd.warmup.training import average_gradients

state = PartialState(cpu=True)
assert state.num_processes == 2
both, one = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
both.grad = torch.full((2,), 1.0 + state.process_index)
if state.process_index:
    one.grad = torch.full((2,), 4.0)
average_gradients([both, one], state.num_processes)
assert both.grad.tolist() == [1.5, 1.5]
assert one.grad.tolist() == [2.0, 2.0]
"""


@pytest.mark.slow
def test_processes_share_the_mean_of_their_gradients(tmp_path: Path) -> None:
    (tmp_path / "averaging.py").write_text(AVERAGING)
    command = [*PROCESSES, "2", str(tmp_path / "averaging.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_two_processes_learn_one_adapter(tmp_path: Path) -> None:
    """Each process has notes of its own; they begin as one process does, and the main one alone writes."""
    flags = [f"--{name}={value}" for name, value in (SMALL | {"steps": 2, "autocast": "no"}).items()]
    for count in (1, 2):
        done = subprocess.run(
            [*PROCESSES, str(count), str(ROOT / "scripts" / "warmup.py"), *flags,
             f"--notes={4 // count}", f"--out={tmp_path / str(count)}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    told = [read_record(tmp_path / str(count) / "figures.json") for count in (1, 2)]
    assert told[0]["held_out_at_start"]["auc"] == pytest.approx(told[1]["held_out_at_start"]["auc"], abs=0.01)
    assert told[1]["tokens"] > 0
    weights = load_file(tmp_path / "2" / "adapter" / "adapter_model.safetensors")
    assert any(tensor.abs().max() > 0 for name, tensor in weights.items() if "lora_B" in name)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--out", "x"], "--model_name_or_path"),
        (["--model_name_or_path", "tiny"], "--out"),
        (["--model_name_or_path", "tiny", "--out", "x", "--full", "--load_in_4bit"], "do not learn"),
        (["--model_name_or_path", "tiny", "--out", "x", "--steps", "0"], "steps must be at least 1"),
        (["--model_name_or_path", "tiny", "--out", "x", "--autocast", "maybe"], "auto, yes or no"),
        (["--model_name_or_path", "tiny", "--out", "x", "--lora_rank", "4"], "lora_r"),
    ],
)
def test_options_that_do_not_fit_are_told(flags: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_into((WarmupArguments,), flags, "configs/warmup")


def test_bad_input_leaves_nothing_behind(maker: QuestionMaker, tmp_path: Path) -> None:
    for changed, said in (
        ({"data_dir": str(tmp_path / "nowhere")}, "nowhere"),
        ({"model_name_or_path": str(tmp_path / "no-model")}, "no-model"),
        ({"lora_target_modules": ["no_such_layer"]}, "no_such_layer"),
        ({"prompt": "no-such-prompt"}, "no-such-prompt"),
    ):
        with pytest.raises(InputError, match=said):
            warm_up(arguments(tmp_path / "out", **changed))
        assert not (tmp_path / "out").exists()
    start(maker, tmp_path / "run").run(lambda _: None, stop_at=1)
    with pytest.raises(InputError, match="other options"):
        start(maker, tmp_path / "run", full=True)


def test_the_shipped_settings_can_be_read() -> None:
    for config in (ROOT / "configs" / "warmup").glob("*.yaml"):
        parsed = parse_into((WarmupArguments,), ["--config", config.stem, "--out", "x"], "configs/warmup")
        assert parsed[0].model_name_or_path
        assert json.dumps(parsed[0].__dict__)


def test_a_warmed_up_model_is_an_ordinary_folder(tmp_path: Path) -> None:
    out = warm_up(arguments(tmp_path / "out", full=True, steps=1))
    assert not (out / "adapter").exists()
    assert load_model(out / "model").max_length == load_model("tiny").max_length
