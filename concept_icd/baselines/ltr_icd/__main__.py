"""`accelerate launch -m concept_icd.baselines.ltr_icd`: what `scripts/train_ltr_icd.py` runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from concept_icd.tuning.launch import run_launched


def main(argv: Sequence[str]) -> int:
    """Parses options, trains and predicts."""

    def work() -> object:
        from concept_icd.baselines.ltr_icd.config import parse_options
        from concept_icd.baselines.ltr_icd.training import train

        return train(parse_options(argv))

    return run_launched("train_ltr_icd", work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
