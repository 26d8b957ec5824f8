"""`accelerate launch -m concept_icd.tuning`: what `concept-icd finetune` and `scripts/finetune.py` run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from concept_icd.errors import InputError


def main(argv: Sequence[str]) -> int:
    """Parses options and tunes; exit code 2 and one sentence for bad input."""
    tells = os.environ.get("RANK", "0") == "0"  # of several processes, the first
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in concept_icd.cli.main
    try:
        from concept_icd.tuning.config import parse_options
        from concept_icd.tuning.finetune import finetune

        out = finetune(parse_options(argv))
    except InputError as error:
        if tells:
            print(f"concept-icd finetune: {error}", file=sys.stderr)
        return 2
    if tells:
        print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
