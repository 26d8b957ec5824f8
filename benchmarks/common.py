"""What the benchmarks share: their arguments and record, a random model, notes and concepts, a process's memory."""

from __future__ import annotations

import argparse
import datetime
import gc
import multiprocessing
import os
import platform
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from concept_icd.artifacts import git_commit, versions
from concept_icd.llm.base_model import LoadedModel
from concept_icd.llm.prompts import TokenizedPrompt
from concept_icd.llm.reference import TINY
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Concept, Note

#: Shapes of a Llama of about 100 M parameters beside its 32,000 words.
SIZES = {"hidden_size": 768, "intermediate_size": 2048, "num_attention_heads": 12}
VOCABULARY = 32_000
ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
#: What a result depends on.
CODE = ("benchmarks", "concept_icd", "configs", "ontology", "prompts", "scripts", "pyproject.toml", "constraints.txt")
#: What `metrics.intervals` makes; results without it have percentile bootstraps.
INTERVALS = "jackknife"


def random_llama(layers: int, seed: int, positions: int = 4096) -> LoadedModel:
    """A random model of 12 (or `layers`) layers, float32, with the shipped tokenizer."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        **SIZES, num_hidden_layers=layers, vocab_size=VOCABULARY, max_position_embeddings=positions
    )
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    return LoadedModel(model, transformers.AutoTokenizer.from_pretrained(TINY), positions)


def random_note(prompt: TokenizedPrompt, note_id: str, tokens: int, rng: np.random.Generator) -> Note:
    """A note of random words that are `tokens` tokens with the template around it."""
    tokenizer = prompt.tokenizer
    words = [tokenizer.decode([i]) for i in range(len(tokenizer))]
    words = [word for word in words if word[:1] == " " and word[1:].isalpha() and word.isascii()]
    room = tokens - len(prompt.encode_note(Note(note_id, words[0]), 0).ids) + 1
    note = Note(note_id, "".join(rng.choice(words, room)))
    if len(prompt.encode_note(note, 0).ids) != tokens:
        raise ValueError(f"cannot make a note of {tokens} tokens")
    return note


def random_concepts(count: int, rng: np.random.Generator) -> list[Concept]:
    """Concepts of all levels of ICD-9-CM's diagnoses, in an order drawn by `rng`; fewer are the first of more."""
    ontology = load_ontology("icd9cm")
    concepts = ConceptSet.expand(ontology.codes("diagnosis")[::9], ontology).concepts
    return [concepts[row] for row in rng.permutation(len(concepts))[:count]]


def timed(function: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    """Seconds of a call, and what it returned."""
    start = time.perf_counter()
    value = function(*args)
    return time.perf_counter() - start, value


def peak_bytes(work: Callable[..., Callable[[], Any]], *args: Any) -> int:
    """Peak resident bytes that the function returned by `work(*args)` adds to what `work` itself has loaded."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_measure, args=(queue, work, args))
    process.start()
    value: int = queue.get()
    process.join()
    return value


def _measure(queue: Any, work: Callable[..., Callable[[], Any]], args: tuple[Any, ...]) -> None:
    run = work(*args)
    gc.collect()
    # The peak is reset, so that what loading took for a moment does not count.
    Path("/proc/self/clear_refs").write_text("5")
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    run()
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    queue.put(peak - before)


def side_by_side(names: Sequence[str], work: Path, jobs: int) -> None:
    """Runs this script once a name, with its own arguments and `--only NAME`, `jobs` at a time on a thread each.

    What a process says goes to NAME.log in `work`, with dashes for commas. The first that fails ends the run.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "4294967296",
                                "MALLOC_TRIM_THRESHOLD_": "4294967296"}  # fmt: skip
    work.mkdir(parents=True, exist_ok=True)

    def run(name: str) -> str:
        with (work / f"{name.replace(',', '-')}.log").open("a") as log:
            command = [sys.executable, *sys.argv, "--only", name]
            done = subprocess.run(command, env=environment, stderr=log, stdout=log, check=False)
        if done.returncode:
            raise RuntimeError(f"{name} failed: see {log.name}")
        return name

    with ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(run, name) for name in names]
        for left, done in zip(reversed(range(len(names))), as_completed(running), strict=True):
            try:
                print(f"{done.result()} done, {left} left", file=sys.stderr, flush=True)
            except RuntimeError as error:
                pool.shutdown(wait=False, cancel_futures=True)
                sys.exit(str(error))


def arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments, and the refusal, before any work, to make a committed result of code that is not committed."""
    parser.add_argument(
        "--allow-dirty", action="store_true", help="with uncommitted changes, too; the result's commit then ends with +"
    )
    args = parser.parse_args()
    out = getattr(args, "out", None)
    if out and RESULTS in Path(out).resolve().parents and uncommitted() and not args.allow_dirty:
        parser.error(f"the tree has uncommitted changes: commit them, or write elsewhere than {out} (--allow-dirty)")
    return args


def uncommitted() -> bool:
    """Whether code or settings differ from the commit; False where there is no checkout to ask."""
    command = ["git", "-C", str(ROOT), "status", "--porcelain", "--", *CODE, ":!benchmarks/results", ":!*.md"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return bool(done.stdout.strip())


def record(script: str, seed: int, folders: Mapping[str, Path] | None = None) -> dict[str, Any]:
    """Command, date, machine, commit (with + where there were uncommitted changes), versions and seed of a run.

    Args:
        folders: what stands in the command in place of a folder of this machine.
    """
    named = {str(folder): name for name, folder in (folders or {}).items()}
    return {
        "command": shlex.join(["python", f"benchmarks/{script}", *(named.get(word, word) for word in sys.argv[1:])]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, float32, no GPU",
        "commit": _commit(),
        "intervals_by": INTERVALS,
        "versions": versions(),
        "seed": seed,
    }


def _commit() -> str | None:
    commit = git_commit()
    return commit and commit.rstrip("+") + ("+" if uncommitted() else "")
