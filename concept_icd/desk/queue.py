"""Micro-batching: who waits for the coder, and in which batches a thread takes what waits.

`BatchQueue` is bounded and has a thread of its own. What waits when the thread is free is a batch, up to a number: so
nobody waits for a batch to fill. Clients take turns, a job at a time; where the queue is full, the client with most in
it gives way to the others.

`ScoringQueue` has two of them: notes are scored together in one thread, evidence is found in another, a note at a time,
since it takes a scoring a sentence and nobody's codes shall wait for it. Neither knows HTTP.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypeVar

from concept_icd.coder.coder import ConceptCoder
from concept_icd.errors import InputError
from concept_icd.records import CodingResult, Note, OneLine

#: Concepts that are named for a code; fewer are cut from these, so that requests of any number share a batch.
TOP_CONCEPTS = 5
#: Notes that are taken together at most, and those after which it is asked whether anybody still waits for them.
BATCH, PART = 64, 16

T = TypeVar("T")
R = TypeVar("R")


class QueueFull(Exception):
    """No room for more; `retry_after` seconds from now there may be."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class Closed(Exception):
    """The service is stopping."""


class GivenUp(Exception):
    """Nobody waits for the answer any more."""


class Answers(Future[list[R]]):
    """Answers to come.

    Attributes:
        waiters: how many wait for them. given_up: nobody does; also work that has begun may stop.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiters = 0
        self.given_up = False

    def give_up(self) -> None:
        """Says that nobody waits for them any more."""
        self.given_up = True
        self.cancel()


@dataclass(frozen=True, eq=False, repr=False)
class Job(OneLine, Generic[T, R]):
    """The things of one request, and their answers to come."""

    things: Sequence[T]
    answers: Answers[R] = field(default_factory=Answers)

    def refuse(self, error: Exception) -> None:
        """Answers with an error a job that was not begun."""
        if self.answers.set_running_or_notify_cancel():
            self.answers.set_exception(error)


class BatchQueue(Generic[T, R]):
    """A bounded queue and the thread that takes batches from it; see the module.

    Args:
        work: things -> their answers, in order.
        room: things that may wait. together: things that are worked on at a time; 1: each job by itself.
        observe: is told the things and seconds of each batch.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[T]], list[R]],
        room: int,
        together: int,
        observe: Callable[[int, float], None] = lambda things, seconds: None,
    ) -> None:
        self._work, self._room, self._together, self._observe = work, room, together, observe
        #: By client, whose turn it is first.
        self._jobs: OrderedDict[str, deque[Job[T, R]]] = OrderedDict()
        self._begun: Sequence[Job[T, R]] = ()
        self._changed = threading.Condition()
        self._closed = False
        self._seconds_each = 0.05
        #: Things that wait.
        self.waiting = 0
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def add(self, things: Sequence[T], client: str = "") -> Answers[R]:
        """Answers of the things, in their order.

        Args:
            client: who asks; clients take turns.

        Raises:
            QueueFull, Closed: see there.
        """
        job: Job[T, R] = Job(things)
        with self._changed:
            if self._closed:
                raise Closed
            self._make_room(len(things), client)
            self._jobs.setdefault(client, deque()).append(job)
            self.waiting += len(things)
            self._changed.notify()
        return job.answers

    def given_up(self) -> bool:
        """Whether nobody waits any more for what is being worked on; `work` may ask now and then, and raise."""
        return all(job.answers.given_up for job in self._begun)

    def close(self) -> None:
        """Lets what is being worked on end, and refuses the rest."""
        with self._changed:
            self._closed = True
            left = [job for jobs in self._jobs.values() for job in jobs]
            self._jobs.clear()
            self.waiting = 0
            self._changed.notify()
        for job in left:
            job.refuse(Closed())
        if self.thread.is_alive() and self.thread is not threading.current_thread():
            self.thread.join(timeout=30)

    def _make_room(self, more: int, client: str) -> None:
        """Drops what nobody waits for, then the newest jobs of whoever has more in the queue than this client would."""
        if self.waiting + more <= self._room:
            return
        for name, jobs in self._jobs.items():
            self._jobs[name] = deque(job for job in jobs if not job.answers.cancelled())
        held = {name: sum(len(job.things) for job in jobs) for name, jobs in self._jobs.items()}
        self.waiting = sum(held.values())
        own = held.get(client, 0) + more
        full = QueueFull(max(1, round(self.waiting * self._seconds_each)))
        given_way: list[tuple[str, Job[T, R]]] = []
        while self.waiting + more > self._room:
            most = max(held, key=held.__getitem__, default=client)
            if held.get(most, 0) <= own:  # nobody has more than this client would: all stay
                for name, job in reversed(given_way):
                    self._jobs[name].append(job)
                    self.waiting += len(job.things)
                raise full
            given_way.append((most, self._jobs[most].pop()))
            held[most] -= len(given_way[-1][1].things)
            self.waiting -= len(given_way[-1][1].things)
        for _, job in given_way:
            job.refuse(full)

    def _run(self) -> None:
        while batch := self._next_batch():
            start, things = time.perf_counter(), sum(len(job.things) for job in batch)
            # One whose request gave up is not worked on.
            self._answer([job for job in batch if job.answers.set_running_or_notify_cancel()])
            seconds = time.perf_counter() - start
            self._seconds_each += 0.1 * (seconds / things - self._seconds_each)
            self._observe(things, seconds)

    def _next_batch(self) -> list[Job[T, R]]:
        """What waits, a job of each client in turn; nothing when the queue is closed."""
        batch: list[Job[T, R]] = []
        with self._changed:
            while not self.waiting and not self._closed:
                self._changed.wait()
            taken = 0
            for client in list(self._jobs):  # those that gave way may have nothing left
                if not self._jobs[client]:
                    del self._jobs[client]
            while self._jobs:
                client, jobs = next(iter(self._jobs.items()))
                if batch and taken + len(jobs[0].things) > self._together:
                    break
                batch.append(jobs.popleft())
                taken += len(batch[-1].things)
                self._jobs.move_to_end(client)
                if not jobs:
                    del self._jobs[client]
            self.waiting -= taken
        return batch

    def _answer(self, batch: list[Job[T, R]]) -> None:
        self._begun = batch
        try:
            answers = self._work([thing for job in batch for thing in job.things]) if batch else []
        except Exception as error:  # noqa: BLE001  goes to those who wait
            if len(batch) == 1 or isinstance(error, GivenUp):
                for job in batch:
                    job.answers.set_exception(error)
                return
            for job in batch:  # one bad thing is not the others' fault
                self._answer([job])
            return
        for job in batch:
            own, answers = answers[: len(job.things)], answers[len(job.things) :]
            job.answers.set_result(own)


