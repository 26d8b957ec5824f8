"""`accelerate launch -m concept_icd.warmup`: what `concept-icd warmup` and `scripts/warmup.py` run."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from concept_icd.tuning.launch import run_launched


def main(argv: Sequence[str]) -> int:
    """Parses options and warms a model up."""

    def work() -> object:
        from concept_icd.tuning.config import parse_into
        from concept_icd.warmup.stage import WarmupArguments, warm_up

        return warm_up(parse_into((WarmupArguments,), argv, "configs/warmup")[0])

    return run_launched("concept-icd warmup", work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
