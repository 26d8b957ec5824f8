"""A tuned language model on real reports: vLLM beside the packed scorer, and what fewer bits cost its codes.

    OMP_NUM_THREADS=2 .venv-vllm/bin/python benchmarks/vllm_reports.py --tuned TUNED --data-dir DATA
        --work runs/bench-vllm-reports --out benchmarks/results/vllm_reports.json

TUNED is what `concept-icd finetune` left of CMC 2007's coded reports, with learned question tokens; DATA holds cmc2007.
Asked are the concepts of the `--codes` most frequent codes.

The same scores: `--timed` reports, in float32, in questions of learned tokens and by the same adapter in words; every
way lives in a process of its own and they take turns in rounds. "vllm" has the adapter folded into the base, as is its
way on a CPU; "vllm, adapter beside" serves it as LoRA, as a server does and a GPU's engine. A server knows no learned
tokens. Plain prompts are asked of the first report alone. Seconds are wall and CPU, of the server too; Ray's are of the
whole run, its start and the engine's with it.

Fewer bits: `--reports` reports, each scored by an adapter that was not tuned on it. Heads fitted on four fifths of the
reference's scores (packed, float32) decide the last fifth from the reference's scores, then from the other way's; then
heads fitted on the other way's scores do. Figures are means over `--splits` ways to deal the fifths, intervals of
differences paired. Quantised bases are the merged model, rounded to the nearest step without calibration: vLLM's CPU
build has no LoRA on int8. Scores stay in `--work`, and a killed run goes on with them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from cmc2007 import reports
from common import arguments, finish, heads_of, in_a_process, parser_of, tell
from quantised_model import quantise
from vllm_scoring import Worker, summary, take_turns, versions_with_vllm

from concept_icd.artifacts import read_manifest
from concept_icd.coder.parity import compare_scores
from concept_icd.corpora.folds import group_folds
from concept_icd.corpora.gold import gold_matrix
from concept_icd.heads.fitting import HeadOptions
from concept_icd.llm.base_model import load_tokenizer
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.llm.reference import ADAPTER_FILES, resolve
from concept_icd.metrics.intervals import draw_weights, drawn_decisions, interval
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.outputs import new_file
from concept_icd.records import CodedNote, Note
from concept_icd.scoring.adapters import adapters_of, plan_scoring
from concept_icd.scoring.ray_executor import RayExecutor
from concept_icd.scoring.scorer import ConceptScores
from concept_icd.scoring.specs import ADAPTER, PROMPT, ScorerSpec
from concept_icd.scoring.store import Job, fill_store, load_scores

#: Of an engine, so that several fit side by side.
CACHE = {"kv_cache_memory_bytes": 2**29}
REFERENCE = "packed, float32"
#: Way -> kind, options, and how the merged base is quantised. The first is the reference.
BITS: dict[str, tuple[Any, dict[str, Any], str | None]] = {
    REFERENCE: ("packed", {"dtype": "float32"}, None),
    "packed, bfloat16": ("packed", {"dtype": "bfloat16"}, None),
    "packed, NF4 base": ("packed", {"dtype": "float32", "load_in_4bit": True}, None),
    "vllm, float32": ("vllm", {"dtype": "float32"}, None),
    "vllm, bfloat16": ("vllm", {"dtype": "bfloat16"}, None),
    "vllm, bfloat16, LM head too": ("vllm", {"dtype": "bfloat16", "hf_overrides": {"head_dtype": "model"}}, None),
    "vllm, int8 base": ("vllm", {"dtype": "float32"}, "int8"),
    "vllm, int4 base": ("vllm", {"dtype": "bfloat16"}, "int4"),
}
HEADS, DRAWS = 5, 1000


# The same scores, and what they cost ----------------------------------------------------------------------------------


def same_scores(args: argparse.Namespace, notes: list[Note], concepts: ConceptSet, heads: Any) -> dict[str, Any]:
    """Float32 alone: gaps, codes that change, seconds."""
    found = {}
    for asking in ("learned tokens", "words"):
        adapter = args.tuned / ADAPTER if asking != "words" else in_words(args)
        prompt = PromptTemplate.load(args.tuned / PROMPT)
        specs = {
            "packed": ScorerSpec("packed", args.model, str(adapter), prompt, {"dtype": "float32"}),
            "vllm": ScorerSpec("vllm", args.model, str(adapter), prompt, {"dtype": "float32", **CACHE}),
            "plain": ScorerSpec("plain", args.model, str(adapter), prompt, {"dtype": "float32"}),
        }
        beside = {**specs["vllm"].options, "merge": False}
        specs["vllm, adapter beside"] = replace(specs["vllm"], options=beside)
        with served(args, adapter) if asking == "words" else nullcontext() as server:
            if server:
                specs["vllm serve"] = replace(specs["packed"], kind="server", options={}, url=server[0])
            workers = {}
            for way, spec in specs.items():
                workers[way] = Worker(spec, server[1].pid if way == "vllm serve" else None)
                workers[way].score([Note("warm-up", "Fever and cough. No pneumonia.")], concepts.concepts)
                tell(f"{asking}, {way}: loaded")
            rows = []
            for number in range(args.rounds):
                own = notes[number * args.timed : (number + 1) * args.timed]
                rows.append(take_turns(workers, own, concepts.concepts, slice(None), changed_by(heads)))
                tell(f"{asking}, round {number + 1}")
            for worker in workers.values():
                worker.stop()
        found[asking] = {way: summary(rows, way, "packed") for way in specs}
        for way in specs:
            found[asking][way]["accepted_changed"] = sum(row[way]["accepted_changed"] for row in rows)
            found[asking][way]["accepted"] = sum(row[way]["accepted"] for row in rows)
    return found


def changed_by(heads: Any) -> Any:
    """Of two matrices of scores: codes accepted with the first, and (report, code) pairs accepted with one alone."""

    def changed(reference: np.ndarray, logits: np.ndarray) -> dict[str, int]:
        accepted, other = (heads.threshold.accept(heads.predict_proba(found)) for found in (reference, logits))
        return {"accepted": int(accepted.sum()), "accepted_changed": int((accepted != other).sum())}

    return changed


def in_words(args: argparse.Namespace) -> Path:
    """The adapter without its learned tokens, which then asks in the prompt's words."""
    folder = args.work / "words"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ADAPTER_FILES:
        shutil.copyfile(args.tuned / ADAPTER / name, folder / name)
    return folder


