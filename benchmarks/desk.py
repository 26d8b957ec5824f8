"""The desk: requests a second and latencies with and without micro-batching, its own cost a note, search, memory.

    python benchmarks/desk.py --coder runs/demo/coder --notes CMC_FOLDER --out benchmarks/results/desk.json

Two servers, one of which scores every request by itself, take turns, so that other load on the machine meets both. The
clients are threads of one process of their own with kept-open connections, and take a share of the same cores. The
service's own cost is paired: each note is coded through the library and over HTTP, one after the other, with the same
number of threads. `--minutes` is for full load with 64 clients: the server's memory is read every ten seconds; with
`--minutes 0` the load that the file of results has stays, with the command and commit that measured it.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import psutil
from common import arguments, finish, parser_of, tell, timed

from concept_icd.artifacts import read_json
from concept_icd.cli.code import DEFAULT_CODER
from concept_icd.coder.coder import ConceptCoder
from concept_icd.corpora import read_corpus
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Note
from concept_icd.resources import resource
from tests.desk.service import Service, started

CLIENTS = (1, 8, 64)


class Client:
    """One kept-open connection; a plain one, since httpx would cost as much as what is measured."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self.connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, float]:
        """Status and seconds."""
        start = time.perf_counter()
        self.connection.request(method, path, body, {"Content-Type": "application/json"})
        answered = self.connection.getresponse()
        answered.read()
        return answered.status, time.perf_counter() - start


def run_clients(url: str, bodies: Sequence[bytes], clients: int, requests: int) -> dict[str, Any]:
    """Statuses, requests a second and latencies of `requests` requests."""
    numbers = iter(range(requests))
    lock, answers = threading.Lock(), []

    def work(_: int) -> None:
        client = Client(url)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            answers.append(client.ask("POST", "/v1/code", bodies[number % len(bodies)]))

    with ThreadPoolExecutor(clients) as threads:
        seconds, _ = timed(lambda: list(threads.map(work, range(clients))))
    latencies = np.array([latency for _, latency in answers])
    return {
        "requests": requests,
        "statuses": dict(Counter(status for status, _ in answers)),
        "requests_per_second": requests / seconds,
        "p50_ms": float(np.quantile(latencies, 0.5) * 1000),
        "p99_ms": float(np.quantile(latencies, 0.99) * 1000),
    }


def measure_batching(
    together: Service, alone: Service, bodies: Sequence[bytes], requests: int, rounds: int
) -> list[Any]:
    rows = []
    for clients in CLIENTS:
        runs: dict[str, list[dict[str, Any]]] = {"micro_batching": [], "none": []}
        for round_ in range(rounds):
            turns = [("micro_batching", together), ("none", alone)]
            for name, service in turns if round_ % 2 else turns[::-1]:
                runs[name].append(run_clients(service.url, bodies, clients, max(requests, 2 * clients)))
        ratios = [
            a["requests_per_second"] / b["requests_per_second"]
            for a, b in zip(runs["micro_batching"], runs["none"], strict=True)
        ]
        rows.append({"clients": clients, "ratio_of_requests_per_second": ratios, **runs})
        tell(f"{clients} clients: requests a second over those without micro-batching: {ratios}")
    return rows


def rested(act: Callable[..., Any], *arguments: Any) -> Any:
    """Seconds and answer, once the threads of the way before have stopped spinning: OpenMP's do for some 20 ms."""
    time.sleep(0.1)
    return timed(act, *arguments)


def measure_own_cost(service: Service, coder_folder: Path, notes: Sequence[Note], bodies: Sequence[bytes]) -> Any:
    coder, client = ConceptCoder.from_pretrained(coder_folder), Client(service.url)
    coder.code(notes[0])
    client.ask("POST", "/v1/code", bodies[0])
    pairs, own, server = [], 0.0, psutil.Process(service.process.pid)
    begin = sum(server.cpu_times()[:2])
    for number, (note, body) in enumerate(zip(notes, bodies, strict=True)):
        before = time.process_time()
        ways = [
            lambda note=note: rested(coder.code, note)[0],
            lambda body=body: rested(client.ask, "POST", "/v1/code", body)[1][1],
        ]
        turn = 1 if number % 2 else -1
        pairs.append([way() for way in ways[::turn]][::turn])
        own += time.process_time() - before
    served = sum(server.cpu_times()[:2]) - begin
    library, http_ = np.array(pairs).T * 1000
    rng = np.random.default_rng(0)
    draws = np.median((http_ - library)[rng.integers(0, len(pairs), (2000, len(pairs)))], axis=1)
    return {
        "notes": len(pairs),
        # On a machine with other work, seconds of CPU say more than seconds of the clock.
        "library_cpu_ms_a_note": own * 1000 / len(pairs),
        "server_cpu_ms_a_note": served * 1000 / len(pairs),
        "library_median_ms": float(np.median(library)),
        "http_median_ms": float(np.median(http_)),
        "difference_median_ms": float(np.median(http_ - library)),
        "difference_interval_95": [float(value) for value in np.quantile(draws, [0.025, 0.975])],
    }


