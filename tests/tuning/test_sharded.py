"""A base sharded over processes (FSDP2, as by accelerate's preset `fsdp` on GPUs) learns what one process learns.

accelerate shards on GPUs alone; torch's own sharding, which it calls, runs here on two CPU processes over gloo.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ROOT

WORKER = Path(__file__).with_name("sharded_worker.py")


@pytest.mark.slow
def test_gradients_of_a_sharded_base_are_those_of_one_process(llama: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    run = {"cwd": ROOT, "check": True, "timeout": 300, "env": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}}
    subprocess.run([sys.executable, str(WORKER), str(llama), str(one), "1"], **run)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*launch, str(WORKER), str(llama), str(two), "2"], **run)
    alone, sharded = load_file(one), load_file(two)
    assert set(alone) == set(sharded)
    largest = max(float(gradient.abs().max()) for gradient in alone.values())
    assert largest > 1e-4
    for name, gradient in alone.items():  # to float32's rounding over rows of other lengths
        torch.testing.assert_close(sharded[name], gradient, atol=1e-4 * largest, rtol=1e-3)
