"""`concept-icd fit`: out-of-fold scores and gold codes -> a coder."""

from __future__ import annotations

import argparse

HELP = "fit a coder (aggregator, calibration, threshold, ranker) on out-of-fold scores"
EXAMPLE = "concept-icd fit --corpus runs/corpus --tuned runs/tuned --scores runs/scores --out runs/coder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Corpus, tuning run and scores in; coder out."""
    parser.add_argument("--corpus", required=True, help="folder written by `concept-icd prepare`")
    parser.add_argument("--tuned", required=True, help="folder written by `concept-icd finetune`")
    parser.add_argument("--scores", required=True, help="folder written by `concept-icd score`")
    parser.add_argument("--out", required=True, help="folder of the coder")
    splits = "fit on the notes of these splits (default: train, or every note of a corpus without splits)"
    parser.add_argument("--splits", nargs="+", metavar="SPLIT", help=splits)
    which = "concepts that a code may use: those that cover it, all, or what cross-validates best (default)"
    parser.add_argument("--features", choices=("path", "all", "auto"), default="auto", help=which)
    parser.add_argument("--calibration", choices=("platt", "temperature", "none"), default="platt")
    always = "always accept a note's first code (default: what cross-validates best)"
    parser.add_argument("--at-least-one", action=argparse.BooleanOptionalAction, help=always)
    parser.add_argument("--folds", type=int, default=5, help="of the cross-validation (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the folds (default: %(default)s)")
    parser.add_argument("--allow-in-sample", action="store_true", help="take scores of notes the model was tuned on")
    parser.add_argument("--overwrite", action="store_true", help="replace --out if it exists")


def run(args: argparse.Namespace) -> int:
    """Fits and saves."""
    import time
    from pathlib import Path

    from concept_icd.artifacts import hash_of, read_manifest
    from concept_icd.coder import ConceptCoder
    from concept_icd.concepts import ConceptSet
    from concept_icd.corpora import load_corpus
    from concept_icd.errors import InputError
    from concept_icd.heads.fitting import HeadOptions
    from concept_icd.prompts import PromptTemplate
    from concept_icd.scoring.store import load_scores
    from concept_icd.tuning.folder import ADAPTER, CONCEPTS, PROMPT

    start = time.monotonic()
    if args.folds < 2:
        raise InputError(f"--folds {args.folds}: at least 2 are needed")
    if Path(args.out).exists() and not args.overwrite:
        raise InputError(f"{args.out} exists already; name another folder or pass --overwrite")
    tuned, scores = Path(args.tuned), load_scores(args.scores)
    tuning, scored = read_manifest(tuned, "finetune")["config"], read_manifest(args.scores, "score")["config"]
    prompt = PromptTemplate.load(tuned / PROMPT)
    if scored["prompt"] != prompt.hash:
        raise InputError(f"{args.scores} was scored with another prompt than that of {tuned}: name its own tuning run")
    coded = load_corpus(args.corpus).notes
    splits = args.splits or (["train"] if any(note.split for note in coded) else None)
    wanted = {note.note.note_id for note in coded if splits is None or note.split in splits}
    chosen = [note_id for note_id in scores.note_ids if note_id in wanted]
    if not chosen:
        raise InputError(f"{args.scores} has no note of {args.corpus} in the splits {', '.join(splits or ['(any)'])}")
    options = HeadOptions(args.features, args.calibration, args.at_least_one, args.folds, args.seed)
    coder = ConceptCoder.fit(
        scores.select(chosen),
        coded,
        ConceptSet.load(tuned / CONCEPTS),
        model=tuning["model_name_or_path"],
        adapter=tuned / ADAPTER,
        prompt=prompt,
        scorer_settings={"max_length": scored["max_length"], "load_in_4bit": tuning["load_in_4bit"]},
        options=options,
        allow_in_sample=args.allow_in_sample,
    )
    if (made_by := scored["model"].get(ADAPTER, coder.model.hash)) != coder.model.hash:
        raise InputError(f"{args.scores} was scored with another adapter ({made_by[:12]}) than that of {tuned}")
    coder.save_pretrained(
        args.out,
        overwrite=args.overwrite,
        inputs={"scores": hash_of(scored), "concepts": scores.concept_hash, "prompt": prompt.hash},
        config={**vars(options), "splits": splits, "notes": len(chosen)},
        seed=args.seed,
        seconds=time.monotonic() - start,
    )
    threshold = coder.heads.threshold
    print(f"{args.out}: {len(coder.concepts.codes)} codes, {len(coder.concepts)} concepts, {len(chosen)} notes")
    print(f"threshold {threshold.value:.3f}, micro-F1 {threshold.micro_f1:.3f} ({threshold.source})")
    return 0
