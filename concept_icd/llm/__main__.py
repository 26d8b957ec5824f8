"""`python -m concept_icd.llm MODEL`: makes a base model ready (`concept_icd.llm.model_files`) and prints its folder."""

from __future__ import annotations

import argparse
import sys

from concept_icd.errors import InputError
from concept_icd.llm.reference import resolve


def main() -> int:
    """Prepares the models that are named; a second time it only says where they lie."""
    parser = argparse.ArgumentParser(prog="python -m concept_icd.llm", description=__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="smollm2-135m, or a GGUF file")
    try:
        for model in parser.parse_args().models:
            print(resolve(model))
    except InputError as error:
        print(f"concept-icd: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
