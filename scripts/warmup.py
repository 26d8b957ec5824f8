"""Teaches a causal LM to answer concept questions, before it is tuned on coded notes.

    accelerate launch scripts/warmup.py --model_name_or_path smollm2-135m --data_dir DATA --out runs/warm
    accelerate launch --config_file configs/accelerate/single_gpu.yaml \
        scripts/warmup.py --config configs/warmup/8b.yaml --data_dir DATA --out runs/warm-8b
"""

import sys

from concept_icd.warmup.__main__ import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
