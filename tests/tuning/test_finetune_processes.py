"""Tuning runs in processes of their own: what they say, killed and resumed, launched by accelerate, two at once."""

from __future__ import annotations

import re
import signal

import pytest
import torch
from safetensors.torch import load_file

from concept_icd.artifacts import read_manifest
from concept_icd.scoring.specs import ADAPTER
from concept_icd.tuning.config import parse_options
from concept_icd.tuning.finetune import finetune
from tests.tuning.runs import flags, learned, process, wait_for

pytestmark = pytest.mark.slow


def test_what_a_run_says_is_short_and_holds_no_note(corpus, llama, tmp_path):
    with process(flags(corpus, llama, tmp_path / "t", folds=0, logging_steps=1)) as child:
        out, err = child.communicate()
    assert child.returncode == 0, err
    assert out == f"{tmp_path / 't'}\n"
    assert "\r" not in err
    lines = err.splitlines()
    assert lines[0] == f"adapter adapter: {len(learned(corpus))} notes"
    assert "notes are not read to their end: the longest prompt is 512 tokens" in lines[1]
    assert re.fullmatch(r"tuning adapter: 2/2 steps, \d+ s, loss \d+\.\d+", lines[2])
    assert len(lines) == 3


def test_a_killed_run_goes_on_from_its_checkpoint_to_the_same_weights(corpus, llama, tmp_path):
    options = {"max_steps": -1, "num_train_epochs": 3, "lora_dropout": 0.1, "per_device_train_batch_size": 4}
    out, whole = tmp_path / "t", tmp_path / "whole"
    # Once in the final adapter, once in the second fold, whose checkpoint is the later one then.
    for moment in ("adapter/checkpoint-6", "fold-1/checkpoint-3"):
        with process(flags(corpus, llama, out, **options)) as child:
            wait_for(child, out / "checkpoints" / moment / "trainer_state.json")
            child.send_signal(signal.SIGKILL)
        assert not (out / "manifest.json").exists()
        assert not (out / moment.split("/")[0]).exists()
    cut_short = out / "checkpoints" / "fold-1" / "checkpoint-9000"
    cut_short.mkdir()
    (cut_short / "adapter_model.safetensors").write_bytes(b"half of it")
    finished = (out / ADAPTER / "adapter_model.safetensors").stat().st_mtime_ns
    with process(flags(corpus, llama, out, **options)) as child:
        _, err = child.communicate()
    assert child.returncode == 0, err
    checkpoint = re.search(r"resuming from .*fold-1.checkpoint-(\d+)\n", err)
    assert checkpoint, err
    assert 3 <= int(checkpoint[1]) < 9
    assert "adapter adapter" not in err
    assert "tuning fold-1: 9/9 steps" in err
    assert (out / ADAPTER / "adapter_model.safetensors").stat().st_mtime_ns == finished
    assert not (out / "checkpoints").exists()
    with process(flags(corpus, llama, whole, **options)) as child:
        _, err = child.communicate()
    assert child.returncode == 0, err
    for name in (ADAPTER, "fold-0", "fold-1"):
        resumed, unbroken = (load_file(folder / name / "adapter_model.safetensors") for folder in (out, whole))
        for key in unbroken:
            torch.testing.assert_close(resumed[key], unbroken[key], rtol=0, atol=1e-6)


def test_accelerate_launches_the_script_as_documented(corpus, llama, tmp_path):
    script = ["--cpu", "--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no"]
    script += ["--dynamo_backend", "no", "scripts/finetune.py", "--config", "configs/synthetic-tiny.yaml"]
    options = flags(corpus, llama, tmp_path / "t", folds=0, max_steps=1)
    with process([*script, *options], "accelerate.commands.launch") as child:
        _, err = child.communicate()
    assert child.returncode == 0, err
    assert read_manifest(tmp_path / "t", "finetune")["config"]["lora_r"] == 16  # the config's, by no flag


def test_the_verb_takes_the_same_options(corpus, llama, tmp_path):
    from concept_icd.cli.main import main as command

    options = flags(corpus, llama, tmp_path / "t", folds=0, max_steps=1)
    assert command(["finetune", "--config", "synthetic-tiny", *options]) == 0
    assert command(["finetune", "--accelerate-config", "cpu", *options]) != 0  # finished already
    (tmp_path / "t" / "manifest.json").unlink()
    assert command(["finetune", "--config", "synthetic-tiny", "--accelerate-config", "cpu", *options]) == 0
    assert (tmp_path / "t" / "manifest.json").is_file()


def test_two_processes_learn_what_one_learns_from_both_their_batches(corpus, llama, tmp_path):
    """Every concept is asked and nothing is dropped out, so that chance decides the order of the notes alone."""
    same = {"folds": 2, "negative_share": 1.0, "lora_dropout": 0.0, "train_sampling_strategy": "random", "seed": 3}
    two = flags(corpus, llama, tmp_path / "two", **same, per_device_train_batch_size=2)
    launch = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "concept_icd.tuning")
    with process(two, *launch) as child:
        out, err = child.communicate()
    assert child.returncode == 0, err
    assert out.count("\n") == 1
    assert [line.split(",")[0] for line in err.splitlines() if line.startswith("tuning")] == [
        f"tuning {name}: 2/2 steps" for name in (ADAPTER, "fold-0", "fold-1")
    ]
    finetune(parse_options(flags(corpus, llama, tmp_path / "one", **same, per_device_train_batch_size=4)))
    names = [{path.relative_to(tmp_path / run) for path in (tmp_path / run).rglob("*")} for run in ("one", "two")]
    assert names[0] == names[1]
    for name in (ADAPTER, "fold-0", "fold-1"):
        one, both = (load_file(tmp_path / run / name / "adapter_model.safetensors") for run in ("one", "two"))
        for key in one:
            torch.testing.assert_close(both[key], one[key], rtol=0, atol=2e-6)
    with process(two, *launch) as child:
        _, err = child.communicate()
    assert err.count("is finished; name another folder") == 1
