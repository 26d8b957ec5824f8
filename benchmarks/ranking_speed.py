"""Ranking from stored scores: seconds for 10,000 notes x 50 codes, with and without stored features of the notes' text.

    python benchmarks/ranking_speed.py --out benchmarks/results/ranking_speed.json

Synthetic stays with billing orders; the 50 codes that most of them have; random scores that are higher where a concept
holds. The heads and the lexicon are learnt on other stays. Timed from the saved files on: reading scores and features,
probabilities, decisions, ranks. Finding the text features is timed apart, since it is done once per note.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, finish, heads_of, parser_of, timed
from ranking_head import draw_stays
from safetensors.numpy import load_file, save_file

from concept_icd.heads.fitting import HeadOptions, Heads, folds_of
from concept_icd.heads.lexicon_fitting import learn_features, naming
from concept_icd.heads.ranker_fitting import GoldOrder, notes_to_learn_from
from concept_icd.heads.ranking_features import PairTable


def measure(notes: int, training: int, codes: int, rounds: int, seed: int) -> dict[str, Any]:
    texts, patients, concepts, gold, orders, logits = draw_stays(notes + training, codes, seed)
    options = HeadOptions(features="path", seed=seed)
    order = orders.select(np.arange(training))
    rows = notes_to_learn_from(order.places, seed)
    fold = folds_of(patients[:training], options)[rows]
    seconds = {}
    seconds["learn text features"], (lexicon, found) = timed(
        learn_features, [texts[row] for row in rows], order.places[rows], naming(concepts), order.procedure, fold
    )
    text = found.at_rows(rows, training)

    def fit(order: GoldOrder | None, text: PairTable | None) -> Heads:
        given = {"groups": patients[:training], "order": order, "text": text, "options": options}
        return heads_of(logits[:training], gold[:training], concepts, **given)

    seconds["fit without an order"] = timed(fit, None, None)[0]
    seconds["fit"], heads = timed(fit, order, text)
    seconds["find text features"], features = timed(lexicon.features, texts[training:])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        heads.save(folder)
        save_file({"logits": logits[training:]}, folder / "scores.safetensors")
        save_file({"keys": features.keys, "values": features.values}, folder / "text.safetensors")

        def rank(with_text: bool) -> np.ndarray:
            stored = load_file(folder / "scores.safetensors")["logits"]
            if not with_text:
                return Heads.load(folder).rank(stored)
            table = PairTable(features.names, features.shape, **load_file(folder / "text.safetensors"))
            return Heads.load(folder).rank(stored, text=table)

        taken = {
            name: [timed(rank, with_text)[0] for _ in range(rounds)]
            for name, with_text in (("rank", True), ("rank without text", False))
        }
        seconds |= {name: statistics.median(values) for name, values in taken.items()}
        accepted = heads.threshold.accept(heads.predict_proba(logits[training:]))
    learned = heads.ranker.learned
    return {
        "notes": notes,
        "training_notes": training,
        "codes": len(concepts.codes),
        "concepts": len(concepts),
        "features": len(learned.names) if learned else 0,
        "accepted_pairs": int(accepted.sum()),
        "rounds": rounds,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "slowest_rank": round(max(taken["rank"]), 3),
        "chosen": heads.cross_validation["order"]["chosen"],
    }


def main() -> None:
    args = arguments(parser_of(__doc__, notes=10_000, training_notes=5_000, codes=50, rounds=5))
    finish(args, measure(args.notes, args.training_notes, args.codes, args.rounds, args.seed))


if __name__ == "__main__":
    main()
