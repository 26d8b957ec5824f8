"""`concept-icd finetune`: tunes LoRA adapters, through accelerate."""

from __future__ import annotations

import argparse

HELP = "tune LoRA adapters on a prepared corpus (relaunches itself through accelerate)"
EXAMPLE = "concept-icd finetune --config synthetic-tiny --corpus runs/corpus --output_dir runs/tuned"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of accelerate; everything else goes to the tuning options as it stands."""
    parser.add_argument(
        "--accelerate-config", metavar="NAME", help="accelerate preset (cpu, single_gpu, multi_gpu) or a file of your own"
    )
    parser.add_argument(
        "options",
        nargs=argparse.REMAINDER,
        help="options as for scripts/finetune.py: --config FILE.yaml and any option of it; see its --help",
    )


def run(args: argparse.Namespace) -> int:
    """Starts `accelerate launch -m concept_icd.tuning` with the options; one CPU process where there is no GPU."""
    import subprocess
    import sys
    from pathlib import Path

    from concept_icd.resources import resource

    launch = [sys.executable, "-m", "accelerate.commands.launch"]
    if args.accelerate_config:
        file = Path(args.accelerate_config)
        launch += ["--config_file", str(file if file.suffix else resource(f"configs/accelerate/{file}.yaml"))]
    else:
        import torch

        launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        launch += ["--num_processes", str(max(1, torch.cuda.device_count()))]
        launch += [] if torch.cuda.is_available() else ["--cpu"]
    return subprocess.run([*launch, "-m", "concept_icd.tuning", *args.options], check=False).returncode
