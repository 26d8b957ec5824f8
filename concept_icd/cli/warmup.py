"""`concept-icd warmup`: teaches a base model to answer concept questions, through accelerate."""

from __future__ import annotations

import argparse

from concept_icd.cli.finetune import add_arguments as add_arguments

EXAMPLE = "concept-icd warmup --model_name_or_path tiny --steps 10 --held_out_notes 40 --out runs/warm"
#: What the warm-up parses itself.
PASSES_OPTIONS_ON = True


def run(args: argparse.Namespace) -> int:
    """Warms up in this process, or starts `accelerate launch -m concept_icd.warmup` where one is not enough."""
    from concept_icd.tuning.launch import launch

    return launch("concept_icd.warmup.__main__", args.others, args.accelerate_config)
