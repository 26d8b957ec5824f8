"""Ray's workers are killed, fail and are not there; the store holds what it would hold without Ray."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from concept_icd.errors import InputError
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.outputs import MANIFEST
from concept_icd.records import Note
from concept_icd.scoring import ray_executor
from concept_icd.scoring.executors import Executor, LocalExecutor, Record, Shard
from concept_icd.scoring.ray_executor import RayExecutor
from concept_icd.scoring.selection import SelectionRule, TopDownSelection
from concept_icd.scoring.specs import ScorerSpec
from concept_icd.scoring.store import Job, fill_store, load_scores, read_failures
from tests.fitted_coder import CODES, make_notes

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'concept-icd[ray]'")

#: A word that no log may hold, and a note that no scorer can score.
SECRET = "xylophonist"
NOTES = [Note(note.note_id, f"{note.text} {SECRET}") for note in make_notes(47, 0, "note")] + [Note("blank", " ")]
SHARD_NOTES = 4
#: The same filling from a process of its own, which can be killed.
SCRIPT = """
import sys
from pathlib import Path
from tests.scoring import test_ray
if __name__ == "__main__":
    folder, model = map(Path, sys.argv[1:])
    test_ray.fill(folder, test_ray.RayExecutor(workers=1), test_ray.packed(model))
"""
CONCEPTS, PROMPT = ConceptSet.expand(CODES, load_ontology("icd9cm")), PromptTemplate.load()


def packed(model: Path | str, **options: Any) -> ScorerSpec:
    """Batches of a few notes, whose padding decides the last bits."""
    return ScorerSpec("packed", str(model), None, PROMPT, {"batch_tokens": 1500} | options)


def fill(
    folder: Path,
    executor: Executor,
    spec: ScorerSpec,
    second: ScorerSpec | None = None,
    plan: TopDownSelection | None = None,
) -> None:
    jobs = [Job("first", NOTES[:27], spec), Job("second", NOTES[27:], second or spec)]
    settings = {"out_of_fold": True}
    fill_store(folder, jobs, CONCEPTS, PROMPT, settings=settings, shard_notes=SHARD_NOTES, plan=plan, executor=executor)


def workers(process: int | None = None) -> set[psutil.Process]:
    """Processes of Ray under this one, or another, that hold a scorer or make one."""
    found = set()
    for child in psutil.Process(process).children(recursive=True):
        try:
            title = " ".join(child.cmdline())
        except psutil.Error:  # it has just ended
            continue
        if title.startswith("ray::") and "_Worker" in title:
            found.add(child)
    return found


@contextmanager
def watching() -> Iterator[set[psutil.Process]]:
    """The workers that there are while it is open, those that have gone included."""
    seen: set[psutil.Process] = set()
    left = threading.Event()

    def watch() -> None:
        while not left.wait(0.2):
            seen.update(workers())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        left.set()
        thread.join()


@contextmanager
def deadly(model: Path) -> Iterator[ScorerSpec]:
    """A server, at loopback, that kills the workers of whom it is asked by."""

    class Killer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            for worker in workers():
                worker.kill()

    with HTTPServer(("127.0.0.1", 0), Killer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield ScorerSpec("server", str(model), None, PROMPT, url=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


def same(one: Path, other: Path) -> bool:
    a, b = load_scores(one), load_scores(other)
    assert read_failures(one).keys() == read_failures(other).keys() == {"blank"}
    assert (a.asked is None) == (b.asked is None)
    if a.asked is not None:
        assert (a.asked != b.asked).nnz == 0
    return a.note_ids == b.note_ids and a.truncated == b.truncated and a.logits.tobytes() == b.logits.tobytes()


@pytest.fixture(scope="module")
def whole(llama, tmp_path_factory) -> Path:
    """What this process alone writes."""
    folder = tmp_path_factory.mktemp("whole") / "scores"
    fill(folder, LocalExecutor(), packed(llama))
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Any]:
    """A cluster of one node with two cores, in processes of its own."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "num_gpus": 0, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    cluster.shutdown()


class Killing(RayExecutor):
    """Kills a worker with SIGKILL as soon as the first shard is there."""

    def run(self, *arguments: Any) -> Iterator[tuple[Shard, list[Record]]]:
        shards = super().run(*arguments)
        yield next(shards)
        workers().pop().kill()
        yield from shards


