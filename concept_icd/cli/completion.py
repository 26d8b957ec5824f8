"""`concept-icd completion`: the script by which a shell completes verbs, options and choices."""

from __future__ import annotations

import argparse

EXAMPLE = "concept-icd completion bash"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The shell."""
    where = "bash reads it from the file ~/.local/share/bash-completion/completions/concept-icd"
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help=f"whose script is printed; {where}")


def run(args: argparse.Namespace) -> int:
    """Prints the script."""
    import shtab

    from concept_icd.cli.main import whole_parser

    print(shtab.complete(whole_parser(), shell=args.shell))
    return 0
