"""Scores the shards of a store with Ray Data: workers on this machine or on a cluster, one writer here.

A worker holds a scorer. It is given the notes of a shard, never gold codes, and gives back their records; this process
writes the shards, so that a cluster needs no common disk for them. The shard is the unit, as without Ray: the same
notes stand together, the same bits come out on like processors (elsewhere the same to 1e-4). A worker that dies is
started again and its shard goes to it once more.

What is pickled: Ray pickles whatever goes between its processes. What this module hands it is the name of the class
`_Worker`, JSON (`concept_icd.scoring.serialization`), names and numbers: the scorer, the questions and the plan are
made from JSON by the worker, the records here. What comes back as a pickle is Ray's own, such as the exception of a
bug. A cluster runs what its nodes send each other, so that it has to be one that you trust.

Where note text is: in the memory of the workers and in Ray's object stores (/dev/shm). On this machine a store is made
large enough for the notes, so that none of them go to the disk; should Ray spill all the same, it does so into a folder
under /tmp that only this user can read and that goes away with the run. A process killed with SIGKILL leaves that
folder behind. On a cluster, Ray spills where the cluster was told to. Ray's logs hold no note text; usage reports are
off, and a Ray of this run's own has no dashboard.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from concept_icd.errors import InputError, MissingExtraError
from concept_icd.records import Concept, Note
from concept_icd.scoring import serialization as wire
from concept_icd.scoring.executors import Record, Shard, free_memory, score_notes
from concept_icd.scoring.scorer import QuestionPlan, Scorer

#: How often a shard is tried again after its worker died, and how often a worker is started again in a run. A shard
#: that kills every worker ends the run; a few deaths in days of work do not.
_RETRIES, _RESTARTS = 3, 20
#: Note text, in characters, that is handed to Ray at a time; between two such waves the models are loaded again.
_WAVE = 10**9
#: Bytes of the local object store beside twice the note text: records under way.
_RECORDS = 512 * 2**20
#: How often Ray tries to reach a cluster, about 40 seconds each time; it is set for that alone.
_ATTEMPTS = "RAY_gcs_server_port_wait_time_s"


class RayExecutor:
    """Scores with workers of Ray.

    Args:
        address: None: a Ray of this run's own on this machine. "auto" or "host:port": a cluster that runs, of which
            this machine has to be a node. Every node needs this package, the model and the adapters, at the same paths.
        workers: by default as many as there is room for.
        threads: CPU threads, and cores, of a worker.
        gpus: of a worker; by default one where there are any.
    """

    def __init__(
        self, address: str | None = None, *, workers: int | None = None, threads: int = 1, gpus: int | None = None
    ) -> None:
        for name, value, least in (("workers", workers, 1), ("threads", threads, 1), ("gpus", gpus, 0)):
            if value is not None and value < least:
                raise InputError(f"{name} of Ray: {value}; a number from {least} up is needed")
        self.address, self.workers, self.threads, self.gpus = address, workers, threads, gpus

    def run(
        self,
        shards: Sequence[Shard],
        concepts: Sequence[Concept],
        plan: QuestionPlan | None,
        tell: Callable[[Record], None],
    ) -> Iterator[tuple[Shard, list[Record]]]:
        """See `concept_icd.scoring.executors.Executor`.

        Raises:
            InputError: besides, no Ray at the address, no room for a worker, or a shard whose worker dies every time.
            TypeError: a scorer or a plan that JSON does not hold (`concept_icd.scoring.serialization`).
        """
        if not shards:
            return
        specs = {shard.job: wire.spec_to_json(shard.make_scorer) for shard in shards}
        questions = wire.questions_to_json(concepts, plan)
        arguments = {"specs": specs, "questions": questions, "folder": os.getcwd(), "threads": self.threads}
        waves = list(_waves(shards))
        text = max(sum(map(_size, wave)) for wave in waves)
        cpus = (self.workers or max(1, (os.cpu_count() or 1) // self.threads)) * self.threads
        with _ray(self.address, cpus=cpus, object_store=_RECORDS + 2 * text) as ray:
            gpus, room = self._room(ray.nodes())
            for wave in waves:
                workers = min(self.workers or room, len(wave))
                answers = _answers(ray, wave, arguments, workers, self.threads, gpus)
                left = {shard.number: shard for shard in wave}
                with closing(answers):  # before Ray is left: what is closed after that would start another
                    for number, answer in answers:
                        if isinstance(answer, str):
                            raise InputError(answer)
                        for record in answer:
                            tell(record)
                        yield left.pop(number), answer
                if left:
                    raise RuntimeError(f"Ray gave nothing back for {len(left)} of {len(wave)} shards")

    def _room(self, nodes: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
        """GPUs of a worker, and how many workers the nodes that are alive have room for.

        Raises:
            InputError: for none.
        """
        resources = [node["Resources"] for node in nodes if node["Alive"]]
        gpus = self.gpus
        if gpus is None:
            gpus = int(any(found.get("GPU", 0) >= 1 for found in resources))
        room = 0
        for found in resources:
            cpus = int(found.get("CPU", 0)) // self.threads
            room += min(cpus, int(found.get("GPU", 0)) // gpus) if gpus else cpus
        if not room:
            raise InputError(
                f"no node of the Ray cluster has {self.threads} CPUs and {gpus} GPUs for a worker: ask for fewer"
            )
        return gpus, room


class _Worker:
    """What runs on the nodes: one scorer at a time.

    Args:
        specs: job -> what makes its scorer. questions: concepts and plan. Both are JSON.
        folder: of the command. threads: of the CPU.
    """

    def __init__(self, specs: Mapping[str, bytes], questions: bytes, folder: str, threads: int) -> None:
        # Before torch or vLLM is loaded: they read it once.
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if os.path.isdir(folder):  # so that relative paths mean what they mean to the command
            os.chdir(folder)
        self._specs, self._questions = specs, questions
        self._job = ""
        self._scorer: Scorer | None = None

    def __call__(self, table: Any) -> Any:
        """One row, a shard's notes -> one row: its records, or the sentence of what ends the run."""
        (row,) = table.to_pylist()
        try:
            answer: list[Record] | str = self._score(row["job"], wire.notes_from_json(row["content"]))
        except InputError as error:
            answer = f"{error} (a Ray worker on {socket.gethostname()})"
        return _table(row["number"], row["job"], wire.answer_to_json(answer))

    def _score(self, job: str, notes: Sequence[Note]) -> list[Record]:
        if self._scorer is None or job != self._job:
            self._scorer = None  # of the job before
            free_memory()
            self._asked = wire.questions_from_json(self._questions)
            self._job, self._scorer = job, wire.spec_from_json(self._specs[job]).make()
        return list(score_notes(self._scorer, notes, *self._asked))


