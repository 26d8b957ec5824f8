"""Tunes LoRA adapters; run it through accelerate, which spreads it over the GPUs there are.

    accelerate launch scripts/finetune.py --config configs/synthetic-tiny.yaml \
        --corpus runs/corpus --output_dir runs/tuned
    accelerate launch --config_file configs/accelerate/multi_gpu.yaml \
        scripts/finetune.py --config configs/mimic3-50.yaml --corpus runs/corpus --output_dir runs/tuned
"""

import sys

from concept_icd.tuning.__main__ import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
