"""Ray's workers are killed, fail and are not there; the store holds what it would hold without Ray."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from concept_icd.artifacts import MANIFEST
from concept_icd.concepts import ConceptSet
from concept_icd.errors import InputError
from concept_icd.ontology import load_ontology
from concept_icd.prompts import PromptTemplate
from concept_icd.records import Note
from concept_icd.scoring import ray_engine
from concept_icd.scoring.engines import Engine, LocalEngine, Record, Shard
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.ray_engine import RayEngine
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
from functools import partial
from pathlib import Path
from tests.scoring import test_ray
if __name__ == "__main__":
    folder, model, pids = map(Path, sys.argv[1:])
    test_ray.fill(folder, test_ray.RayEngine(workers=1), partial(test_ray.make_scorer, model, pids))
"""


def make_scorer(model: Path, pids: Path | None = None) -> PackedScorer:
    """Batches of a few notes, whose padding decides the last bits. The process that makes it leaves its id."""
    if pids is not None:
        (pids / str(os.getpid())).touch()
    return PackedScorer.from_pretrained(model, batch_tokens=1500)


def die() -> PackedScorer:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class BrokenScorer:
    def iter_scores(self, *arguments: Any) -> Iterator[Record]:
        raise ZeroDivisionError("a bug")


def fill(folder: Path, engine: Engine, make: Any, second: Any = None) -> None:
    jobs = [Job("first", NOTES[:27], make), Job("second", NOTES[27:], second or make)]
    concepts, prompt = ConceptSet.expand(CODES, load_ontology("icd9cm")), PromptTemplate.load()
    fill_store(folder, jobs, concepts, prompt, settings={"out_of_fold": True}, shard_notes=SHARD_NOTES, engine=engine)


def same(one: Path, other: Path) -> bool:
    a, b = load_scores(one), load_scores(other)
    assert read_failures(one).keys() == read_failures(other).keys() == {"blank"}
    return a.note_ids == b.note_ids and a.truncated == b.truncated and a.logits.tobytes() == b.logits.tobytes()


@pytest.fixture(scope="module")
def whole(llama, tmp_path_factory) -> Path:
    """What this process alone writes."""
    folder = tmp_path_factory.mktemp("whole") / "scores"
    fill(folder, LocalEngine(), partial(make_scorer, llama))
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Any]:
    """A cluster of one node with two cores, in processes of its own."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "num_gpus": 0, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    cluster.shutdown()


class Killing(RayEngine):
    """Kills a worker with SIGKILL as soon as the first shard is there."""

    def __init__(self, pids: Path, **options: Any) -> None:
        super().__init__(**options)
        self.pids = pids

    def run(self, *arguments: Any) -> Iterator[tuple[Shard, list[Record]]]:
        shards = super().run(*arguments)
        yield next(shards)
        os.kill(int(min(self.pids.iterdir()).name), signal.SIGKILL)
        yield from shards


@pytest.mark.slow
def test_two_workers_of_this_machine_write_the_same_bits_and_leave_nothing(whole, llama, tmp_path):
    before = set(Path("/tmp").glob("concept-icd-*"))
    fill(tmp_path / "scores", RayEngine(workers=2), partial(make_scorer, llama, tmp_path))
    assert same(tmp_path / "scores", whole)
    pids = {path.name for path in tmp_path.iterdir() if path.name.isdecimal()}
    assert 1 <= len(pids) <= 2
    assert str(os.getpid()) not in pids
    assert not ray.is_initialized()
    assert set(Path("/tmp").glob("concept-icd-*")) <= before


@pytest.mark.slow
def test_a_worker_that_is_killed_takes_nothing_with_it(cluster, whole, llama, tmp_path):
    pids = tmp_path / "pids"
    pids.mkdir()
    engine = Killing(pids, address=cluster.address, workers=2)
    fill(tmp_path / "scores", engine, partial(make_scorer, llama, pids))
    assert same(tmp_path / "scores", whole)
    assert len(list(pids.iterdir())) == 3


@pytest.mark.slow
def test_after_the_process_that_writes_is_killed_the_same_command_goes_on(whole, llama, tmp_path):
    folder, pids = tmp_path / "scores", tmp_path / "pids"
    pids.mkdir()
    before = set(Path("/tmp").glob("concept-icd-*"))
    command = [sys.executable, "-c", SCRIPT, str(folder), str(llama), str(pids)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(folder.glob("shards/*.parquet")):
            time.sleep(0.01)
        assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGKILL)
        process.stderr.close()  # Ray's processes, which end with it, hold the other end for a moment
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("shards/*.parquet")}
    assert 0 < len(kept) < 12
    (worker,) = pids.iterdir()
    while Path("/proc", worker.name).exists():  # Ray's own, ends with it
        time.sleep(0.1)
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert same(folder, whole)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    for left in set(Path("/tmp").glob("concept-icd-*")) - before:
        shutil.rmtree(left)


@pytest.mark.slow
def test_workers_that_die_every_time_end_the_run_and_keep_what_is_there(cluster, whole, llama, tmp_path, monkeypatch):
    engine, good = RayEngine(cluster.address, workers=1), partial(make_scorer, llama)
    with pytest.raises(InputError, match=r"workers of Ray died again and again .* what is scored is kept"):
        fill(tmp_path / "scores", engine, good, die)
    assert len(list((tmp_path / "scores" / "shards").iterdir())) == 7
    assert not (tmp_path / "scores" / MANIFEST).exists()
    # What is left is given to Ray in two waves.
    monkeypatch.setattr(ray_engine, "_WAVE", sum(len(note.text) for note in NOTES[27:]) * 2 // 3)
    fill(tmp_path / "scores", engine, partial(make_scorer, Path("not-needed")), good)
    assert same(tmp_path / "scores", whole)


@pytest.mark.slow
def test_what_is_wrong_on_a_worker_is_one_sentence_here_and_no_log_holds_a_note(cluster, tmp_path):
    engine = RayEngine(cluster.address, workers=1)
    with pytest.raises(InputError, match=r"cannot load the base model .*no-such-model.* \(a Ray worker on "):
        fill(tmp_path / "scores", engine, partial(make_scorer, tmp_path / "no-such-model"))
    with pytest.raises(ray.exceptions.RayTaskError, match="a bug"):
        fill(tmp_path / "broken", engine, BrokenScorer)
    with pytest.raises(InputError, match=r"no node of the Ray cluster has 1 CPUs and 1 GPUs for a worker"):
        fill(tmp_path / "scores", RayEngine(cluster.address, gpus=1), BrokenScorer)
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
            fill(tmp_path / "scores", RayEngine(f"127.0.0.1:{port}"), die)
    for address in ("ray://127.0.0.1:10001", "somewhere", ":6379", "host:port"):
        with pytest.raises(InputError, match="is neither 'auto' nor host:port"):
            fill(tmp_path / "scores", RayEngine(address), die)
    with pytest.raises(InputError, match="workers of Ray: 0; a number from 1 up is needed"):
        RayEngine(workers=0)
    assert not (tmp_path / "scores").exists()
