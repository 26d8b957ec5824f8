"""`concept-icd score`: fills the note x concept matrix, resumable, on one machine or many."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

from concept_icd.cli.old_names import OldOption
from concept_icd.cli.options import add_batch_sizes, notes_of, require_positive
from concept_icd.progress import say, say_next, tell

if TYPE_CHECKING:
    from concept_icd.ontology.concepts import ConceptSet
    from concept_icd.scoring.executors import Executor
    from concept_icd.scoring.selection import SelectionRule, TopDownSelection

EXAMPLE = "concept-icd score --corpus runs/corpus --tuned runs/tuned --out runs/scores"
INPUTS = ("corpus", "tuned", "model", "codes", "selection")

#: Failures that are printed; all of them stand in failures.json.
_TOLD = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is scored, how it is read, what scores it, where."""
    parser.add_argument("--corpus", required=True, help="folder written by `concept-icd prepare`")
    parser.add_argument("--tuned", required=True, help="folder written by `concept-icd finetune`")
    parser.add_argument("--out", help="folder of the scores; the same command resumes it, and mends it if damaged")
    parser.add_argument("--splits", nargs="+", metavar="SPLIT", help="only the notes of these splits")
    which = (
        "ask for these codes instead of the tuning's: all of the classification (all), or a file with one code a line"
    )
    parser.add_argument("--codes", metavar="all|FILE", help=which)
    asked = "ask only what this selection leads to (written by `concept-icd fit-selection`), not every concept"
    parser.add_argument("--selection", metavar="FILE", help=asked)
    parser.add_argument("--descent", dest="selection", action=OldOption, new="--selection")
    also = "with --selection: also ask for the N codes whose words the note has (BM25; default: the selection's own)"
    parser.add_argument("--retrieve", type=int, metavar="N", help=also)
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N notes, to try things out")
    parser.add_argument(
        "--in-sample", action="store_true", help="score notes that every adapter was tuned on too; else left out"
    )
    mean = "score new notes by the mean over all adapters of the tuning, or by the final one; default: the tuning's"
    parser.add_argument("--average", action=argparse.BooleanOptionalAction, help=mean)
    parser.add_argument("--max-length", type=int, metavar="TOKENS", help="longest prompt; default: the tuning's")
    kept = "of a note that is too long, read its beginning (whole) or its most useful sections; default: the tuning's"
    parser.add_argument("--note-text", metavar="whole|sections", help=kept)
    parser.add_argument("--model", help="base model: where the tuning's is now, or a quantised copy of it")
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        help="default: float32 on a CPU, bfloat16 on a GPU; a coder fitted on the scores codes in the same",
    )
    parser.add_argument("--load-in-4bit", action="store_true", help="NF4 weights (bitsandbytes); as tuned by default")
    parser.add_argument("--shard-notes", type=int, default=64, metavar="N", help="notes that a kill may cost (64)")
    how = "this process (packed), vLLM's engine, or a vLLM server that runs (default: packed)"
    parser.add_argument("--scorer", choices=["packed", "vllm", "server"], default="packed", help=how)
    parser.add_argument("--server-url", metavar="URL", help="of the vLLM server (default: port 8000 here)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; packed only; default: a GPU where there is one")
    add_batch_sizes(parser)
    parser.add_argument("--tensor-parallel", type=int, metavar="N", help="GPUs that share one model; vllm only")
    parser.add_argument("--engine", choices=["local", "ray"], default="local", help="this process, or workers of Ray")
    parser.add_argument("--ray-address", metavar="ADDRESS", help="a running Ray cluster; default: one on this machine")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="workers of Ray; default: as many as there is room for"
    )
    parser.add_argument("--dry-run", action="store_true", help="count tokens and estimate hours; write nothing")
    parser.add_argument("--price-per-hour", type=float, metavar="PRICE", help="of a device, for the dry run's costs")
    parser.add_argument("--json", action="store_true", help="print the dry run as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Scores; exit code 1 when some notes could not be scored."""
    from pathlib import Path

    from concept_icd.corpora.store import require_classification
    from concept_icd.scoring.adapters import plan_scoring, score_corpus
    from concept_icd.scoring.selection import FILE as DESCENT
    from concept_icd.scoring.store import read_failures

    _check(args)
    notes = notes_of(args)
    options = {
        "in_sample": args.in_sample,
        "average": args.average,
        "model": args.model,
        "kind": args.scorer,
        "url": args.server_url,
        **_options(args),
    }
    options["concepts"] = _concepts(args)
    require_classification(args.corpus, options["concepts"].classification)
    rule, plan = _selection(args, options["concepts"])
    if args.dry_run:
        _print_dry_run(plan_scoring(notes, args.tuned, **options), len(notes), args, rule)
        return 0
    options["plan"] = plan
    new = score_corpus(notes, args.tuned, args.out, executor=_executor(args), shard_notes=args.shard_notes, **options)
    if rule is not None:
        rule.save(Path(args.out) / DESCENT)
    if not new:
        tell(f"{args.out} is complete: every shard is there and whole")
    _tell_cut(args.out)
    failures = read_failures(args.out)
    for note_id, reason in list(failures.items())[:_TOLD]:
        say(f"not scored: {note_id}: {reason}", logging.WARNING)
    if len(failures) > _TOLD:
        say(f"not scored: {len(failures) - _TOLD} more, see {args.out}/failures.json", logging.WARNING)
    print(args.out)
    say_next("concept-icd", "fit", "--corpus", args.corpus, "--scores", args.out, "--out", f"{args.out}-coder")
    return 1 if failures else 0


def _tell_cut(out: str) -> None:
    """Says how many notes were not read to their end, and what the limit is."""
    from concept_icd.artifacts import read_manifest
    from concept_icd.llm.base_model import load_tokenizer

    manifest = read_manifest(out, "score")
    if cut := manifest.get("truncated"):
        given, (_, positions) = manifest["config"]["max_length"], load_tokenizer(manifest["config"]["model"])
        limit, why = (given, "max_length") if given and given < positions else (positions, "the model's positions")
        told = f"{cut} of {manifest['notes']} notes were not read to their end: the longest prompt is {limit:,} tokens"
        say(f"{told} ({why})", logging.WARNING)


def _check(args: argparse.Namespace) -> None:
    """Refuses numbers below one, and options that would do nothing."""
    from concept_icd.errors import InputError

    numbers = ("limit", "chunk_tokens", "batch_tokens", "shard_notes", "tensor_parallel", "workers", "retrieve")
    require_positive(args, *numbers)
    if args.out is None and not args.dry_run:
        raise InputError("--out is missing: name the folder of the scores")
    idle = {
        "--server-url": args.server_url is not None and args.scorer != "server",
        "--device": args.device is not None and args.scorer != "packed",
        "--chunk-tokens": args.chunk_tokens is not None and args.scorer != "packed",
        "--batch-tokens": args.batch_tokens is not None and args.scorer != "packed",
        "--tensor-parallel": args.tensor_parallel is not None and args.scorer != "vllm",
        "--ray-address": args.ray_address is not None and args.engine != "ray",
        "--workers": args.workers is not None and args.engine != "ray",
        "--price-per-hour": args.price_per_hour is not None and not args.dry_run,
        "--json": args.json and not args.dry_run,
        "--retrieve": args.retrieve is not None and args.selection is None,
    }
    needs = {"--server-url": "--scorer server", "--device": "--scorer packed", "--tensor-parallel": "--scorer vllm"}
    needs |= {"--chunk-tokens": "--scorer packed", "--batch-tokens": "--scorer packed"}
    needs |= {"--ray-address": "--engine ray", "--workers": "--engine ray", "--retrieve": "--selection"}
    for name in (name for name, given in idle.items() if given):
        raise InputError(f"{name} does nothing without {needs.get(name, '--dry-run')}")


def _concepts(args: argparse.Namespace) -> ConceptSet:
    """The concepts of the tuning, or of the codes that were named."""
    from pathlib import Path

    from concept_icd.artifacts import read_manifest
    from concept_icd.ontology.concepts import ConceptSet
    from concept_icd.ontology.tree import load_ontology
    from concept_icd.readers.label_sets import read_codes
    from concept_icd.scoring.specs import CONCEPTS

    read_manifest(args.tuned, "finetune")
    if args.codes is None:
        return ConceptSet.load(Path(args.tuned) / CONCEPTS)
    ontology = load_ontology(ConceptSet.load(Path(args.tuned) / CONCEPTS).classification)
    if args.codes == "all":
        return ConceptSet.expand(ontology.codes(), ontology)
    return ConceptSet.expand(read_codes(args.codes, ontology.name, must_exist=True), ontology)


def _selection(args: argparse.Namespace, concepts: ConceptSet) -> tuple[SelectionRule | None, TopDownSelection | None]:
    from dataclasses import replace

    from concept_icd.ontology.tree import load_ontology
    from concept_icd.scoring.selection import SelectionRule, TopDownSelection

    if args.selection is None:
        return None, None
    rule = SelectionRule.load(args.selection)
    rule = rule if args.retrieve is None else replace(rule, retrieve=args.retrieve)
    return rule, TopDownSelection.over(concepts, load_ontology(concepts.classification), rule)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """What goes to the scorer's `from_pretrained`, as far as it was said."""
    given = {
        "max_length": args.max_length,
        "note_text": args.note_text,
        "dtype": args.dtype,
        "load_in_4bit": args.load_in_4bit or None,
        "device": args.device,
        "chunk_tokens": args.chunk_tokens,
        "batch_tokens": args.batch_tokens,
        "tensor_parallel": args.tensor_parallel,
    }
    return {name: value for name, value in given.items() if value is not None}


def _executor(args: argparse.Namespace) -> Executor | None:
    if args.engine == "local":
        return None
    from concept_icd.scoring.ray_executor import RayExecutor

    without_gpu = args.device == "cpu" or args.scorer == "server"
    return RayExecutor(args.ray_address, workers=args.workers, gpus=0 if without_gpu else args.tensor_parallel)


def _print_dry_run(scoring: Any, notes: int, args: argparse.Namespace, rule: SelectionRule | None) -> None:
    """A table, or with --json one object."""
    import dataclasses
    import json

    from concept_icd.doctor.tokens import count_tokens, estimate_hours
    from concept_icd.errors import InputError

    count = count_tokens(scoring)
    if rule is not None:  # its budget, or what it asked of the notes that it was fitted on
        count = count.asking(rule.budget or round(rule.fitted.get("questions", count.concepts)))
    estimates, unknown = [], None
    try:
        estimates = estimate_hours(count, scoring.settings["model"], args.price_per_hour)
    except InputError as error:
        unknown = str(error)
    if not args.json:
        _print_tables(count, estimates, scoring.adapters)
        if scoring.left_out:
            print(f"left out: {scoring.left_out_of(notes)}")
        if unknown:
            print(f"no estimate of hours: {unknown}")
        return
    record = {
        "adapters": scoring.adapters,
        "readings_a_note": count.readings,
        "notes": count.notes,
        "notes_counted": count.counted,
        "notes_flawed": count.flawed,
        "notes_left_out": scoring.left_out,
        "notes_truncated": count.truncated,
        "concepts": count.concepts,
        "tokens_computed": round(count.computed),
        "tokens_reused": round(count.reused),
        "tokens_margin": count.margin,
        "times_fewer_than_one_prompt_a_question": count.times_fewer,
        "estimates": [dataclasses.asdict(estimate) for estimate in estimates],
        "no_estimates": unknown,
    }
    print(json.dumps(record, indent=2))


def _print_tables(count: Any, estimates: list[Any], adapters: int) -> None:
    from concept_icd.doctor.findings import readable_seconds
    from concept_icd.report.table import print_table

    whole = count.counted == count.notes
    how = "all counted" if whole else f"from a sample of {count.counted:,}, ±{count.margin:.1%}"
    tokens = (
        ("notes", f"{count.notes:,} ({how})"),
        ("that cannot be scored", f"{count.flawed:,}"),
        ("not read to their end", f"{count.truncated:,}"),
        ("adapters", f"{adapters}"),
        ("readings of a note", f"{count.readings:,.2f}"),
        ("questions a note", f"{count.concepts:,}"),
        ("computed", f"{count.computed:,.0f}"),
        ("reused", f"{count.reused:,.0f}"),
        ("one prompt a question", f"{count.times_fewer:.1f} times as many"),
    )
    print_table("tokens of the run", ["", "tokens"], tokens)
    if not estimates:
        return
    priced = estimates[0].cost is not None
    rows = [
        (one.device, readable_seconds(one.seconds), *([f"{one.cost:,.2f}"] if priced else []), one.source)
        for one in estimates
    ]
    columns = ["on one", "time", *(["cost"] if priced else []), "at"]
    print_table("estimated, not measured; without loading the model", columns, rows)
