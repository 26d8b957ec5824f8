"""What the speed benchmarks share: a random Llama, rounds that take turns, memory of a process of its own."""

from __future__ import annotations

import datetime
import gc
import multiprocessing
import platform
import resource
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from concept_icd.artifacts import git_commit, versions
from concept_icd.base_model import TINY, LoadedModel

#: Shapes of a Llama of about 100 M parameters beside its 32,000 words.
SIZES = {"hidden_size": 768, "intermediate_size": 2048, "num_attention_heads": 12}
VOCABULARY = 32_000


def random_llama(layers: int, seed: int) -> LoadedModel:
    """A random model of 12 (or `layers`) layers, float32, with the shipped tokenizer (its texts are not used)."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        **SIZES, num_hidden_layers=layers, vocab_size=VOCABULARY, max_position_embeddings=4096
    )
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    return LoadedModel(model, transformers.AutoTokenizer.from_pretrained(TINY), 4096)


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


def record(script: str, seed: int) -> dict[str, Any]:
    """Command, date, machine, versions and seed of a run."""
    return {
        "command": shlex.join(["python", f"benchmarks/{script}", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, float32, no GPU",
        "commit": git_commit(),
        "versions": versions(),
        "seed": seed,
    }