@pytest.mark.slow
def test_two_workers_of_this_machine_write_the_same_bits_and_leave_nothing(llama, tmp_path):
    """Under a selection, which the workers make anew."""
    before = set(Path("/tmp").glob("concept-icd-*"))
    rule = SelectionRule({"chapter": 0.1}, {"chapter": -9.0}, budget=12, retrieve=1)
    plan = TopDownSelection.over(CONCEPTS, load_ontology("icd9cm"), rule)
    fill(tmp_path / "alone", LocalExecutor(), packed(llama), plan=plan)
    with watching() as seen:
        fill(tmp_path / "scores", RayExecutor(workers=2), packed(llama), plan=plan)
    assert same(tmp_path / "scores", tmp_path / "alone")
    assert 0.2 < load_scores(tmp_path / "scores").asked.toarray().mean() < 0.9
    assert 1 <= len(seen) <= 2
    assert not ray.is_initialized()
    assert set(Path("/tmp").glob("concept-icd-*")) <= before


@pytest.mark.slow
def test_a_worker_that_is_killed_takes_nothing_with_it(cluster, whole, llama, tmp_path):
    with watching() as seen:
        fill(tmp_path / "scores", Killing(cluster.address, workers=2), packed(llama))
    assert same(tmp_path / "scores", whole)
    assert len(seen) == 3


@pytest.mark.slow
def test_after_the_process_that_writes_is_killed_the_same_command_goes_on(whole, llama, tmp_path):
    folder = tmp_path / "scores"
    before = set(Path("/tmp").glob("concept-icd-*"))
    command = [sys.executable, "-c", SCRIPT, str(folder), str(llama)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(folder.glob("shards/*.parquet")):
            time.sleep(0.01)
        assert process.poll() is None, process.stderr.read()
        (worker,) = workers(process.pid)
        process.send_signal(signal.SIGKILL)
        process.stderr.close()  # Ray's processes, which end with it, hold the other end for a moment
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("shards/*.parquet")}
    assert 0 < len(kept) < 12
    worker.wait()  # Ray's own, ends with it
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert same(folder, whole)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    for left in set(Path("/tmp").glob("concept-icd-*")) - before:
        shutil.rmtree(left)


@pytest.mark.slow
def test_workers_that_die_every_time_end_the_run_and_keep_what_is_there(cluster, whole, llama, tmp_path, monkeypatch):
    executor, good = RayExecutor(cluster.address, workers=1), packed(llama)
    monkeypatch.setattr(ray_executor, "_RETRIES", 1)  # each start of a worker takes seconds
    with (
        deadly(llama) as bad,
        pytest.raises(InputError, match=r"workers of Ray died again and again .* what is scored is kept"),
    ):
        fill(tmp_path / "scores", executor, good, bad)
    assert len(list((tmp_path / "scores" / "shards").iterdir())) == 7
    assert not (tmp_path / "scores" / MANIFEST).exists()
    # What is left is given to Ray in two waves.
    monkeypatch.setattr(ray_executor, "_WAVE", sum(len(note.text) for note in NOTES[27:]) * 2 // 3)
    fill(tmp_path / "scores", executor, packed("not-needed"), good)
    assert same(tmp_path / "scores", whole)


@pytest.mark.slow
def test_what_is_wrong_on_a_worker_is_one_sentence_here_and_no_log_holds_a_note(cluster, llama, tmp_path):
    executor = RayExecutor(cluster.address, workers=1)
    with pytest.raises(InputError, match=r"cannot load the base model .*no-such-model.* \(a Ray worker on "):
        fill(tmp_path / "scores", executor, packed(tmp_path / "no-such-model"))
    with pytest.raises(ray.exceptions.RayTaskError, match="unexpected keyword argument 'no_such_option'"):
        fill(tmp_path / "broken", executor, packed(llama, no_such_option=1))
    with pytest.raises(InputError, match=r"no node of the Ray cluster has 1 CPUs and 1 GPUs for a worker"):
        fill(tmp_path / "scores", RayExecutor(cluster.address, gpus=1), packed(llama))
    assert not (tmp_path / "scores").exists()
    logs = Path(cluster.head_node.get_logs_dir_path())
    texts = [path.read_bytes() for path in logs.rglob("*") if path.is_file()]
    assert any(b"MapWorker" in text for text in texts)  # the runs above have left their logs there
    assert not any(SECRET.encode() in text for text in texts)


def test_an_address_that_is_none_is_told_before_any_work(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: a connection is refused
        port = free.getsockname()[1]
        with pytest.raises(InputError, match=rf"no Ray can be reached at 127\.0\.0\.1:{port}: Connection refused"):
            fill(tmp_path / "scores", RayExecutor(f"127.0.0.1:{port}"), packed("not-needed"))
    for address in ("ray://127.0.0.1:10001", "somewhere", ":6379", "host:port"):
        with pytest.raises(InputError, match="is neither 'auto' nor host:port"):
            fill(tmp_path / "scores", RayExecutor(address), packed("not-needed"))
    with pytest.raises(InputError, match="workers of Ray: 0; a number from 1 up is needed"):
        RayExecutor(workers=0)
    assert not (tmp_path / "scores").exists()
