"""`concept-icd fit-selection`: scores of all concepts and gold codes -> which concepts are worth asking."""

from __future__ import annotations

import argparse

EXAMPLE = (
    "concept-icd fit-selection --corpus runs/corpus --scores runs/scores --budget 300 --out runs/selection-300.json"
)
INPUTS = ("corpus", "scores")

#: Codes of the retriever, by dev notes of CodiEsp (benchmarks/descent.py).
RETRIEVED = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Corpus and scores in, a rule out."""
    parser.add_argument("--corpus", required=True, help="folder written by `concept-icd prepare`")
    parser.add_argument("--scores", required=True, help="folder written by `concept-icd score`, every concept asked")
    parser.add_argument("--out", required=True, help="the selection, a JSON file")
    parser.add_argument("--overwrite", action="store_true", help="replace the selection of --out if it is there")
    parser.add_argument("--split", help="fit on the notes of this split (default: every scored note with codes)")
    how = parser.add_mutually_exclusive_group()
    most = (
        "questions to a note, the most promising first (default: a tenth of the concepts, where that "
        "is twice the first round or more)"
    )
    how.add_argument("--budget", type=int, metavar="N", help=most)
    share = "instead: bars that keep this share of the paths to gold codes, such as 0.98, whatever it costs"
    how.add_argument("--keep", type=float, metavar="SHARE", help=share)
    also = "also ask for the N codes whose words the note has: BM25 over titles and phrases (default: %(default)s)"
    parser.add_argument("--retrieve", type=int, default=RETRIEVED, metavar="N", help=also)
    parser.add_argument("--no-descend", action="store_true", help="with --retrieve: ask for those codes alone")
    parser.add_argument("--folds", type=int, default=5, help="of the cross-validation (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the folds (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Fits, cross-validates and saves."""
    from dataclasses import replace
    from pathlib import Path

    from concept_icd.corpora import load_corpus
    from concept_icd.corpora.gold import gold_matrix
    from concept_icd.corpora.store import require_classification
    from concept_icd.errors import InputError
    from concept_icd.heads.selection_fitting import cross_validate, fit_selection
    from concept_icd.ontology.concepts import ConceptSet
    from concept_icd.ontology.tree import load_ontology
    from concept_icd.outputs import require_new_file
    from concept_icd.scoring.selection import SelectionRule, tree_of
    from concept_icd.scoring.store import CONCEPTS, load_scores

    require_new_file(args.out, SelectionRule.load, overwrite=args.overwrite)  # before any work
    if args.no_descend and not args.retrieve:
        raise InputError("--no-descend asks nothing without --retrieve")
    if args.retrieve < 0 or args.folds < 2:
        raise InputError("--retrieve takes a number from 0 up, --folds one from 2 up")
    scores, coded = load_scores(args.scores), load_corpus(args.corpus).notes
    if scores.asked is not None:
        raise InputError(f"{args.scores} lacks scores: a selection is fitted on notes that were asked every concept")
    if not scores.out_of_fold:
        raise InputError(
            f"{args.scores} holds scores of notes that the model was tuned on: tune with folds, or score others"
        )
    by_id = {note.note.note_id: note for note in coded if note.codes and args.split in (None, note.split)}
    scores = scores.select([note_id for note_id in scores.note_ids if note_id in by_id])
    if len(scores) < args.folds:
        raise InputError(f"{args.scores} holds {len(scores)} coded notes of the split {args.split or '(any)'}: too few")
    concepts = ConceptSet.load(Path(args.scores) / CONCEPTS)
    require_classification(args.corpus, concepts.classification)
    ontology = load_ontology(concepts.classification)
    gold, patients = gold_matrix(scores.note_ids, coded, concepts.codes)
    budget = args.budget
    if budget is None and args.keep is None:  # in a small set a tenth would not reach below the first round
        budget = max(len(concepts) // 10, 2 * len(tree_of(concepts, ontology)[1]))
    options = {"keep": args.keep, "budget": budget, "retrieve": args.retrieve, "descend": not args.no_descend}
    notes = [by_id[note_id].note for note_id in scores.note_ids]
    rule = fit_selection(scores.logits, gold, concepts, ontology, notes=notes, **options)
    more = {"notes": notes, "folds": args.folds, "seed": args.seed}
    figures = cross_validate(scores.logits, gold, concepts, ontology, patients, **more, **options)
    replace(rule, fitted={**options, "scores": args.scores, **figures}).save(args.out)
    print(f"{args.out}: {figures['kept']:.1%} of {figures['gold_paths']} gold paths kept")
    share = figures["questions"] / len(concepts)
    print(f"{figures['questions']:.0f} questions a note, {share:.1%} of {len(concepts)} ({figures['folds']}-fold "
          f"cross-validation on {len(scores)} notes)")  # fmt: skip
    return 0
