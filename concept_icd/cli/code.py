"""`concept-icd code`: one note as a table, or a corpus as JSON lines."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_icd.cli.options import add_batch_sizes, add_format, columns_of, require_positive
from concept_icd.errors import InputError, counted
from concept_icd.progress import say, tell

if TYPE_CHECKING:
    from rich.console import Console

    from concept_icd.coder.coder import ConceptCoder
    from concept_icd.corpora.reading import Failure
    from concept_icd.records import CodingResult, Note, RankedCode

EXAMPLE = "concept-icd code report.txt"
INPUTS = ("note", "corpus", "coder", "model")
#: The coder in the package.
DEFAULT_CODER = Path("radiology")
#: How much the packed scorer does at once, which decides the last bits of the scores.
SIZES = ("chunk_tokens", "batch_tokens")
#: What predictions are written as.
FORMS = ("jsonl", "csv", "parquet")
#: Columns of a terminal from which on a note's codes stand in a table.
BOXED_FROM = 90
#: Failures that are printed; all of them are in the file.
SHOWN_FAILURES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One note, or `--corpus` and `--out`."""
    parser.add_argument("note", nargs="?", metavar="NOTE.txt", help="a text file; - reads standard input")
    parser.add_argument("--corpus", type=Path, help="a corpus instead of one note; needs --out")
    add_format(parser)
    out = "the predictions: one JSON line a note, or a table with a row a code; the same command resumes them"
    parser.add_argument("--out", type=Path, help=out)
    form = "of --out (default: by its ending, .csv or .parquet, else jsonl)"
    parser.add_argument("--out-format", choices=FORMS, help=form)
    parser.add_argument("--overwrite", action="store_true", help="replace the predictions of --out if they are there")
    parser.add_argument("--limit", type=int, help="only the first notes of the corpus")
    add_coder_arguments(parser)
    top = "the first codes of a note alone (default: 10 on the terminal, all of them in JSON and files)"
    parser.add_argument("--top", type=int, help=top)
    parser.add_argument("--accepted-only", action="store_true", help="only codes that reached the coder's threshold")
    parser.add_argument("--concepts", type=int, default=3, help="concepts to name for each code (default: %(default)s)")
    found = "also find the passages for and against each code (scores the note once more per sentence and some clauses)"
    parser.add_argument("--evidence", action="store_true", help=found)
    parser.add_argument("--json", action="store_true", help="print the note's result as JSON")


def add_coder_arguments(parser: argparse.ArgumentParser) -> None:
    """Which coder, and what scores its notes; see `load_coder`."""
    which = "the coder: a folder, or the name of one in the package (default: %(default)s)"
    parser.add_argument("--coder", type=Path, default=DEFAULT_CODER, help=which)
    meant = "its hash, or the first 12 digits or more: a folder of another coder is refused"
    parser.add_argument("--coder-hash", metavar="HASH", help=meant)
    parser.add_argument("--model", help="where the coder's base model is now, if it has moved")
    scorer = "what scores the notes: packed, vllm or server (default: what the coder's heads were fitted on)"
    parser.add_argument("--scorer", choices=("packed", "vllm", "server"), help=scorer)
    precision = "what the model computes in (default: what the coder's heads were fitted on)"
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help=precision)
    where = "cpu, cuda, cuda:1, ...; packed only (default: a GPU where there is one)"
    parser.add_argument("--device", help=where)
    side = "notes that are read side by side: threads of a small model, requests to a server (default: as many as fit)"
    parser.add_argument("--workers", type=int, metavar="N", help=side)
    parser.add_argument("--server-url", metavar="URL", help="of a vLLM server (default: this machine, port 8000)")
    served = "name under which a server serves the coder's adapter (default: found by the adapter's files)"
    parser.add_argument("--served-name", metavar="NAME", help=served)
    add_batch_sizes(parser)