@contextmanager
def served(args: argparse.Namespace, adapter: Path) -> Iterator[tuple[str, Any]]:
    """A `vllm serve` of the base and the adapter on a free port: its address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]  # what `vllm serve` runs
    command += ["--model", resolve(args.model), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--dtype", "float32", "--enforce-eager", "--block-size", "32"]
    command += [
        "--max-model-len",
        str(min(2048, load_tokenizer(args.model)[1])),
        "--enable-lora",
        "--max-lora-rank",
        "64",
        "--lora-modules",
        f"icd={adapter}",
    ]
    command += ["--enable-prompt-tokens-details"]
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    log = args.work / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 600
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
                break
            time.sleep(2)
        else:
            raise RuntimeError(f"the server does not answer: see {log}")
        yield url, process
    finally:
        family: list[Any] = [process]
        with suppress(psutil.Error):
            family += psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        for member in family:
            with suppress(psutil.Error, subprocess.TimeoutExpired):
                member.wait(30)
            with suppress(psutil.Error, ProcessLookupError):
                member.kill()


def through_ray(
    args: argparse.Namespace, notes: list[Note], concepts: ConceptSet, reference: np.ndarray
) -> dict[str, Any]:
    """A worker of Ray holds the engine and fills a store."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        scoring = plan_scoring(
            notes, args.tuned, concepts=concepts, model=args.model, kind="vllm", dtype="float32", **CACHE
        )
        jobs = [Job(name, group, scoring.specs[name]) for name, group in scoring.notes.items()]
        fill_store(
            folder,
            jobs,
            concepts,
            scoring.prompt,
            settings=scoring.settings,
            executor=RayExecutor(workers=1, threads=1),
        )
        found = load_scores(folder).select([note.note_id for note in notes]).logits
    return {
        "reports": len(notes),
        "largest_score_gap": float(np.abs(found - reference).max()),
        "seconds_of_the_run": round(time.monotonic() - start, 1),
    }


# Fewer bits -----------------------------------------------------------------------------------------------------------