def measure_search(service: Service, queries: int, seed: int) -> Any:
    """What a person types: the beginnings of titles' words, of one letter to the whole title, and of codes."""
    ontology, rng, client = load_ontology(), np.random.default_rng(seed), Client(service.url)
    codes = ontology.codes()
    typed = []
    for code in rng.choice(codes, queries):
        text = ontology.title(str(code)) if rng.random() < 0.8 else str(code)
        typed.append(text[: rng.integers(1, min(len(text), 60) + 1)].strip() or text)
    paths = [f"/v1/codes?limit=20&billable=true&q={quote(text)}" for text in typed]
    client.ask("GET", paths[0])
    server = psutil.Process(service.process.pid)
    begin = sum(server.cpu_times()[:2])
    milliseconds = np.array([client.ask("GET", path)[1] for path in paths]) * 1000
    cpu = sum(server.cpu_times()[:2]) - begin
    return {
        "queries": queries,
        "codes": len(codes),
        **{f"p{q}_ms": float(np.quantile(milliseconds, q / 100)) for q in (50, 90, 99)},
        "max_ms": float(milliseconds.max()),
        "server_cpu_ms_a_query": cpu * 1000 / queries,
    }


def measure_load(service: Service, bodies: Sequence[bytes], minutes: float) -> Any:
    """64 clients that never pause; every eighth sends lists, so that the queue fills and refuses."""
    end, statuses, process = time.monotonic() + 60 * minutes, Counter(), psutil.Process(service.process.pid)
    lists = b"[" + b",".join(bodies[:64]) + b"]"
    lock, memory = threading.Lock(), []

    def work(number: int) -> None:
        client, position = Client(service.url), number
        while time.monotonic() < end:
            body = lists if number % 8 == 0 else bodies[position % len(bodies)]
            status, _ = client.ask("POST", "/v1/code?top=10", body)
            position += 64
            with lock:
                statuses[status] += 1
            if status == 429:
                time.sleep(0.2)

    with ThreadPoolExecutor(64) as threads:
        working = [threads.submit(work, number) for number in range(64)]
        while time.monotonic() < end:
            memory.append(process.memory_info().rss / 2**20)
            time.sleep(min(10.0, 6 * minutes))
        for done in working:
            done.result()
    quarter = max(1, len(memory) // 4)
    return {
        "minutes": minutes,
        "statuses": dict(statuses),
        "notes_scored": _notes_scored(service),
        "rss_mib": [round(value, 1) for value in memory],
        "rss_mib_second_quarter": statistics.median(memory[quarter : 2 * quarter] or memory),
        "rss_mib_last_quarter": statistics.median(memory[-quarter:]),
    }


def _notes_scored(service: Service) -> int:
    lines = service.client.get("/metrics").text.splitlines()
    return int(float(next(line.split()[1] for line in lines if line.startswith("concept_icd_notes_scored_total"))))


def main() -> None:
    parser = parser_of(__doc__, requests=256, rounds=3, paired_notes=100, queries=2000, minutes=10.0)
    parser.add_argument("--coder", type=Path, default=DEFAULT_CODER)
    parser.add_argument("--notes", type=Path, default=resource("examples") / "radiology", help="radiology reports")
    args = arguments(parser)
    if not (args.minutes or args.out):
        parser.error("--minutes 0 keeps the load of an earlier result: name it with --out")
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    notes = [coded.note for coded in read_corpus(args.notes)]
    bodies = [json.dumps({"note_id": note.note_id, "text": note.text}).encode() for note in notes]
    found: dict[str, Any] = {"notes": len(notes), "cores": os.cpu_count()}
    found["note_characters_median"] = statistics.median(len(note.text) for note in notes)
    found["load_average_before"] = os.getloadavg()
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        threads = {"OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"]}
        with (
            started(args.coder, Path(first), environment=threads) as together,
            started(args.coder, Path(second), "--no-micro-batching", environment=threads) as alone,
        ):
            found["versions_of_the_coder"] = together.client.get("/v1/model").json()["versions"]
            found["own_cost"] = measure_own_cost(
                together, args.coder, (notes * 99)[: args.paired_notes], (bodies * 99)[: args.paired_notes]
            )
            found["search"] = measure_search(together, args.queries, args.seed)
            found["batching"] = measure_batching(together, alone, bodies, args.requests, args.rounds)
            if args.minutes:
                found["load"] = measure_load(together, bodies, args.minutes)
            else:
                earlier = read_json(args.out)
                measured_by = {name: earlier[name] for name in ("command", "commit", "date")}
                found["load"] = measured_by | earlier["load"]
    found["load_average_after"] = os.getloadavg()
    finish(args, found)


if __name__ == "__main__":
    main()
