"""What the benchmarks share: arguments, the record of a run, seconds, memory, figures."""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import multiprocessing
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from concept_icd import metrics
from concept_icd.artifacts import git_commit, versions, write_json
from concept_icd.heads.fitting import Heads, fit_heads
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.report.results import plain

START = time.perf_counter()
ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
#: What a result depends on.
CODE = ("benchmarks", "concept_icd", "configs", "ontology", "prompts", "scripts", "pyproject.toml", "constraints.txt")
#: What `metrics.intervals` makes; results without it have percentile bootstraps.
INTERVALS = "jackknife"


def timed(function: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    """Seconds of a call, and what it returned."""
    start = time.perf_counter()
    value = function(*args)
    return time.perf_counter() - start, value


def costed(function: Callable[..., Any], *args: Any) -> tuple[dict[str, float], Any]:
    """Wall and processor seconds of a call, and what it returned."""
    start, processor = time.perf_counter(), time.process_time()
    value = function(*args)
    return {"wall": time.perf_counter() - start, "processor": time.process_time() - processor}, value


def rounded(found: Mapping[str, float], digits: int) -> dict[str, float]:
    return {name: round(value, digits) for name, value in found.items()}


def take_turns(
    ways: Mapping[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each way in each round; the ways take turns, so that a noisy machine is noisy for all of them."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for way, run in ways.items():
            start = clock()
            run()
            seconds[way].append(clock() - start)
        last = ", ".join(f"{way} {own[-1]:.2f} s" for way, own in seconds.items())
        tell(f"round {number + 1}/{rounds}: {last}")
    return seconds


def median_ratio(of: Sequence[float], to: Sequence[float], digits: int = 3) -> float:
    """Median over the rounds of one way's seconds over those of another."""
    return round(statistics.median(a / b for a, b in zip(of, to, strict=True)), digits)


def costs_of(command: Sequence[str]) -> dict[str, float]:
    """Wall and processor seconds of a process, and its peak resident memory, as the system counts them."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{shlex.join(command)} failed")
    seconds = {"wall": time.perf_counter() - start, "processor": usage.ru_utime + usage.ru_stime}
    return seconds | {"peak_gib": round(usage.ru_maxrss * 1024 / 2**30, 2)}


def in_a_process(function: Callable[..., Any], *args: Any) -> Any:
    """What the function returns in a fresh process that does nothing else."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def peak_bytes(work: Callable[..., Callable[[], Any]], *args: Any) -> int:
    """Peak resident bytes that the function returned by `work(*args)` adds to what `work` itself has loaded."""
    peak: int = in_a_process(_peak_bytes, work, *args)
    return peak


def _peak_bytes(work: Callable[..., Callable[[], Any]], *args: Any) -> int:
    run = work(*args)
    gc.collect()
    # The peak is reset, so that what loading took for a moment does not count.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident()
    run()
    return resident("VmHWM") - before


def resident(field: str = "VmRSS") -> int:
    """Bytes of this process: resident now (VmRSS), or at the peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def side_by_side(results: Mapping[str, Path], work: Path, jobs: int) -> None:
    """Runs this script with its own arguments and `--only NAME` for each name whose result is not there yet.

    `jobs` run at a time, on a thread each. What one says goes to NAME.log in `work`, with dashes for commas. The first
    that fails ends the run.
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
        running = [pool.submit(run, name) for name, result in results.items() if not result.is_file()]
        for left, done in zip(reversed(range(len(running))), as_completed(running), strict=True):
            try:
                tell(f"{done.result()} done, {left} left")
            except RuntimeError as error:
                pool.shutdown(wait=False, cancel_futures=True)
                sys.exit(str(error))


# A run: its arguments, its record, its result ------------------------------------------------------------------------


def parser_of(
    doc: str | None,
    seed: int | Sequence[int] | None = 0,
    *,
    data: bool = False,
    work: str | None = None,
    **sizes: float,
) -> argparse.ArgumentParser:
    """A parser whose help is the script's docstring, with the options that scripts share.

    Args:
        seed: default of --seed, or several for --seeds.
        data: whether there is --data-dir, the folder of public corpora (CONTRIBUTING.md).
        work: default of --work, the folder of what is made on the way.
        sizes: names and defaults of options that are numbers.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if data:
        default = Path(os.environ.get("CONCEPT_ICD_DATA", "../shared/data"))
        parser.add_argument("--data-dir", type=Path, default=default, help="public corpora (default: %(default)s)")
    if work:
        parser.add_argument("--work", type=Path, default=Path(work), help="(default: %(default)s)")
    for name, size in sizes.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(size), default=size, help="(default: %(default)s)")
    if isinstance(seed, int):
        parser.add_argument("--seed", type=int, default=seed)
    elif seed:
        parser.add_argument("--seeds", type=int, nargs="+", default=list(seed))
    parser.add_argument("--out", type=Path, help="the JSON file of the result, which is printed without it")
    return parser


def arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments, and the refusal, before any work, to make a committed result of code that is not committed."""
    parser.add_argument(
        "--allow-dirty", action="store_true", help="with uncommitted changes, too; the result's commit then ends with +"
    )
    args = parser.parse_args()
    if args.out and RESULTS in args.out.resolve().parents and uncommitted() and not args.allow_dirty:
        parser.error(
            f"the tree has uncommitted changes: commit them, or write elsewhere than {args.out} (--allow-dirty)"
        )
    return args


def uncommitted() -> bool:
    """Whether code or settings differ from the commit; False where there is no checkout to ask."""
    command = [
        "git",
        "-C",
        str(ROOT),
        "status",
        "--porcelain",
        "--",
        *CODE,
        ":!benchmarks/results",
        ":!*.md",
        ":!*.jsonl",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return bool(done.stdout.strip())


def command_of(args: argparse.Namespace, **names: Path | None) -> str:
    """The command of this run. A folder of this machine is replaced by its name: `command_of(args, DATA=args.data)`."""
    shown = {str(folder): name for name, folder in names.items() if folder}
    if args.out:
        inside = args.out.resolve().is_relative_to(ROOT)
        shown[str(args.out)] = str(args.out.resolve().relative_to(ROOT)) if inside else args.out.name
    words = [shown.get(word, word) for word in sys.argv[1:]]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


def record(args: argparse.Namespace, **names: Path | None) -> dict[str, Any]:
    """Command (see `command_of`), date, machine, commit (with + where it had changes), versions and seed of a run."""
    commit = git_commit()
    return {
        "command": command_of(args, **names),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "commit": commit and commit.rstrip("+") + ("+" if uncommitted() else ""),
        "intervals_by": INTERVALS,
        "versions": versions(),
        "seed": args.seed if "seed" in args else args.seeds[0] if "seeds" in args else 0,
    }


def machine(dtype: str = "float32") -> str:
    """The processor and how many threads torch, or else OpenMP, may take."""
    try:
        from torch import get_num_threads

        threads: Any = get_num_threads()
    except ImportError:
        threads = os.environ.get("OMP_NUM_THREADS", os.cpu_count())
    return f"{platform.machine()}, {threads} threads, {dtype}, no GPU"


def minutes() -> float:
    """Since the script began."""
    return round((time.perf_counter() - START) / 60, 1)


def finish(args: argparse.Namespace, result: Mapping[str, Any], **names: Path | None) -> None:
    """Writes the run's record and its result to --out, or prints them."""
    whole = plain(record(args, **names) | dict(result))
    if args.out:
        write_json(args.out, whole)
        print(args.out)
    else:
        print(json.dumps(whole, indent=2))


def tell(*words: Any) -> None:
    """How far a run is."""
    print(*words, file=sys.stderr, flush=True)


# Figures -------------------------------------------------------------------------------------------------------------


def figures_of(gold: np.ndarray, probabilities: np.ndarray, accepted: np.ndarray) -> dict[str, float]:
    """Those of decisions, areas and ranking."""
    found = metrics.decision_metrics(gold, accepted) | metrics.area_metrics(gold, probabilities)
    return found | metrics.ranking_metrics(gold, probabilities)


def over_seeds(rows: Sequence[Mapping[str, float]], names: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
    """Of the figures of several seeds: mean and standard deviation (None of one seed), and each seed's own."""
    found = {}
    for name in names or rows[0]:
        own = [row[name] for row in rows]
        found[name] = {"mean": statistics.fmean(own), "sd": statistics.stdev(own) if len(own) > 1 else None}
        found[name]["seeds"] = own
    return found


def heads_of(scores: np.ndarray, gold: np.ndarray, concepts: ConceptSet, **options: Any) -> Heads:
    """`fit_heads` on scores of all concepts of a set."""
    levels = [concept.level for concept in concepts.concepts]
    return fit_heads(scores, gold, concepts.cover, levels, concepts.codes, **options)