def _answers(
    ray: Any, shards: Sequence[Shard], arguments: Mapping[str, Any], workers: int, threads: int, gpus: int
) -> Generator[tuple[int, list[Record] | str], None, None]:
    """Numbers of shards and their records, as they come."""
    from ray.data.exceptions import UserCodeException

    # Of many shards, the next one waits at the worker; of few, each goes to the first that is free.
    ahead = 2 if len(shards) > 4 * workers else 1
    data = ray.data.from_arrow([_table(shard.number, shard.job, wire.notes_to_json(shard.notes)) for shard in shards])
    with warnings.catch_warnings():
        # max_restarts and max_task_retries have no other name before Ray 2.64.
        warnings.simplefilter("ignore", DeprecationWarning)
        data = data.map_batches(
            _Worker,
            fn_constructor_kwargs=arguments,
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=ahead),
            num_cpus=threads,
            num_gpus=gpus,
            max_restarts=_RESTARTS,
            max_task_retries=_RETRIES,
        )
    try:
        # Without prefetching, a shard that is done is here at once.
        tables = iter(data.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"))
        with closing(tables):
            for table in tables:
                for row in table.to_pylist():
                    yield row["number"], wire.answer_from_json(row["content"])
    except (UserCodeException, ray.exceptions.RayTaskError):
        raise  # a bug, with its traceback
    except ray.exceptions.RayError as error:
        raise InputError(
            f"the workers of Ray died again and again ({type(error).__name__}), most often for want of memory: "
            "give them fewer notes at a time or fewer workers, and run the same command again; what is scored is kept"
        ) from error


def _table(number: int, job: str, content: bytes) -> Any:
    """A row. Its content is bytes to Ray, which would print other values when it cannot convert them."""
    import pyarrow as pa

    schema = pa.schema({"number": pa.int64(), "job": pa.string(), "content": pa.large_binary()})
    return pa.table([[number], [job], [content]], schema=schema)


def _waves(shards: Sequence[Shard]) -> Iterator[list[Shard]]:
    """Consecutive shards of up to `_WAVE` characters."""
    wave: list[Shard] = []
    size = 0
    for shard in shards:
        size += _size(shard)
        if wave and size > _WAVE:
            yield wave
            wave, size = [], _size(shard)
        wave.append(shard)
    yield wave


def _size(shard: Shard) -> int:
    return sum(len(note.text) for note in shard.notes)


@contextmanager
def _ray(address: str | None, *, cpus: int, object_store: int) -> Iterator[Any]:
    """Ray, started or reached, and left again.

    Raises:
        InputError: there is no Ray at the address.
    """
    # Read when Ray is imported. With the last, `uv run` would send the working folder to all nodes.
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    os.environ.update(quiet)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    folder = None
    if address is None:
        # Not under $TMPDIR: the path of a socket in it may have 107 bytes.
        folder = tempfile.mkdtemp(prefix="concept-icd-", dir="/tmp")
        settings |= {"address": "local", "num_cpus": cpus, "object_store_memory": object_store}
        settings |= {"include_dashboard": False, "_temp_dir": f"{folder}/ray"}  # which Ray opens to all
    else:
        _knock(address)
        settings["address"] = address
        os.environ[_ATTEMPTS] = "1"
    try:
        try:
            ray.init(**settings)
        except Exception as error:  # Ray raises no less, such as where it does not start within 30 seconds
            reason = " ".join(str(error).split()).split(". ")[0].rstrip(".")
            if address is None:
                raise InputError(f"Ray does not start on this machine: {reason}; run the same command again") from error
            start = "`ray start` makes this machine a node of a cluster"
            raise InputError(f"cannot use Ray at {address}: {reason}; {start}") from error
        finally:
            os.environ.pop(_ATTEMPTS, None)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.max_errored_blocks = 0  # a shard is never left out
        context.execution_no_progress_timeout_s = -1  # a shard of long notes may take hours
        yield ray
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _knock(address: str) -> None:
    """Checks that something listens at "host:port", where Ray itself would try for minutes.

    Raises:
        InputError: it does not, or the address has another form.
    """
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not (colon and port.isdecimal() and host and "/" not in host):
        raise InputError(f"the Ray address {address!r} is neither 'auto' nor host:port, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"no Ray can be reached at {address}: {reason}; `ray status` shows a cluster's") from error