def run(args: argparse.Namespace) -> int:
    """Codes the note or the corpus; exit code 1 when some notes could not be read."""
    if (args.note is None) == (args.corpus is None):
        raise InputError("name either one note or a --corpus, for example: concept-icd code note.txt")
    if (args.corpus is None) != (args.out is None):
        raise InputError("--corpus and --out go together: the predictions of a corpus go to a file")
    if args.out is None and (args.overwrite or args.out_format):
        raise InputError(f"--{'overwrite' if args.overwrite else 'out-format'} does nothing without --out")
    require_positive(args, "top", "limit", "concepts")
    if args.corpus is not None:
        return _code_corpus(args)
    note = _read_note(args.note)  # before the coder, which takes seconds to load
    coder = load_coder(args)
    result = coder.code(note, top_concepts=args.concepts, evidence=args.evidence)
    if args.json:
        print(json.dumps(result.to_dict(args.top, accepted_only=args.accepted_only), ensure_ascii=False))
    else:
        shown = result.accepted if args.accepted_only else result.codes
        print_result(replace(result, codes=shown), note.text, args.top or 10, coder)
    return 0


def load_coder(args: argparse.Namespace) -> ConceptCoder:
    """The coder with the scorer that was named; a folder names no address."""
    import warnings

    from concept_icd.coder.coder import ConceptCoder, ScorerMismatch

    require_positive(args, *SIZES, "workers")
    sizes = {name: value for name in (*SIZES, "device") if (value := getattr(args, name)) is not None}
    coder = ConceptCoder.from_pretrained(args.coder, model=args.model, expected_hash=args.coder_hash)
    scorer = args.scorer or coder.scorer_settings.get("scorer", "packed")
    if sizes and scorer != "packed":
        raise InputError("--chunk-tokens, --batch-tokens and --device are of --scorer packed")
    if args.workers and scorer != "server" and (sizes or args.scorer or args.dtype or scorer != "packed"):
        raise InputError("--workers is of small models, which NumPy scores where no scorer is named, and of servers")
    if scorer == "server" and not (args.scorer or args.server_url):
        raise InputError(
            f"the heads of {args.coder} were fitted on scores of a vLLM server: name the one that may read the notes "
            "(--server-url URL), or another scorer (--scorer packed)"
        )
    if scorer == "server":
        from concept_icd.scoring.server import LOOPBACK

        if args.dtype:
            raise InputError("--dtype is not of --scorer server: a server was started in a precision of its own")

        at_a_time = {"concurrency": args.workers} if args.workers else {}
        coder = coder.with_scorer("server", url=args.server_url or LOOPBACK, served=args.served_name, **at_a_time)
    elif args.server_url or args.served_name:
        raise InputError("--server-url and --served-name are of --scorer server")
    elif args.scorer or args.dtype or sizes:
        coder = coder.with_scorer(scorer, **({"dtype": args.dtype} if args.dtype else {}), **sizes)
    elif args.workers:
        coder = coder.with_scorer("light", workers=args.workers)
    if coder.scorer_mismatch:
        say(coder.scorer_mismatch, logging.WARNING)
        warnings.simplefilter("ignore", ScorerMismatch)  # said already, in one line
    return coder


def _read_note(name: str) -> Note:
    from concept_icd.corpora import ENDINGS
    from concept_icd.corpora.reading import decode, flaw
    from concept_icd.corpora.text import read_text_folder
    from concept_icd.files import LONGEST, ending
    from concept_icd.records import Note

    if name != "-":
        if Path(name).is_dir():
            raise InputError(f"{name} is a folder; code all of it with --corpus {name} --out predictions.jsonl")
        if ENDINGS.get(ending(name), "text") != "text":
            raise InputError(
                f"{name} is a corpus, as its ending says; code all of it with --corpus {name} --out predictions.jsonl"
            )
        return read_text_folder(name)[0].note
    try:
        data = sys.stdin.buffer.read(LONGEST + 1)
        if len(data) > LONGEST:
            raise InputError(f"it holds more than {LONGEST >> 20} MiB; no note is that long")
        text = decode(data)
    except InputError as error:
        raise InputError(f"standard input: {error}") from error
    if reason := flaw(text):
        raise InputError(f"standard input: {reason}")
    return Note("stdin", text)