def scores_of(args: argparse.Namespace, way: str, notes: list[Note], concepts: ConceptSet) -> dict[str, np.ndarray]:
    """Scores of the reports by one way, and the CPU seconds; from --work where they are there."""
    path = args.work / f"{way.replace(', ', '-').replace(' ', '-')}.npz"
    if not path.is_file():
        found = in_a_process(score, args, way, notes, concepts)
        with new_file(path) as staging, staging.open("wb") as file:
            np.savez(file, ids=np.array([note.note_id for note in notes]), **found)
    found = dict(np.load(path))
    if found.pop("ids").tolist() != [note.note_id for note in notes] or found["logits"].shape[1] != len(concepts):
        raise SystemExit(f"{path} holds other reports or questions: name another --work")
    tell(f"{way}: {found['seconds']:.0f} CPU seconds")
    return found


def score(args: argparse.Namespace, way: str, notes: list[Note], concepts: ConceptSet) -> dict[str, Any]:
    kind, options, scheme = BITS[way]
    options = options | (CACHE if kind == "vllm" else {})
    scoring = plan_scoring(notes, args.tuned, concepts=concepts, model=args.model, kind=kind, **options)
    logits, seconds = np.zeros((len(notes), len(concepts)), dtype=np.float32), 0.0
    row = {note.note_id: number for number, note in enumerate(notes)}
    for name, own in scoring.notes.items():
        spec = replace(scoring.specs[name], options=options)  # whole reports: they are short
        with quantised(spec, scheme) if scheme else nullcontext() as scorer:
            scorer = scorer or spec.make()
            start = time.process_time()
            logits[[row[note.note_id] for note in own]] = scorer.score(own, concepts, progress=True).logits
            seconds += time.process_time() - start
    return {"logits": logits, "seconds": seconds}


@contextmanager
def quantised(spec: ScorerSpec, scheme: str) -> Iterator[Any]:
    """vLLM on base and adapter, merged and then quantised, with the adapter's learned question tokens."""
    from concept_icd.llm.merging import merge_adapter
    from concept_icd.llm.question_tokens import QuestionTokens
    from concept_icd.scoring.vllm import VllmScorer, embedding_rows

    assert spec.adapter is not None
    with tempfile.TemporaryDirectory() as folder:
        merge_adapter(spec.model, spec.adapter, Path(folder) / "merged")
        base = quantise(Path(folder) / "merged", Path(folder) / scheme, scheme)
        learned = QuestionTokens.load(spec.adapter)
        own = {"enable_prompt_embeds": True} if learned else {}
        scorer = VllmScorer.from_pretrained(base, None, spec.prompt, **spec.options, **own)
        if learned:
            first = embedding_rows(base, learned)
            scorer.tokens, scorer.learned = replace_learned(scorer.tokens, learned.ids(first)), (learned.vectors, first)
        yield scorer


def replace_learned(tokens: Any, ids: Any) -> Any:
    return type(tokens)(tokens.template, tokens.tokenizer, tokens.max_length, tokens.note_text, ids)


def decided(
    args: argparse.Namespace, notes: list[CodedNote], concepts: ConceptSet, scores: dict[str, np.ndarray]
) -> Any:
    """Codes accepted of each report: by the reference's heads and by a way's own, a row for each split."""
    ids = [coded.note.note_id for coded in notes]
    gold, _ = gold_matrix(ids, notes, concepts.codes)
    found = {(way, own): np.zeros((args.splits, *gold.shape), dtype=bool) for way in scores for own in (False, True)}
    for split in range(args.splits):
        fold = group_folds(ids, HEADS, split)
        for number in range(HEADS):
            rest, out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            heads = {
                way: fitted(logits[rest], gold[rest], concepts, [ids[r] for r in rest])
                for way, logits in scores.items()
            }
            for way, logits in scores.items():
                for own in (False, True):
                    used = heads[way if own else REFERENCE]
                    found[way, own][split, out] = used.threshold.accept(used.predict_proba(logits[out]))
    return gold, found


def fitted(logits: np.ndarray, gold: np.ndarray, concepts: ConceptSet, groups: Sequence[str]) -> Any:
    return heads_of(logits, gold, concepts, groups=groups, options=HeadOptions(features="path", order="none"))


