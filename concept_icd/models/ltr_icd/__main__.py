"""`accelerate launch -m concept_icd.models.ltr_icd`: what `scripts/train_ltr_icd.py` runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from concept_icd.errors import InputError


def main(argv: Sequence[str]) -> int:
    """Parses options, trains and predicts; exit code 2 and one sentence for bad input."""
    tells = os.environ.get("RANK", "0") == "0"  # of several processes, the first
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in concept_icd.cli.main
    try:
        from concept_icd.models.ltr_icd.options import parse_options
        from concept_icd.models.ltr_icd.training import train

        out = train(parse_options(argv))
    except InputError as error:
        if tells:
            print(f"train_ltr_icd: {error}", file=sys.stderr)
        return 2
    if tells:
        print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
