"""The command that accelerate launches, once a process: errors and the result are told by the first alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from concept_icd.errors import InputError


def run_launched(name: str, work: Callable[[], object]) -> int:
    """Runs `work` and prints what it returns; exit code 2 and one sentence, after `name`, for bad input.

    Args:
        work: imports what is heavy or may be missing itself, so that this too is told in a sentence.
    """
    tells = os.environ.get("RANK", "0") == "0"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in concept_icd.cli.main
    try:
        out = work()
    except InputError as error:
        if tells:
            print(f"{name}: {error}", file=sys.stderr)
        return 2
    if tells:
        print(out)
    return 0