def fewer_bits(
    args: argparse.Namespace, notes: list[CodedNote], concepts: ConceptSet, scores: dict[str, dict[str, np.ndarray]]
) -> dict[str, Any]:
    """Of each way: gaps, codes that change, micro-F1 with the reference's heads and with its own."""
    logits = {way: found["logits"] for way, found in scores.items()}
    gold, accepted = decided(args, notes, concepts, logits)
    weights = draw_weights(None, len(gold), DRAWS, args.seed)
    drawn = {
        key: np.mean([drawn_decisions(gold, one, weights)["micro_f1"] for one in splits], axis=0)
        for key, splits in accepted.items()
    }
    ids = tuple(coded.note.note_id for coded in notes)
    matrices = {way: ConceptScores(ids, concepts.hash, found, (None,) * len(ids)) for way, found in logits.items()}
    base, rows = (REFERENCE, True), {}
    for way in scores:
        changes = {own: int((accepted[way, own] != accepted[base]).sum()) / args.splits for own in (False, True)}
        rows[way] = {
            **compare_scores(matrices[REFERENCE], matrices[way]),
            "cpu_seconds_over_reference": round(float(scores[way]["seconds"] / scores[REFERENCE]["seconds"]), 3),
            "accepted": round(int(accepted[base].sum()) / args.splits, 1),
            "accepted_changed": round(changes[False], 1),
            "accepted_changed_refitted": round(changes[True], 1),
        }
        for name, own in (("micro_f1", False), ("micro_f1_refitted", True)):
            sample = drawn[way, own]
            rows[way][name] = {"value": float(sample[0]), **interval(sample, "share")}
            difference = sample - drawn[base]
            rows[way][f"{name}_minus_reference"] = {"value": float(difference[0]), **interval(difference)}
    return {"gold_labels": int(gold.sum()), "splits": args.splits, "ways": rows}


def main() -> None:
    parser = parser_of(
        __doc__, data=True, work="runs/bench-vllm-reports", codes=15, reports=150, timed=4, rounds=2, splits=3
    )
    parser.add_argument("--tuned", type=Path, required=True, help="folder of `concept-icd finetune` on these reports")
    parser.add_argument("--model", help="base model: where the tuning's is now")
    parser.add_argument("--ways", nargs="+", choices=BITS, default=list(BITS), help="of fewer bits")
    args = arguments(parser)
    tuning = read_manifest(args.tuned, "finetune")["config"]
    args.model = args.model or tuning["model_name_or_path"]
    every = reports(args.data_dir / "cmc2007")
    blind = [one for one, name in zip(every, adapters_of([one.note for one in every], args.tuned), strict=True) if name]
    notes = blind[:: max(1, len(blind) // args.reports)][: args.reports]
    if len(notes) < args.rounds * args.timed:
        parser.error(f"the adapters of {args.tuned} are blind to {len(notes)} reports alone")
    frequent = [code for code, _ in Counter(code for one in every for code in one.codes).most_common(args.codes)]
    concepts = ConceptSet.expand(sorted(frequent), load_ontology("icd9cm"), levels=tuning["levels"])
    args.work.mkdir(parents=True, exist_ok=True)

    texts = [one.note for one in notes]
    ways = [REFERENCE, *(way for way in args.ways if way != REFERENCE)]
    scores = {way: scores_of(args, way, texts, concepts) for way in ways}
    gold, _ = gold_matrix([note.note_id for note in texts], notes, concepts.codes)
    heads = fitted(scores[REFERENCE]["logits"], gold, concepts, [note.note_id for note in texts])
    few = texts[: args.timed]
    result = {
        "base": Path(args.model).name,
        "question_tokens": tuning["question_tokens"],
        "lora_r": tuning["lora_r"],
        "tuned_steps": tuning["max_steps"] if tuning["max_steps"] > 0 else None,
        "tuned_epochs": tuning["num_train_epochs"],
        "reports": len(notes),
        "codes": len(concepts.codes),
        "concepts": len(concepts),
        "timed": args.timed,
        "rounds": args.rounds,
        "versions": versions_with_vllm(),
        "fewer_bits": fewer_bits(args, notes, concepts, scores),
        "ray": through_ray(args, few, concepts, scores[REFERENCE]["logits"][: args.timed]),
        "same_scores": same_scores(args, texts, concepts, heads),
    }
    finish(args, result, TUNED=args.tuned, DATA=args.data_dir, WORK=args.work, MODEL=Path(args.model))


if __name__ == "__main__":
    main()
