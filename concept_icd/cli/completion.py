"""`concept-icd completion`: the script by which a shell completes verbs, options and choices."""

from __future__ import annotations

import argparse

EXAMPLE = "concept-icd completion bash > ~/.local/share/bash-completion/completions/concept-icd"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The shell."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="whose script is printed")


def run(args: argparse.Namespace) -> int:
    """Prints the script."""
    import shtab

    from concept_icd.cli.main import whole_parser

    print(shtab.complete(whole_parser(), shell=args.shell))
    return 0
