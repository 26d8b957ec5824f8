"""Scores predictions of any model against gold codes; the same as `concept-icd evaluate`.

python scripts/evaluate.py --predictions predictions.jsonl --gold gold.jsonl --out runs/evaluation
python scripts/evaluate.py --predictions test.jsonl --gold test_gold.jsonl --threshold-from dev.jsonl dev_gold.jsonl \
    --train-counts runs/corpus --out runs/evaluation
"""

import sys

from concept_icd.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
