"""A run of scoring that is killed many times, for test_store_kills.py: python killed_run.py MODEL FOLDER KILLS SEED.

One process loads the model and forks; each child goes on with the store in FOLDER/killed as a process of its own would,
until it is killed with SIGKILL or has ended. Two kinds of moments take turns: after a random time, and a random moment
after a shard's temporary file or its name has appeared, so that writing itself is hit. Should a run end before all
kills are spent, the rest goes into another store. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from concept_icd.llm.prompts import PromptTemplate
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Note
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.store import Job, fill_store
from tests.fitted_coder import CODES, make_notes

#: One of them cannot be scored, and is recorded in the midst of the others.
NOTES = [*make_notes(159, 0, "note"), Note("blank", " ")]
SHARD_NOTES = 2
CONCEPTS, PROMPT = ConceptSet.expand(CODES, load_ontology("icd9cm")), PromptTemplate.load()


def fill(folder: Path, scorer: PackedScorer) -> None:
    jobs = [Job("first", NOTES[:100], lambda: scorer), Job("second", NOTES[100:], lambda: scorer)]
    fill_store(folder, jobs, CONCEPTS, PROMPT, settings={"out_of_fold": True}, shard_notes=SHARD_NOTES)


def fork(folder: Path, scorer: PackedScorer) -> int:
    """The id of a child that fills the store."""
    if child := os.fork():
        return child
    status = 1
    try:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        fill(folder, scorer)
        status = 0
    finally:
        os._exit(status)


def ended(child: int) -> bool:
    """Whether the child has ended by itself, which it may do only without an error."""
    found, status = os.waitpid(child, os.WNOHANG)
    if found and status:
        raise SystemExit(f"a child failed: {status}")
    return bool(found)


def names(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()


def temporary(folder: Path) -> set[str]:
    """Files that have not got their name yet; a process has its own."""
    return {name for name in names(folder) if name.startswith(".")}


def written(folder: Path) -> dict[str, int]:
    """Shards by name, with the time of their writing."""
    return {name: (folder / name).stat().st_mtime_ns for name in names(folder) - temporary(folder)}


def main(model: Path, root: Path, kills: int, seed: int) -> dict[str, object]:
    torch.set_num_threads(1)
    scorer, draws = PackedScorer.from_pretrained(model, batch_tokens=1500), random.Random(seed)
    start = time.monotonic()
    os.waitpid(fork(root / "whole", scorer), 0)
    seconds, total = time.monotonic() - start, len(names(root / "whole" / "shards"))
    moments, progress, rewritten, runs = {"before": 0, "writing": 0, "after": 0}, [], 0, 0
    while (left := kills - sum(moments.values())) > 0:
        shards = root / f"killed-{runs}" / "shards"
        kept, torn = written(shards), temporary(shards)
        # So long that the run lasts for the kills that are left, whatever the machine does meanwhile.
        share = (total - len(kept)) / total / (left + 1)
        limit = time.monotonic() + draws.uniform(0, 0.02 + 0.001 * len(kept) + 2 * share * seconds)
        in_writing, later = draws.random() < 0.4, draws.uniform(0, 0.002)
        child = fork(root / f"killed-{runs}", scorer)
        while not (over := ended(child)) and time.monotonic() < limit:
            time.sleep(0.0005)
        while in_writing and not over and not temporary(shards) - torn:
            over = ended(child)
        time.sleep(later)
        if over or ended(child):
            runs += 1
            continue
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = written(shards)
        rewritten += sum(found.get(name) != when for name, when in kept.items())
        moments["writing" if temporary(shards) - torn else "after" if len(found) > len(kept) else "before"] += 1
        progress.append(len(found))
    for run in range(runs + 1):
        os.waitpid(fork(root / f"killed-{run}", scorer), 0)
    return {"moments": moments, "rewritten": rewritten, "runs": runs + 1, "shards": total, "progress": progress}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
