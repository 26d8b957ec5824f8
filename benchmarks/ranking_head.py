"""The learned order against LightGBM's LambdaRank on the same features: invented stays in billing order, 3 seeds.

    pip install lightgbm
    python benchmarks/ranking_head.py --out benchmarks/results/ranking_head.json

Concept scores are drawn at random, higher where a concept holds; so are the accepted codes good, and what is measured
is the order. Features, folds and the rule of ranking are the same for all: figures are of held-out patients. LightGBM
gets graded relevance, small trees and the best of a few sizes on those same held-out patients, which flatters it as
much as the choice of loss and ridge flatters the head. Without LightGBM its row is left out.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from common import arguments, finish, heads_of, over_seeds, parser_of, timed

from concept_icd.corpora import synthetic_notes
from concept_icd.corpora.gold import gold_matrix, gold_places
from concept_icd.heads.aggregator import Strength, fit_aggregator
from concept_icd.heads.fitting import HeadOptions, folds_of
from concept_icd.heads.lexicon_fitting import learn_features, naming
from concept_icd.heads.ranker_fitting import Examples, GoldOrder, fit_ranker, make_examples
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology

#: Leaves and rounds that LightGBM may choose from.
SIZES = ((7, 100), (15, 100), (15, 300))
NAMES = ("by_probability", "head_without_text", "head", "lightgbm")


class Stays(NamedTuple):
    """Invented stays, the most frequent codes, their billing orders, and drawn scores of the codes' concepts."""

    texts: list[str]
    patients: list[str]
    concepts: ConceptSet
    truth: np.ndarray
    order: GoldOrder
    logits: np.ndarray


def draw_stays(notes: int, codes: int, seed: int) -> Stays:
    """Scores are random, higher where a concept holds."""
    stays = synthetic_notes(notes=notes, seed=seed, ordered=True)
    count = Counter(code for stay in stays for code in stay.codes)
    ontology = load_ontology("icd9cm")
    concepts = ConceptSet.expand(sorted(code for code, _ in count.most_common(codes)), ontology)
    ids = [stay.note.note_id for stay in stays]
    gold, patients = gold_matrix(ids, stays, concepts.codes)
    procedure = np.array([ontology.kind(code) == "procedure" for code in concepts.codes])
    order = GoldOrder(*gold_places(ids, stays, concepts.codes), procedure)
    true = (concepts.cover @ gold.T.astype(np.int32)).T > 0
    noise = np.random.default_rng(seed).standard_normal(true.shape)
    logits = (3.0 * true - 2.0 + 1.5 * noise).astype(np.float32)
    return Stays([stay.note.text for stay in stays], patients, concepts, gold, order, logits)


def measure(notes: int, codes: int, seed: int) -> dict[str, Any]:
    """System -> figures, and the seconds of both fits."""
    texts, patients, concepts, truth, gold, logits = draw_stays(notes, codes, seed)
    options, levels = HeadOptions(features="path", seed=seed), [concept.level for concept in concepts.concepts]
    fold = folds_of(patients, options)
    heads = heads_of(logits, truth, concepts, groups=patients, options=options)
    held_out = np.empty(truth.shape)
    for f in np.unique(fold):
        rows = np.flatnonzero(fold != f)
        strength = Strength(path=heads.strength.path)
        part = fit_aggregator(logits[rows], truth[rows], concepts.cover, levels, strength)
        held_out[fold == f] = heads.calibration.probabilities(part.log_odds(logits[fold == f]))
    accepted = heads.threshold.accept(held_out)
    _, text = learn_features(texts, gold.places, naming(concepts), gold.procedure, fold)
    given = (held_out, accepted, gold, fold, concepts.codes)
    seconds, (_, choice) = timed(lambda: fit_ranker(*given, text=text, seed=seed))
    chosen = next(row for row in choice["tried"] if (row["loss"], row["ridge"]) == (choice["chosen"], choice["ridge"]))
    found = {
        "by_probability": choice["by_probability"],
        "head_without_text": choice["without_text"],
        "head": chosen,
        "seconds": {"head": seconds},
    }
    if importlib.util.find_spec("lightgbm"):
        examples = make_examples(*given, text=text, seed=seed)[1]
        assert examples is not None
        found["seconds"]["lightgbm"], rows = timed(lambda: [boost(examples, *size, seed) for size in SIZES])
        found["lightgbm"] = max(rows, key=lambda row: row["graded_ndcg_diagnoses"] + row["primary_accuracy"])
    return found


def boost(examples: Examples, leaves: int, rounds: int, seed: int) -> dict[str, Any]:
    """Figures of LightGBM's LambdaRank on held-out patients."""
    import lightgbm

    size = np.bincount(examples.list_of, examples.place > 0)[examples.list_of].astype(int)
    relevance = np.where(examples.place > 0, size - examples.place + 1, 0)
    order = np.argsort(examples.list_of, kind="stable")
    x = np.hstack([examples.x, examples.procedure[:, None]])
    scores = np.empty(len(x))
    for f in np.unique(examples.fold):
        rows = order[examples.fold[order] != f]
        _, groups = np.unique(examples.list_of[rows], return_counts=True)
        data = lightgbm.Dataset(x[rows], relevance[rows], group=groups)
        parameters = {"objective": "lambdarank", "num_leaves": leaves, "learning_rate": 0.1, "min_data_in_leaf": 20}
        parameters |= {"label_gain": list(range(64)), "seed": seed, "num_threads": 1, "verbose": -1}
        model = lightgbm.train(parameters, data, num_boost_round=rounds)
        scores[examples.fold == f] = model.predict(x[examples.fold == f])
    return {"leaves": leaves, "rounds": rounds, **examples.figures(scores)}


def main() -> None:
    args = arguments(parser_of(__doc__, (0, 1, 2), notes=1500, codes=50))
    runs = [measure(args.notes, args.codes, seed) for seed in args.seeds]
    figures = ("primary_accuracy", "graded_ndcg_diagnoses", "graded_ndcg_procedures")
    systems = {name: over_seeds([run[name] for run in runs], figures) for name in NAMES if name in runs[0]}
    result = {"notes": args.notes, "codes": args.codes, "seeds": args.seeds, "systems": systems, "runs": runs}
    finish(args, result)


if __name__ == "__main__":
    main()
