"""`concept-icd score`: fills the note x concept matrix, resumable."""

from __future__ import annotations

import argparse

HELP = "score every concept of every note with a tuning run's adapters, each note by one that did not see it"
EXAMPLE = "concept-icd score --corpus runs/corpus --tuned runs/tuned --out runs/scores"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Corpus, tuning run and output."""
    parser.add_argument("--corpus", required=True, help="folder written by `concept-icd prepare`")
    parser.add_argument("--tuned", required=True, help="folder written by `concept-icd finetune`")
    parser.add_argument("--out", required=True, help="folder of the scores; the same command resumes it")
    parser.add_argument("--splits", nargs="+", metavar="SPLIT", help="only the notes of these splits")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N notes, to try things out")
    parser.add_argument("--in-sample", action="store_true", help="score notes that every adapter has seen all the same")
    parser.add_argument("--max-length", type=int, metavar="TOKENS", help="longest prompt; default: the tuning's")
    kept = "of a note that is too long, read its beginning (whole) or its most useful sections; default: the tuning's"
    parser.add_argument("--note-text", metavar="whole|sections", help=kept)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; default: a GPU where there is one")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], help="default: float32 on a CPU")


def run(args: argparse.Namespace) -> int:
    """Scores; exit code 1 when some notes could not be scored."""
    import sys

    from concept_icd.corpora import load_corpus
    from concept_icd.errors import InputError
    from concept_icd.scoring.adapters import score_corpus
    from concept_icd.scoring.store import read_failures

    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit {args.limit}: a number from 1 up is needed")
    notes = [coded.note for coded in load_corpus(args.corpus).notes if not args.splits or coded.split in args.splits]
    notes = notes[: args.limit]
    if not notes:
        raise InputError(f"{args.corpus} has no notes in the splits {', '.join(args.splits or ['(any)'])}")
    scorer = {
        "max_length": args.max_length,
        "note_text": args.note_text,
        "device": args.device,
        "dtype": args.dtype,
    }
    score_corpus(notes, args.tuned, args.out, in_sample=args.in_sample, **scorer)
    failures = read_failures(args.out)
    for note_id, reason in failures.items():
        print(f"not scored: {note_id}: {reason}", file=sys.stderr)
    print(args.out)
    return 1 if failures else 0
