"""The heads at the size of MIMIC-III-full: seconds and memory of fitting, predicting, saving and loading.

    python benchmarks/heads.py --out benchmarks/results/heads.json

9,500 notes, 8,922 codes drawn from the real trees and all the concepts above them; codes as frequent as 1/rank with 16
to a note, and random scores that are higher where a concept holds. Memory is the resident set's peak above scores and
gold codes, of a process that does nothing else. It says nothing of how good the heads are on real scores.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, finish, heads_of, parser_of, peak_bytes, timed

from concept_icd.heads.fitting import Heads
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology

#: Notes that are drawn together.
BLOCK = 500


def draw(notes: int, codes: int, seed: int) -> tuple[np.ndarray, np.ndarray, ConceptSet]:
    """Scores (notes, concepts), gold (notes, codes) and the concept set."""
    rng = np.random.default_rng(seed)
    ontology = load_ontology("icd9cm")
    every = ontology.codes()
    concepts = ConceptSet.expand([every[i] for i in sorted(rng.choice(len(every), codes, replace=False))], ontology)
    rate = rng.permutation(1 / np.arange(1, codes + 1))
    rate = np.minimum(16 * rate / rate.sum(), 0.5)
    gain = rng.normal(2.5, 1, len(concepts)).astype(np.float32)
    logits, gold = np.empty((notes, len(concepts)), dtype=np.float32), np.empty((notes, codes), dtype=bool)
    for start in range(0, notes, BLOCK):
        part = rng.random((min(BLOCK, notes - start), codes)) < rate
        true = (concepts.cover @ part.T.astype(np.int32)).T > 0
        noise = rng.standard_normal(true.shape, dtype=np.float32)
        gold[start : start + BLOCK], logits[start : start + BLOCK] = part, gain * true - 3 + 1.2 * noise
    return logits, gold, concepts


def fitting(notes: int, codes: int, seed: int) -> Callable[[], Any]:
    """Draws the scores; the function returned fits."""
    drawn = draw(notes, codes, seed)
    return lambda: heads_of(*drawn)


def predicting(folder: str, notes: int, codes: int, seed: int) -> Callable[[], Any]:
    """Draws the scores; the function returned loads the heads, predicts and ranks."""
    logits = draw(notes, codes, seed)[0]
    return lambda: Heads.load(folder).rank(logits)


def measure(notes: int, test_notes: int, codes: int, seed: int) -> dict[str, Any]:
    logits, gold, concepts = draw(notes, codes, seed)
    seconds = {"expand": timed(ConceptSet.expand, concepts.codes, load_ontology("icd9cm"))[0]}
    seconds["fit"], heads = timed(heads_of, logits, gold, concepts)
    seconds["predict"], probabilities = timed(heads.predict_proba, logits[:test_notes])
    seconds["rank"] = timed(heads.rank, logits[:test_notes], probabilities)[0]
    seconds["contributions_of_a_note"] = timed(heads.contributions, logits[0])[0]
    del gold
    with tempfile.TemporaryDirectory() as folder:
        seconds["save"] = timed(heads.save, folder)[0]
        stored = sum(path.stat().st_size for path in Path(folder).iterdir())
        seconds["load"], again = timed(Heads.load, folder)
        assert (again.predict_proba(logits[:10]) == probabilities[:10]).all()
        sizes = {"notes": notes, "test_notes": test_notes, "codes": codes, "concepts": len(concepts)}
        del logits
        peaks = {
            "fit": peak_bytes(fitting, notes, codes, seed),
            "load, predict and rank": peak_bytes(predicting, folder, test_notes, codes, seed),
        }
    return sizes | {
        "weights": int(heads.aggregator.weights.nnz),
        "strength": {"path": heads.strength.path},
        "cross_validated_micro_f1": heads.threshold.micro_f1,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "peak_bytes_above_scores_and_gold": peaks,
        "bytes_of_the_saved_heads": stored,
    }


def main() -> None:
    args = arguments(parser_of(__doc__, notes=9500, test_notes=3372, codes=8922))
    finish(args, measure(args.notes, args.test_notes, args.codes, args.seed))


if __name__ == "__main__":
    main()
