"""A line of bounded length, and a thread that takes from its head; what waits is taken together, up to a number.

Waiting costs nothing when nobody waits: a batch is what there is when the thread is free.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class QueueFull(Exception):
    """No room for more; `retry_after` seconds from now there may be."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class Closed(Exception):
    """The service is stopping."""


@dataclass(frozen=True, eq=False)
class Job(Generic[T, R]):
    """Things that belong together, and their answers to come."""

    things: Sequence[T]
    answers: Future[list[R]] = field(default_factory=Future)


class Line(Generic[T, R]):
    """See the module.

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
        self._jobs: deque[Job[T, R]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._seconds_each = 0.05
        #: Things that wait.
        self.waiting = 0
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def add(self, things: Sequence[T]) -> Future[list[R]]:
        """Answers of the things, in their order.

        Raises:
            QueueFull, Closed: see there.
        """
        job: Job[T, R] = Job(things)
        with self._changed:
            if self._closed:
                raise Closed
            if self.waiting + len(things) > self._room:
                raise QueueFull(max(1, round(self.waiting * self._seconds_each)))
            self._jobs.append(job)
            self.waiting += len(things)
            self._changed.notify()
        return job.answers

    def close(self) -> None:
        """Lets what is being worked on end, and refuses the rest."""
        with self._changed:
            self._closed = True
            left = list(self._jobs)
            self._jobs.clear()
            self.waiting = 0
            self._changed.notify()
        for job in left:
            if job.answers.set_running_or_notify_cancel():
                job.answers.set_exception(Closed())
        if self.thread.is_alive() and self.thread is not threading.current_thread():
            self.thread.join(timeout=30)

    def _run(self) -> None:
        while batch := self._next_batch():
            start, things = time.perf_counter(), sum(len(job.things) for job in batch)
            # One whose request gave up is not worked on.
            self._answer([job for job in batch if job.answers.set_running_or_notify_cancel()])
            seconds = time.perf_counter() - start
            self._seconds_each += 0.1 * (seconds / things - self._seconds_each)
            self._observe(things, seconds)

    def _next_batch(self) -> list[Job[T, R]]:
        """What waits, in its order; nothing when the line is closed."""
        batch: list[Job[T, R]] = []
        with self._changed:
            while not self._jobs and not self._closed:
                self._changed.wait()
            taken = 0
            while self._jobs and (not batch or taken + len(self._jobs[0].things) <= self._together):
                job = self._jobs.popleft()
                taken += len(job.things)
                batch.append(job)
            self.waiting -= taken
        return batch

    def _answer(self, batch: list[Job[T, R]]) -> None:
        try:
            answers = self._work([thing for job in batch for thing in job.things]) if batch else []
        except Exception as error:  # noqa: BLE001  goes to those who wait
            if len(batch) == 1:
                batch[0].answers.set_exception(error)
                return
            for job in batch:  # one bad thing is not the others' fault
                self._answer([job])
            return
        for job in batch:
            own, answers = answers[: len(job.things)], answers[len(job.things) :]
            job.answers.set_result(own)