def _code_corpus(args: argparse.Namespace) -> int:
    from concept_icd.cli.partial_predictions import Partial, begun_with, is_predictions
    from concept_icd.coder.interface import BATCH
    from concept_icd.corpora import format_of, read_corpus_leniently
    from concept_icd.corpora.store import require_classification
    from concept_icd.outputs import require_new_file
    from concept_icd.progress import track

    require_new_file(args.out, is_predictions, overwrite=args.overwrite, among_inputs=True)  # before any work
    begun = begun_with(args.out).get("options", {})
    for name in SIZES:  # the same notes go through the model together, however much memory is free now
        setattr(args, name, begun.get(name) if getattr(args, name) is None else getattr(args, name))
    listing = args.out.with_name(args.out.name + ".failures.jsonl")
    _require_own_listing(listing)
    coder = load_coder(args)
    if (args.format or format_of(args.corpus)) == "prepared":
        require_classification(args.corpus, coder.classification)
    coded, failures = read_corpus_leniently(args.corpus, args.format, columns_of(args), coder.classification)
    if not coded:
        _list_failures(failures, listing)
        raise InputError(f"{args.corpus} holds no note that can be read" + (f": see {listing}" if failures else ""))
    notes = [entry.note for entry in coded][: args.limit]  # from here on without gold codes
    with Partial.begun(args.out, notes, _made_by(args, coder, notes)) as partial:
        _list_failures(failures, listing)
        if partial.done:
            say(f"{partial.done:,} of {counted(len(notes), 'note')} are coded already")
        # Notes are scored together as in a run that was not stopped, so that the same bits come out.
        start = partial.done - partial.done % BATCH
        results = coder.code_batch(notes[start:], top_concepts=args.concepts)
        for number, result in enumerate(track(results, total=len(notes) - start, label="coding"), start):
            if number < partial.done:
                continue
            found = coder.with_evidence(notes[number], result) if args.evidence else result
            partial.add(found.to_dict(args.top, accepted_only=args.accepted_only))
        partial.finish(args.out, args.out_format or _form_of(args.out))
    tell(f"{counted(len(notes), 'note')} coded: {args.out}")
    return 1 if failures else 0


def _form_of(path: Path) -> str:
    from concept_icd.files import ending

    return {".csv": "csv", ".parquet": "parquet"}.get(ending(path), "jsonl")


def _made_by(args: argparse.Namespace, coder: ConceptCoder, notes: Sequence[Note]) -> dict[str, Any]:
    """What decides the predictions, and nothing of the notes but their hash."""
    from dataclasses import asdict

    from concept_icd.artifacts import hash_of
    from concept_icd.scoring.batch_sizes import DEFAULTS

    options = {"top": args.top, "concepts": args.concepts, "evidence": args.evidence}
    options |= {"accepted_only": True} if args.accepted_only else {}
    # Where they were given, or chosen by a GPU's memory.
    used = {name: getattr(args, name) or getattr(coder.scorer, name, None) for name in SIZES}
    if any(getattr(args, name) for name in SIZES) or used["batch_tokens"] not in (None, DEFAULTS["batch_tokens"]):
        options |= used
    return {"coder": dict(coder.versions), "notes": hash_of([asdict(note) for note in notes]), "options": options}


def _require_own_listing(path: Path) -> None:
    """The list of failures takes the place of an earlier one, and of nothing else."""
    from concept_icd.artifacts import loads
    from concept_icd.outputs import require_no_input, writing

    if not require_no_input(path, own=True).exists():
        return
    try:
        with writing(path), path.open("rb") as file:
            first = loads(file.readline() or b"{}")
    except ValueError:
        first = None
    if not isinstance(first, dict) or not first.keys() <= {"place", "note_id", "reason"}:
        raise InputError(f"{path}, where unreadable notes are listed, is something else; name another --out")


