"""Ranking from stored scores: seconds for 10,000 notes x 50 codes, with and without stored features of the notes' text.

    python benchmarks/ranking_speed.py --out benchmarks/results/ranking_speed.json

Synthetic stays with billing orders; the 50 codes that most of them have; random scores that are higher where a concept
holds. The heads and the lexicon are learnt on other stays. Timed from the saved files on: reading scores and features,
probabilities, decisions, ranks. Finding the text features is timed apart, since it is done once per note.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, record, timed
from safetensors.numpy import load_file, save_file

from concept_icd.artifacts import write_json
from concept_icd.corpora import synthetic_notes
from concept_icd.corpora.gold import gold_matrix, gold_places
from concept_icd.heads.fitting import HeadOptions, Heads, fit_heads, folds_of
from concept_icd.heads.lexicon_fitting import learn_features, naming
from concept_icd.heads.ranker_fitting import GoldOrder, notes_to_learn_from
from concept_icd.heads.ranking_features import PairTable
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology


def measure(notes: int, training: int, codes: int, rounds: int, seed: int) -> dict[str, Any]:
    stays = synthetic_notes(notes=notes + training, seed=seed, ordered=True)
    count = Counter(code for stay in stays for code in stay.codes)
    ontology = load_ontology("icd9cm")
    concepts = ConceptSet.expand(sorted(code for code, _ in count.most_common(codes)), ontology)
    ids = [stay.note.note_id for stay in stays]
    gold, patients = gold_matrix(ids, stays, concepts.codes)
    places, principal = gold_places(ids, stays, concepts.codes)
    procedure = np.array([ontology.kind(code) == "procedure" for code in concepts.codes])
    rng = np.random.default_rng(seed)
    true = (concepts.cover @ gold.T.astype(np.int32)).T > 0
    logits = (3.0 * true - 2.0 + 1.5 * rng.standard_normal(true.shape)).astype(np.float32)
    texts = [stay.note.text for stay in stays]

    options, levels = HeadOptions(features="path", seed=seed), [concept.level for concept in concepts.concepts]
    order = GoldOrder(places[:training], principal[:training], procedure)
    rows = notes_to_learn_from(order.places, seed)
    fold = folds_of(patients[:training], options)[rows]
    seconds = {}
    seconds["learn text features"], (lexicon, found) = timed(
        learn_features, [texts[row] for row in rows], order.places[rows], naming(concepts), procedure, fold
    )
    text = found.at_rows(rows, training)

    def fit(order: GoldOrder | None, text: PairTable | None) -> Heads:
        scores, truth = logits[:training], gold[:training]
        return fit_heads(
            scores,
            truth,
            concepts.cover,
            levels,
            concepts.codes,
            groups=patients[:training],
            order=order,
            text=text,
            options=options,
        )

    seconds["fit without an order"] = timed(fit, None, None)[0]
    seconds["fit"], heads = timed(fit, order, text)
    seconds["find text features"], features = timed(lexicon.features, texts[training:])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        heads.save(folder)
        save_file({"logits": logits[training:]}, folder / "scores.safetensors")
        features.save(folder / "text.safetensors")

        def rank(with_text: bool) -> np.ndarray:
            stored = load_file(folder / "scores.safetensors")["logits"]
            table = PairTable.load(folder / "text.safetensors") if with_text else None
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notes", type=int, default=10_000)
    parser.add_argument("--training-notes", type=int, default=5_000)
    parser.add_argument("--codes", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = arguments(parser)
    result = record("ranking_speed.py", args.seed)
    result |= measure(args.notes, args.training_notes, args.codes, args.rounds, args.seed)
    print(json.dumps(result, indent=2))
    if args.out:
        write_json(args.out, result)


if __name__ == "__main__":
    main()
