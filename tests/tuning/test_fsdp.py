"""Tuning under accelerate's preset `fsdp`: one process alone loads the base, each holds its share, the result is whole.

Run on two CPU processes over gloo (`fsdp_worker.py`); nothing here says that it ran on GPUs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from concept_icd.resources import read_yaml
from concept_icd.scoring.specs import ADAPTER
from concept_icd.tuning.config import parse_options
from concept_icd.tuning.finetune import finetune
from tests.conftest import ROOT
from tests.tuning.runs import flags

WORKER = Path(__file__).with_name("fsdp_worker.py")


def preset() -> dict[str, str]:
    """What `accelerate launch --config_file configs/accelerate/fsdp.yaml` puts into the environment."""
    _, content = read_yaml("configs/accelerate", "fsdp")
    values = {name.removeprefix("fsdp_").upper(): value for name, value in content["fsdp_config"].items()}
    return {"ACCELERATE_USE_FSDP": "true"} | {f"FSDP_{name}": str(value).lower() for name, value in values.items()}


@pytest.fixture(scope="module")
def tied(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose LM head is its embedding, as small ones have it: sharding must not part the two."""
    folder = tmp_path_factory.mktemp("tied")
    config = transformers.AutoConfig.from_pretrained(llama)
    config.tie_word_embeddings = True
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(llama).save_pretrained(folder)
    return folder


def sharded(tmp_path: Path, given: list[str]) -> list[dict]:
    """Runs two processes; what each of them reported."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(WORKER)]
    environment = os.environ | preset() | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*launch, str(tmp_path / "report"), *given], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((tmp_path / f"report-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow(minutes=0.3)
def test_margins_of_a_sharded_model_in_bfloat16_are_float32(corpus, llama, tmp_path):
    """The parts give what they compute; rounded to bfloat16, margins would be as coarse as single logits."""
    for said in sharded(tmp_path, flags(corpus, llama, tmp_path / "tuned", folds=0, max_steps=1, bf16="true")):
        assert said["margins"] == "torch.float32"
        assert said["finer than bfloat16"]


@pytest.mark.slow(minutes=0.6)
def test_two_sharded_processes_learn_and_save_what_one_does(corpus, tied, tmp_path):
    """Learned question tokens beside the LoRA, and nothing left to chance but the order of the notes."""
    same = {"folds": 0, "negative_share": 1.0, "lora_dropout": 0.0, "train_sampling_strategy": "random"}
    same |= {"question_tokens": 1}
    given = flags(corpus, tied, tmp_path / "two", **same, per_device_train_batch_size=2)
    first, second = sharded(tmp_path, given)
    assert all(first["loaded"].values())
    assert not any(second["loaded"].values()), "a process that is not the main one must hold no weight of the base"
    for held in (first, second):
        assert held["sharded"]
        assert held["held"] <= 0.55 * held["whole"]
    finetune(parse_options(flags(corpus, tied, tmp_path / "one", **same, per_device_train_batch_size=4)))
    for name in ("adapter_model.safetensors", "question_tokens.safetensors"):
        one, two = (load_file(tmp_path / run / ADAPTER / name) for run in ("one", "two"))
        assert one.keys() == two.keys()
        for key, weight in one.items():
            torch.testing.assert_close(two[key], weight, rtol=0, atol=1e-5)
