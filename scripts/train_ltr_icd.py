"""Trains LTR-ICD, or PLM-ICD's classifier, and predicts the test notes; run it through accelerate.

    accelerate launch scripts/train_ltr_icd.py --config configs/ltr-icd/tiny.yaml \
        --corpus runs/corpus --output_dir runs/ltr-icd
    concept-icd evaluate --predictions runs/ltr-icd/predictions.jsonl --gold runs/corpus --out runs/ltr-icd/evaluation
"""

import sys

from concept_icd.baselines.ltr_icd.__main__ import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
