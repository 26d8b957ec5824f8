"""`concept-icd finetune`: tunes LoRA adapters, through accelerate."""

from __future__ import annotations

import argparse

EXAMPLE = "concept-icd finetune --config synthetic-tiny --corpus runs/corpus --output_dir runs/tuned-tiny"
#: What the tuning parses itself.
PASSES_OPTIONS_ON = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of accelerate; everything else goes to the tuning options as it stands."""
    parser.add_argument(
        "--accelerate-config",
        metavar="NAME",
        help="run through `accelerate launch` with a preset (cpu, single_gpu, multi_gpu) or a file of your own; "
        "by default one process, or one a GPU where there are several",
    )


def run(args: argparse.Namespace) -> int:
    """Tunes in this process, or starts `accelerate launch -m concept_icd.tuning` where one is not enough."""
    from concept_icd.tuning.launch import launch

    return launch("concept_icd.tuning.__main__", args.others, args.accelerate_config)