def _list_failures(failures: Sequence[Failure], path: Path) -> None:
    """Writes and prints the notes that could not be read; without any, a list of an earlier run goes away."""
    from concept_icd.outputs import new_file, writing

    if not failures:
        with writing(path):
            path.unlink(missing_ok=True)
        return
    with new_file(path, own=True) as staging, staging.open("w", encoding="utf-8") as file:
        for failure in failures:
            record = {"place": failure.place, "note_id": failure.note_id, "reason": failure.reason}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    for failure in failures[:SHOWN_FAILURES]:
        say(str(failure), logging.WARNING)
    more = f" (the first {SHOWN_FAILURES} above)" if len(failures) > SHOWN_FAILURES else ""
    say(f"{counted(len(failures), 'note')} cannot be coded{more}, listed in {path}", logging.WARNING)


def print_result(result: CodingResult, text: str, top: int, coder: ConceptCoder) -> None:
    """Prints a table of the first `top` codes, each with the passages of `text` for and against it.

    Below the table stand the threshold, and what was not read.
    """
    from rich.console import Console

    console = Console() if sys.stdout.isatty() else Console(width=120)
    (_print_boxed if console.width >= BOXED_FROM else _print_stacked)(console, result.top(top), text)
    if result.read_first is not None:
        console.print(how_far(result.read_first, top))
    threshold = coder.heads.threshold
    also = ", or the first code of the note" if threshold.at_least_one else ""
    console.print(
        f"✓ probability of at least {threshold.value:.2f}{also} ({threshold.source})", style="dim", markup=False
    )
    if not coder.out_of_fold:
        console.print("The heads of this coder were fitted on IN-SAMPLE scores: its probabilities promise too much.")
    if result.unfamiliar:
        console.print("This note is unlike those the coder was trained on: trust it less.", style="yellow")
    if result.truncated:
        console.print(f"Not all was read: {result.truncated}", style="yellow", markup=False)
    console.print("Suggestions, to be validated by a professional coder.", style="dim")


def _print_boxed(console: Console, codes: Sequence[RankedCode], text: str) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=True)
    for name, justify in (("", "right"), ("code", "left"), ("title and path", "left"), ("probability", "right")):
        table.add_column(name, justify=justify, no_wrap=name != "title and path")  # type: ignore[arg-type]
    table.add_column("concepts behind it (log-odds)", ratio=1)
    for code in codes:
        table.add_row(
            Text(f"{'✓ ' if code.accepted else ''}{code.rank}"),
            Text(code.code, style="bold" if code.accepted else ""),
            Text.assemble(code.title, "\n", (" > ".join(code.path), "dim"), *_passages(code, text)),
            Text(f"{code.probability:.1%}"),
            Text(_concepts(code)),
        )
    console.print(table)


def _print_stacked(console: Console, codes: Sequence[RankedCode], text: str) -> None:
    """A block a code, for a narrow terminal."""
    from rich.text import Text

    for code in codes:
        head = f"{'✓ ' if code.accepted else ''}{code.rank}  {code.code}  {code.probability:.1%}"
        console.print(Text(head, style="bold" if code.accepted else ""))
        console.print(Text.assemble(code.title, "\n", (" > ".join(code.path), "dim"), *_passages(code, text)))
        console.print(Text(f"{_concepts(code)}\n"))


def how_far(read_first: int, shown: int) -> str:
    """The sentence on how many suggestions to read, where `shown` are printed.

    >>> how_far(12, shown=10)
    'Read the first 12 suggestions for an expected recall of 90 % (--top 12 shows them).'
    """
    suggestions = "suggestion" if read_first == 1 else f"{read_first} suggestions"
    more = f" (--top {read_first} shows them)" if read_first > shown else ""
    return f"Read the first {suggestions} for an expected recall of 90 %{more}."


def _passages(code: RankedCode, text: str) -> list[tuple[str, str]]:
    parts = [("", span) for span in code.evidence] + [("against: ", span) for span in code.against]
    return [(f"\n{what}“{' '.join(text[start:end].split())}”", "italic") for what, (start, end) in parts]


def _concepts(code: RankedCode) -> str:
    return "\n".join(f"{c.contribution:+.2f} {c.level}: {c.text}" for c in code.concepts)
