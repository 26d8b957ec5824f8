"""Scores every concept of every note, resumable; the same as `concept-icd score`.

python scripts/score.py --corpus runs/corpus --tuned runs/tuned --out runs/scores
"""

import sys

from concept_icd.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["score", *sys.argv[1:]]))
