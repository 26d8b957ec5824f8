"""`accelerate launch -m concept_icd.tuning`: what `concept-icd finetune` and `scripts/finetune.py` run."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from concept_icd.tuning.launch import run_launched


def main(argv: Sequence[str]) -> int:
    """Parses options and tunes."""

    def work() -> object:
        from concept_icd.tuning.config import parse_options
        from concept_icd.tuning.finetune import finetune

        return finetune(parse_options(argv))

    return run_launched("concept-icd finetune", work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