class ScoringQueue:
    """The queues of a coder; see the module.

    Args:
        room: notes that may wait. micro_batching: False scores each request by itself.
        observe: is told the notes and seconds of each batch.
    """

    def __init__(
        self,
        coder: ConceptCoder,
        room: int,
        *,
        micro_batching: bool = True,
        observe: Callable[[int, float], None] = lambda notes, seconds: None,
    ) -> None:
        self._coder = coder
        self._codes: BatchQueue[Note, CodingResult] = BatchQueue(
            "codes", self._code, room, BATCH if micro_batching else 1, observe
        )
        self._evidence: BatchQueue[tuple[Note, CodingResult], CodingResult] = BatchQueue(
            "evidence", self._find, room, 1
        )
        #: None until the model is loaded; then "" or why it could not be.
        self.failure: str | None = None
        in_process = coder.scorer_settings.get("scorer", "packed") == "vllm"
        # vLLM's engine takes one caller at a time; a packed scorer keeps nothing between calls.
        self._turn: AbstractContextManager[Any] = threading.Lock() if in_process else nullcontext()

    def start(self) -> None:
        """Starts to load the model, in the thread that will use it; what comes before it is loaded waits."""
        self._codes.add([Note("0", "Cough.")]).add_done_callback(self._loaded)
        self._codes.thread.start()

    @property
    def waiting(self) -> int:
        """Notes that wait."""
        return self._codes.waiting + self._evidence.waiting

    def code(self, notes: Sequence[Note], client: str = "") -> Answers[CodingResult]:
        """Results of the notes in their order; ids need not differ. Raises as `BatchQueue.add` does."""
        return self._codes.add(notes, client)

    def find_evidence(self, note: Note, result: CodingResult, client: str = "") -> Answers[CodingResult]:
        """The result of the note with the evidence of its codes, in a list of one. Raises as `BatchQueue.add` does."""
        return self._evidence.add([(note, result)], client)

    def close(self) -> None:
        """Lets what is being scored end, and refuses the rest."""
        self._codes.close()
        self._evidence.close()

    def _loaded(self, first: Future[list[CodingResult]]) -> None:
        error = first.exception()
        if error is None:
            self.failure = ""
            self._evidence.thread.start()
        elif not isinstance(error, Closed):
            self.failure = (
                str(error) if isinstance(error, InputError) else f"{type(error).__name__} on loading the model"
            )
            self.close()

    def _code(self, notes: Sequence[Note]) -> list[CodingResult]:
        numbered = [replace(note, note_id=str(number)) for number, note in enumerate(notes)]
        results = []
        with self._turn:
            for result in self._coder.code_batch(numbered, top_concepts=TOP_CONCEPTS, batch=PART):
                _go_on(self._codes)
                results.append(result)
        return [replace(result, note_id=note.note_id) for note, result in zip(notes, results, strict=True)]

    def _find(self, pairs: Sequence[tuple[Note, CodingResult]]) -> list[CodingResult]:
        # Of this thread alone, where the scorer uses torch. OpenMP keeps a pool for each thread that asks for several
        # processors; with two pools it puts its workers to sleep between small steps, and the other thread's notes
        # would take nearly twice as long.
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)
        with self._turn:
            return [self._coder.with_evidence(*pair, partial(_go_on, self._evidence)) for pair in pairs]


def _go_on(queue: BatchQueue[Any, Any]) -> None:
    if queue.given_up():
        raise GivenUp
