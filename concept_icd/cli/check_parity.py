"""`concept-icd check-parity`: do two scorers say the same?"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from concept_icd.cli.options import notes_of, require_positive

if TYPE_CHECKING:
    from concept_icd.llm.prompts import PromptTemplate
    from concept_icd.scoring.scorer import ConceptScores

EXAMPLE = "concept-icd check-parity --corpus runs/demo/corpus --coder runs/demo/coder --limit 5"
SCORERS = ("packed", "light", "vllm", "server", "plain")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Notes, what scores them, and how."""
    parser.add_argument("--corpus", required=True, help="folder written by `concept-icd prepare`")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--coder", help="folder of a coder: also says which codes change")
    which.add_argument("--tuned", help="folder written by `concept-icd finetune`: its final adapter")
    two = "two of packed, vllm, server and plain (one prompt a question); default: packed plain"
    parser.add_argument("--scorers", nargs=2, metavar="SCORER", choices=SCORERS, default=["packed", "plain"], help=two)
    dtypes = "one for both scorers or one each: float32, bfloat16 or float16 (default: the coder's, or its own)"
    parser.add_argument("--dtype", nargs="+", choices=("float32", "bfloat16", "float16"), default=[None], help=dtypes)
    parser.add_argument(
        "--device", help="cpu, cuda, cuda:1, ...; packed and plain only (default: a GPU where there is one)"
    )
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="the first N notes (default: %(default)s)")
    parser.add_argument("--splits", nargs="+", metavar="SPLIT", help="only the notes of these splits")
    parser.add_argument("--max-length", type=int, metavar="TOKENS", help="longest prompt; default: the tuning's")
    parser.add_argument("--model", help="where the base model is now, if it has moved")
    parser.add_argument("--server-url", metavar="URL", help="of a vLLM server (default: this machine, port 8000)")
    above = "exit with 1 where a gap is larger, in nats (default: %(default)s; half precision needs some tenths)"
    parser.add_argument("--tolerance", type=float, default=1e-3, help=above)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Scores twice and compares; exit code 1 where a gap is above the tolerance."""
    import json
    from pathlib import Path

    from concept_icd.artifacts import read_manifest
    from concept_icd.coder.coder import ConceptCoder
    from concept_icd.coder.parity import compare_codes, compare_scores
    from concept_icd.errors import InputError
    from concept_icd.llm.prompts import PromptTemplate
    from concept_icd.ontology.concepts import ConceptSet
    from concept_icd.scoring.executors import free_memory
    from concept_icd.scoring.specs import ADAPTER, CONCEPTS, PROMPT, precision_of

    require_positive(args, "limit")
    if len(args.dtype) > 2:
        raise InputError("--dtype takes one value for both scorers, or one each")
    if {("light", "bfloat16"), ("light", "float16")} & set(zip(args.scorers, _two(args.dtype), strict=True)):
        raise InputError("the light scorer computes in float32 alone: compare packed in another precision")
    notes = notes_of(args)
    coder, options = None, {}
    if args.coder:
        coder = ConceptCoder.from_pretrained(args.coder, model=args.model)
        coder.model.check()
        model, adapter, prompt, concepts = coder.model.name, coder.model.adapter, coder.prompt, coder.asked
        settings = dict(coder.scorer_settings)
    else:
        tuned = Path(args.tuned)
        settings = read_manifest(tuned, "finetune")["config"]
        model, adapter = args.model or settings["model_name_or_path"], tuned / ADAPTER
        prompt, concepts = PromptTemplate.load(tuned / PROMPT), ConceptSet.load(tuned / CONCEPTS)
    options = {name: settings[name] for name in ("max_length", "note_text", "load_in_4bit") if settings.get(name)}
    options |= {"max_length": args.max_length} if args.max_length else {}
    own = precision_of(settings) if coder is not None else None
    names = [_name(*pair) for pair in zip(args.scorers, _two(args.dtype), strict=True)]
    scores: list[ConceptScores] = []
    for kind, dtype in zip(args.scorers, _two(args.dtype), strict=True):
        chosen = options | ({"dtype": dtype or own} if (dtype or own) and kind != "light" else {})
        chosen |= {"device": args.device} if args.device and kind in ("packed", "plain") else {}
        scorer = _scorer(kind, model, adapter, prompt, args.server_url, chosen)
        scores.append(scorer.score(notes, concepts, progress=True))
        del scorer
        free_memory()
    found: dict[str, Any] = {"scorers": names, "model": str(model), **compare_scores(*scores)}
    if coder is not None:
        first, second = (coder.complete(part, notes) for part in scores)
        p, q = coder.predict_proba(first), coder.predict_proba(second)
        orders = coder.rank(first, p, notes=notes), coder.rank(second, q, notes=notes)
        found["coder"] = compare_codes(coder.heads.threshold, (p, q), orders)
    found |= {"tolerance": args.tolerance, "within_tolerance": found["largest_gap"] <= args.tolerance}
    print(json.dumps(found, indent=2) if args.json else _table(found))
    return 0 if found["within_tolerance"] else 1


def _two(values: list[Any]) -> list[Any]:
    return [values[0], values[-1]]


def _name(kind: str, dtype: str | None) -> str:
    return kind if dtype is None else f"{kind} {dtype}"


def _scorer(
    kind: Any, model: Any, adapter: Any, prompt: PromptTemplate, url: str | None, options: dict[str, Any]
) -> Any:
    from concept_icd.scoring.specs import ScorerSpec

    adapter = str(adapter) if adapter is not None else None
    return ScorerSpec(kind, str(model), adapter, prompt, options, url).make()


def _table(found: dict[str, Any]) -> str:
    first, second = found["scorers"]
    within = found["rank_correlation_within_notes"]
    lines = [
        f"{first} against {second}: {found['notes']} notes, {found['questions']} questions each",
        f"  largest gap of a score     {found['largest_gap']:.2e} nats (tolerance {found['tolerance']:g})",
        f"  mean gap                   {found['mean_gap']:.2e} nats",
        f"  rank correlation           {_figure(found['rank_correlation'])} over all scores",
        f"  within a note              {_figure(within['mean'])} on average, {_figure(within['lowest'])} at the lowest",
    ]
    if found["cut_differently"]:
        lines.append(f"  notes cut differently      {found['cut_differently']}: their windows differ, see --max-length")
    if "coder" in found:
        codes = found["coder"]
        lines += [
            f"  accepted codes changed     {codes['accepted_changed']} of {codes['accepted']}, "
            f"in {codes['notes_with_changes']} notes",
            f"  first code changed         in {codes['first_code_changed']} notes",
        ]
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "none (all equal)" if value is None else f"{value:.6f}"
