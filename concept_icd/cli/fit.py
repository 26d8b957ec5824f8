"""`concept-icd fit`: out-of-fold scores and gold codes -> a coder."""

from __future__ import annotations

import argparse
from typing import Any

from concept_icd.cli.old_names import OldOption
from concept_icd.errors import counted
from concept_icd.progress import say_next
from concept_icd.records import EXPERTS

EXAMPLE = "concept-icd fit --corpus runs/corpus --scores runs/scores --out runs/coder"
INPUTS = ("corpus", "scores", "model", "adapter", "tabular", "index", "drug_strategy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Corpus and scores in, coder out; what made the scores is read from their folder."""
    parser.add_argument("--corpus", required=True, help="folder written by `concept-icd prepare`")
    scores = "folder written by `concept-icd score`; without it the experts alone read the notes, and no model is asked"
    parser.add_argument("--scores", help=scores)
    parser.add_argument("--out", required=True, help="folder of the coder")
    split = "fit on the notes of these splits (default: train, or every note of a corpus without splits)"
    parser.add_argument("--split", nargs="+", help=split)
    parser.add_argument("--model", help="base model for new notes (default: the one of the scores)")
    parser.add_argument("--adapter", help="LoRA adapter for new notes (default: the tuning run's final one)")
    which = (
        "concepts that a code may use: those that cover it (path) or all; shared: the same weights for every code; "
        "auto (default): what cross-validates best"
    )
    parser.add_argument("--features", choices=("path", "all", "shared", "auto"), default="auto", help=which)
    parser.add_argument("--calibration", choices=("platt", "temperature", "none"), default="platt")
    always = "always accept a note's first code (default: what cross-validates best)"
    parser.add_argument("--at-least-one", action=argparse.BooleanOptionalAction, help=always)
    how = "learn the order from billing orders, rank by probability, or learn unless gold codes are sets (default)"
    parser.add_argument("--order", choices=("billing", "none", "auto"), default="auto", help=how)
    together = "correct probabilities by which codes occur together (default: none)"
    parser.add_argument("--dependencies", choices=("none", "combinations"), default="none", help=together)
    stacked = (
        "stacked with the scores: words (trees on each note's words), terms (what the classification calls a code, "
        "affirmed or denied), drugs (the medication network on its drugs), spans (what annotators marked as what)"
    )
    parser.add_argument("--experts", nargs="+", choices=EXPERTS, default=(), help=stacked)
    parser.add_argument("--views", dest="experts", nargs="+", choices=EXPERTS, action=OldOption, new="--experts")
    more = "with --experts terms: NCHS {}, beside the titles"
    parser.add_argument(
        "--tabular", nargs="+", default=[], help=more.format("tabular lists, for their inclusion terms")
    )
    parser.add_argument("--index", nargs="+", default=[], help=more.format("alphabetic indexes"))
    strategy = "of the medication network: a name in configs/medications or a YAML file (default: %(default)s)"
    parser.add_argument("--drug-strategy", default="multitask", help=strategy)
    parser.add_argument("--folds", type=int, default=5, help="of the cross-validation (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the folds (default: %(default)s)")
    parser.add_argument("--allow-in-sample", action="store_true", help="take scores of notes the model was tuned on")
    parser.add_argument("--overwrite", action="store_true", help="replace --out if it exists")


def run(args: argparse.Namespace) -> int:
    """Fits and saves."""
    import time
    from pathlib import Path

    from concept_icd.artifacts import read_manifest
    from concept_icd.corpora import load_corpus
    from concept_icd.corpora.store import require_classification
    from concept_icd.errors import InputError
    from concept_icd.experts.kinds import recipe
    from concept_icd.heads.fitting import HeadOptions
    from concept_icd.ontology.concepts import ConceptSet
    from concept_icd.outputs import require_replaceable
    from concept_icd.pipeline import fit_coder, fit_experts_alone
    from concept_icd.scoring.store import CONCEPTS

    start = time.monotonic()
    if args.folds < 2:
        raise InputError(f"--folds {args.folds}: at least 2 are needed")
    if (args.tabular or args.index) and "terms" not in args.experts:
        raise InputError("--tabular and --index are read for --experts terms: name it, or leave them out")
    require_replaceable(args.out, "fit", overwrite=args.overwrite)
    corpus = load_corpus(args.corpus)
    options = HeadOptions(
        args.features, args.calibration, args.at_least_one, args.folds, args.seed, args.order, args.dependencies
    )
    split = args.split or (["train"] if any(coded.split for coded in corpus.notes) else None)
    more = (args.drug_strategy, args.tabular, args.index, corpus.classification)
    experts = [recipe(kind, *more) for kind in dict.fromkeys(args.experts)]
    if args.scores is None:
        coder = fit_experts_alone(corpus, split, experts, options)
    else:
        read_manifest(args.scores, "score")
        require_classification(args.corpus, ConceptSet.load(Path(args.scores) / CONCEPTS).classification)
        coder = fit_coder(
            args.scores,
            corpus.notes,
            split,
            model=args.model,
            adapter=args.adapter,
            options=options,
            allow_in_sample=args.allow_in_sample,
            experts=experts,
        )
    coder.save_pretrained(
        args.out,
        overwrite=args.overwrite,
        inputs={"corpus": corpus.manifest["files"]["notes.parquet"], "concepts": coder.concepts.hash},
        config={**vars(options), "split": split, "scores": args.scores, "views": list(args.experts)},
        seed=args.seed,
        seconds=time.monotonic() - start,
    )
    threshold = coder.heads.threshold
    print(f"{args.out}: {counted(len(coder.concepts.codes), 'code')}, {counted(len(coder.concepts), 'concept')}")
    print(f"threshold {threshold.value:.3f}, micro-F1 {threshold.micro_f1:.3f} ({threshold.source})")
    print(about_order(coder.heads.cross_validation.get("order")))
    say_next("concept-icd", "code", "report.txt", "--coder", args.out)
    return 0


def about_order(choice: dict[str, Any] | None) -> str:
    """One line on how codes are ranked: cross-validated figures of the learned order, or why there is none."""
    if choice is None:
        return "ranked by probability: no billing order was learnt from"
    before = choice["by_probability"]
    if choice["chosen"] == "probability":
        return f"ranked by probability: no learned order was better ({_figures(before)})"
    after = next(row for row in choice["tried"] if (row["loss"], row["ridge"]) == (choice["chosen"], choice["ridge"]))
    return f"ranked by a learned order ({choice['chosen']}): {_figures(after)}; by probability {_figures(before)}"


def _figures(row: dict[str, float | None]) -> str:
    names = {"graded_ndcg_diagnoses": "graded NDCG of diagnoses", "primary_accuracy": "primary accuracy"}
    return ", ".join(f"{text} {value:.3f}" for name, text in names.items() if (value := row[name]) is not None)
