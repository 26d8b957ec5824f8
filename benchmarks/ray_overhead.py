"""What Ray costs a note: two workers of one thread against one process with two threads, and against two processes.

    python benchmarks/ray_overhead.py --out benchmarks/results/ray_overhead.json

The shipped tiny model; notes of random words; the same store, whose bits are compared. The ways take turns, round after
round, each in a process of its own. A run's time is split at the moment when all its scorers are loaded and none has
scored yet: before it lies the start (Ray, the workers, their imports, the model), after it the scoring until the last
shard is written, and only this is meant by "per note". Ray's end is not in it. CPU seconds are those of the process and
all its descendants in the same span, Ray's own included. The two plain processes are a pool of Python's: what Ray costs
beyond having two processes at all.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from common import arguments, finish, parser_of, tell
from random_model import random_concepts

from concept_icd.llm.prompts import PromptTemplate
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.records import Concept, Note
from concept_icd.scoring import ray_executor
from concept_icd.scoring.executors import LocalExecutor, Record, Shard, score_notes
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.ray_executor import RayExecutor
from concept_icd.scoring.specs import ScorerSpec
from concept_icd.scoring.store import Job, fill_store, load_scores

WAYS = {"process": "one process, two threads", "pool": "two processes, one thread each", "ray": "two workers of Ray"}


class PoolExecutor:
    """Scores in a pool of Python's own."""

    def run(self, shards: Sequence[Shard], concepts: Any, plan: Any, tell: Callable[[Record], None]) -> Iterator[Any]:
        context = multiprocessing.get_context("spawn")
        with context.Pool(2, _begin_worker, (shards[0].make_scorer, concepts)) as pool:
            for number, records in pool.imap_unordered(_score_shard, [(s.number, s.notes) for s in shards]):
                for one in records:
                    tell(one)
                yield next(shard for shard in shards if shard.number == number), records


def _begin_worker(make: Callable[[], PackedScorer], concepts: Sequence[Concept]) -> None:
    global _scorer, _concepts
    torch.set_num_threads(1)
    _scorer, _concepts = make(), concepts


def _score_shard(task: tuple[int, Sequence[Note]]) -> tuple[int, list[Record]]:
    return task[0], list(score_notes(_scorer, task[1], _concepts, None))


def make_scorer(ready: Path, processes: int) -> PackedScorer:
    """Loads the model, and waits until as many processes have done so."""
    scorer = PackedScorer.from_pretrained("tiny")
    wait_for_others(ready, processes)
    return scorer


def wait_for_others(ready: Path, processes: int) -> None:
    """Until as many processes have come here."""
    (ready / str(os.getpid())).touch()
    while len(list(ready.iterdir())) < processes:
        time.sleep(0.005)


class WaitingWorker(ray_executor._Worker):
    """A worker of Ray that waits for the other one, as `make_scorer` does."""

    def _score(self, job: str, notes: Sequence[Note]) -> list[Record]:
        if self._scorer is None:
            super()._score(job, [])  # loads the model
            wait_for_others(Path(os.environ["READY"]), 2)
        return super()._score(job, notes)


def cpu_seconds() -> float:
    """Of this process and its descendants that live."""
    me = psutil.Process()
    seconds = 0.0
    for process in [me, *me.children(recursive=True)]:
        try:
            seconds += sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return seconds


def run_way(way: str, folder: Path, notes: list[Note], concepts: ConceptSet, shard_notes: int) -> dict[str, float]:
    """Fills the store `folder`."""
    torch.set_num_threads(2 if way == "process" else 1)
    executor = {"process": LocalExecutor, "pool": PoolExecutor, "ray": partial(RayExecutor, workers=2)}[way]()
    processes = 1 if way == "process" else 2
    moments: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as ready:

        def watch() -> None:
            while len(os.listdir(ready)) < processes:
                time.sleep(0.005)
            moments["loaded"] = time.perf_counter(), cpu_seconds()

        class Timed:
            def run(self, shards: Sequence[Shard], *arguments: Any) -> Iterator[Any]:
                moments["begun"] = time.perf_counter(), 0.0
                left = len(shards)
                for pair in executor.run(shards, *arguments):
                    yield pair  # and it is written
                    left -= 1
                    if not left:
                        moments["done"] = time.perf_counter(), cpu_seconds()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        job = Job("all", notes, partial(make_scorer, Path(ready), processes))
        if way == "ray":  # whose workers are given a spec, and no function
            os.environ["READY"], ray_executor._Worker = ready, WaitingWorker
            job = Job("all", notes, ScorerSpec("packed", "tiny", None, PromptTemplate.load()))
        settings = {"out_of_fold": True}
        fill_store(
            folder, [job], concepts, PromptTemplate.load(), settings=settings, shard_notes=shard_notes, executor=Timed()
        )
        thread.join()
    begun, loaded, done = (np.array(moments[name]) for name in ("begun", "loaded", "done"))
    scoring, cpu = (done - loaded) / len(notes)
    return {"start_seconds": (loaded - begun)[0], "seconds_per_note": scoring, "cpu_seconds_per_note": cpu}


def build_notes(count: int, rng: np.random.Generator) -> list[Note]:
    """Notes of 60 to 250 words."""
    words = " ".join(concept.text for concept in random_concepts(500, rng)).split()
    return [Note(f"note-{i}", " ".join(rng.choice(words, rng.integers(60, 251)))) for i in range(count)]


def main() -> None:
    defaults = {"notes": 500, "concepts": 50, "shard_notes": 64, "rounds": 3}
    parser = parser_of(__doc__, **defaults)
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)  # what a process of a round is told
    parser.add_argument("--store", help=argparse.SUPPRESS)
    args = arguments(parser)
    if args.way:
        rng = np.random.default_rng(args.seed)
        notes = build_notes(args.notes, rng)
        concepts = ConceptSet((), tuple(random_concepts(args.concepts, rng)))
        print(json.dumps(run_way(args.way, Path(args.store), notes, concepts, args.shard_notes)))
        return
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    bits = set()
    for number in range(args.rounds):
        for way in list(WAYS)[number % 3 :] + list(WAYS)[: number % 3]:
            with tempfile.TemporaryDirectory() as folder:
                store = Path(folder, "scores")
                command = [sys.executable, __file__, *sys.argv[1:], "--way", way, "--store", str(store)]
                environment = os.environ | {"OMP_NUM_THREADS": "2" if way == "process" else "1"}
                output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
                runs[way].append(json.loads(output.splitlines()[-1]))
                bits.add(load_scores(store).logits.tobytes())
            tell(way, runs[way][-1])

    figures: dict[str, Any] = {
        "ways": WAYS,
        "same_bits": len(bits) == 1,
        "medians": {
            way: {key: statistics.median(run[key] for run in found) for key in found[0]} for way, found in runs.items()
        },
        "runs": runs,
    }
    for key in ("seconds_per_note", "cpu_seconds_per_note"):
        for other in ("process", "pool"):
            found = [ray[key] / own[key] for ray, own in zip(runs["ray"], runs[other], strict=True)]
            widths = {"median": statistics.median(found), "lowest": min(found), "highest": max(found)}
            figures[f"ray_over_{other}, {key}"] = widths | {"rounds": len(found)}
    sizes = {name: getattr(args, name) for name in defaults}
    finish(args, sizes | figures)


if __name__ == "__main__":
    main()
