"""Three ways of asking, words, learned tokens and a concept head: what they cost as concepts grow, how well they code.

    python benchmarks/asking.py --data-dir DIR --work runs/bench-asking --out benchmarks/results/asking.json

Cost: one note of 1,500 tokens is scored on 50, 150, 9,000 and 18,000 concepts of ICD-9-CM (titles of all levels, in a
random order), in CPU seconds of one thread over those of a plain forward pass through the note, which keeps nothing.
All ways take turns; the figure is the median of the ratios over the rounds. Where the questions alone would be more
than `--most-tokens`, the way is not timed; their tokens over the note's are counted all the same. Models: the shipped
tiny one, and random weights in the shape of SmolLM2-135M. The head is random: its cost does not depend on its weights.

Accuracy: as benchmarks/questions.py does it with CMC 2007, folds 1 and 2 as test in turn, the shipped config of the
tiny model, same notes, seed and steps for all ways. A head is asked all concepts in tuning, since they cost nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from common import arguments, finish, median_ratio, parser_of, side_by_side, take_turns
from questions import collect, flags_of, run_one
from random_model import random_head, random_model, random_note

from concept_icd.artifacts import read_json, write_json
from concept_icd.doctor.cost_model import ModelShape
from concept_icd.llm.base_model import LoadedModel, load_model
from concept_icd.llm.concept_head import add_concept_head, read_states
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.llm.question_embedding import add_question_tokens
from concept_icd.llm.question_tokens import QuestionTokens
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Concept, Note
from concept_icd.scoring.packed import PackedScorer

#: Ways as benchmarks/questions.py names its styles -> options of their tuning.
WAYS = {
    "template": flags_of("template"),
    "learned-2": flags_of("learned-2"),
    "head": ["--asking", "head", "--negative_share", "1"],
}
SMOLLM2 = ModelShape(30, 576, 1536, 9, 3, 64, 49_152, 8192, True, "SmolLM2-135M's config.json")
MODELS = {"tiny": lambda: load_model("tiny"), "smollm2-135m": lambda: random_model(SMOLLM2, 0)}


def scorers_of(loaded: LoadedModel, concepts: Sequence[Concept], seed: int) -> dict[str, PackedScorer]:
    """One model, asked in each way."""
    rng = np.random.default_rng(seed)
    width, keys = loaded.model.get_input_embeddings().embedding_dim, [concept.key for concept in concepts]
    words = PackedScorer(loaded, PromptTemplate.load("concept"))
    head = random_head(width, keys, rng)
    add_concept_head(loaded.model, head)
    by_head = PackedScorer(replace(loaded, head=head, questions=head.rows), PromptTemplate.load("concept"))
    values = rng.normal(0, 0.02, (len(keys), 2, width)).astype(np.float32)
    tokens = QuestionTokens(tuple(keys), values)
    learned = replace(loaded, questions=tokens.ids(add_question_tokens(loaded.model, tokens).first))
    return {
        "template": words,
        "learned-2": PackedScorer(learned, PromptTemplate.load("concept-title")),
        "head": by_head,
    }


@torch.inference_mode()
def read_alone(scorer: PackedScorer, note: Note) -> None:
    read_states(scorer.model, torch.tensor([scorer.tokens.encode_note(note, 1).ids]))


def costs(
    loaded: LoadedModel, note_tokens: int, counts: Sequence[int], rounds: int, most_tokens: int, seed: int
) -> dict[str, Any]:
    """By way and number of concepts: tokens over the note's, and seconds over those of the note alone."""
    ontology, rng = load_ontology("icd9cm"), np.random.default_rng(seed)
    every = ConceptSet.expand((*ontology.codes("diagnosis"), *ontology.codes("procedure")), ontology).concepts
    concepts = [every[row] for row in rng.permutation(len(every))[: max(counts)]]
    scorers = scorers_of(loaded, concepts, seed)
    found: dict[str, dict[str, Any]] = {}
    runs = {}
    for way, scorer in scorers.items():
        note = random_note(scorer.tokens, "n", note_tokens, np.random.default_rng(seed))
        found[way] = {}
        for count in counts:
            asked = concepts[:count]
            tokens = 0 if way == "head" else sum(len(scorer.tokens.encode_concept(concept)) for concept in asked)
            found[way][str(count)] = {"tokens_over_note": round(1 + tokens / note_tokens, 3)}
            if tokens <= most_tokens:
                runs[way, count] = partial(lambda s, n, c: list(s.iter_scores([n], c)), scorer, note, asked)
    alone = partial(read_alone, scorers["template"], random_note(scorers["template"].tokens, "n", note_tokens, rng))
    names = {f"{way}, {count}": run for (way, count), run in runs.items()}
    seconds = take_turns({"the note alone": alone, **names}, rounds + 1, time.process_time)
    taken = {name: values[1:] for name, values in seconds.items()}  # the first round warms up
    for way, rows in found.items():
        for count, row in rows.items():
            timed = taken.get(f"{way}, {count}")
            row["seconds_over_note_alone"] = timed and median_ratio(timed, taken["the note alone"])
            row["cpu_seconds"] = timed and [round(s, 3) for s in timed]
    return {
        "hidden_size": int(loaded.model.config.hidden_size),
        "rounds": rounds,
        "note_alone_cpu_seconds": [round(s, 3) for s in taken["the note alone"]],
        "ways": found,
    }


def main() -> None:
    parser = parser_of(__doc__, None, data=True, work="runs/bench-asking", jobs=1, note_tokens=1500, rounds=5)
    parser.add_argument("--concepts", type=int, nargs="+", default=[50, 150, 9000, 18000])
    parser.add_argument("--most-tokens", type=int, default=5000, help="of questions that are timed")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="whose cost is measured")
    parser.add_argument(
        "--folds", type=int, nargs="*", default=[1, 2], help="whose accuracy is measured; none: cost alone"
    )
    parser.add_argument("--only", metavar="TASK,FOLD,WAY", help="one training, in this process")
    args = arguments(parser)
    args.styles = list(WAYS)
    torch.set_num_threads(1)
    if args.only:
        task, fold, way = args.only.split(",")
        run_one(task, int(fold), way, args, WAYS[way])
        return
    names = {"DATA": args.data_dir, "WORK": args.work}
    args.work.mkdir(parents=True, exist_ok=True)
    models = {}
    for name in args.models:
        path = args.work / f"cost-{name}.json"
        if not path.is_file():
            write_json(path, costs(MODELS[name](), args.note_tokens, args.concepts, args.rounds, args.most_tokens, 0))
        models[name] = read_json(path)
    every = [("cmc2007", fold, way) for fold in args.folds for way in WAYS]
    side_by_side({f"{t},{f},{w}": args.work / f"{t}-{f}-{w}.json" for t, f, w in every}, args.work, args.jobs)
    result = {
        "ways": {way: " ".join(flags) for way, flags in WAYS.items()},
        "cost": {"note_tokens": args.note_tokens, "most_tokens": args.most_tokens, "models": models},
        "accuracy": collect("cmc2007", args.folds, args) if args.folds else None,
    }
    finish(args, result, **names)


if __name__ == "__main__":
    main()
