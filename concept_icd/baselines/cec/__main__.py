"""`accelerate launch -m concept_icd.baselines.cec`: what `concept-icd baseline cec` runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from concept_icd.tuning.launch import run_launched


def main(argv: Sequence[str]) -> int:
    """Parses options, trains and predicts."""

    def work() -> object:
        from concept_icd.baselines.cec.options import parse_options
        from concept_icd.baselines.cec.training import run

        return run(parse_options(argv))

    return run_launched("cec", work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
