"""How training runs start: in this process or through accelerate; errors and the result are told by the first alone."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from concept_icd.errors import InputError, extras
from concept_icd.outputs import private_files
from concept_icd.resources import shipped_yaml


def run_launched(name: str, work: Callable[[], object]) -> int:
    """Runs `work` and prints what it returns; exit code 2 and one sentence, after `name`, for bad input.

    Args:
        work: imports what is heavy or may be missing itself, so that this too is told in a sentence.
    """
    tells = os.environ.get("RANK", "0") == "0"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in concept_icd.cli.main
    try:
        with extras("train"), private_files():
            out = work()
    except InputError as error:
        if tells:
            print(f"{name}: {error}", file=sys.stderr)
        return 2
    if tells:
        print(out)
    return 0


def launch(module: str, argv: Sequence[str], accelerate_config: str | None, *, several_gpus: bool = True) -> int:
    """Runs `main(argv)` of a module and returns its exit code.

    Args:
        accelerate_config: a preset of `configs/accelerate` or a YAML file, with which accelerate starts the processes;
            None: this process, or one a GPU where there are several and `several_gpus` holds.
    """
    command = [sys.executable, "-m", "accelerate.commands.launch", "--quiet"]
    if accelerate_config:
        file = Path(accelerate_config)
        command += ["--config_file", str(file if file.suffix else shipped_yaml("configs/accelerate", str(file)))]
    elif several_gpus and (gpus := _gpus()) > 1:
        command += ["--multi_gpu", "--num_machines", "1", "--num_processes", str(gpus)]
        command += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    else:
        return int(importlib.import_module(module).main(argv))
    return subprocess.run([*command, "-m", module, *argv], check=False).returncode


def _gpus() -> int:
    with extras("train"):
        import torch

    return torch.cuda.device_count()
