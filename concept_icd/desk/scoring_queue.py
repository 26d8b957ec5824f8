"""One thread that scores; requests wait in a line of bounded length, and those that wait are scored together.

Waiting costs nothing when nobody waits: a batch is what there is when the scorer is free. Evidence is found one note at
a time. It knows the coder and nothing of HTTP.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

from concept_icd.coder import ConceptCoder
from concept_icd.errors import InputError
from concept_icd.evidence import with_evidence
from concept_icd.records import CodingResult, Note

#: Concepts that are named for a code; fewer are cut from these, so that requests of any number share a batch.
TOP_CONCEPTS = 5
#: Notes that are scored together at most.
BATCH = 64


class QueueFull(Exception):
    """No room for more notes; `retry_after` seconds from now there may be."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class Closed(Exception):
    """The service is stopping."""


@dataclass(frozen=True, eq=False)
class _Job:
    notes: Sequence[Note]
    evidence_for: CodingResult | None
    future: Future[list[CodingResult]]


class ScoringQueue:
    """See the module.

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
        self._coder, self._room, self._micro_batching, self._observe = coder, room, micro_batching, observe
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._closed = False
        self._seconds_a_note = 0.05
        #: None until the model is loaded; then "" or why it could not be.
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="scorer", daemon=True)

    def start(self) -> None:
        """Starts the thread, which loads the model first."""
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Notes in the line."""
        return self._waiting

    def code(self, notes: Sequence[Note]) -> Future[list[CodingResult]]:
        """Results of the notes in their order; ids need not differ.

        Raises:
            QueueFull, Closed: see there.
        """
        return self._add(_Job(notes, None, Future()))

    def find_evidence(self, note: Note, result: CodingResult) -> Future[list[CodingResult]]:
        """The result of the note with the evidence of its codes, in a list of one. Raises as `code` does."""
        return self._add(_Job([note], result, Future()))

    def close(self) -> None:
        """Lets what is being scored end, and refuses the rest."""
        with self._changed:
            self._closed = True
            left = list(self._jobs)
            self._jobs.clear()
            self._waiting = 0
            self._changed.notify()
        for job in left:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(Closed())
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _add(self, job: _Job) -> Future[list[CodingResult]]:
        with self._changed:
            if self._closed:
                raise Closed
            if self._waiting + len(job.notes) > self._room:
                raise QueueFull(max(1, round(self._waiting * self._seconds_a_note)))
            self._jobs.append(job)
            self._waiting += len(job.notes)
            self._changed.notify()
        return job.future

    # The thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            for _ in self._coder.code_batch([Note("0", "Cough.")], top_concepts=1):
                self.failure = ""
        except Exception as error:  # noqa: BLE001  the server says it and stops
            self.failure = str(error) if isinstance(error, InputError) else f"{type(error).__name__} on loading"
            self.close()
        while batch := self._next_batch():
            start = time.perf_counter()
            self._score(batch)
            seconds, notes = time.perf_counter() - start, sum(len(job.notes) for job in batch)
            self._seconds_a_note += 0.1 * (seconds / notes - self._seconds_a_note)
            self._observe(notes, seconds)

    def _next_batch(self) -> list[_Job]:
        """What waits, in its order; nothing when the service stops."""
        batch: list[_Job] = []
        with self._changed:
            while not self._jobs and not self._closed:
                self._changed.wait()
            notes = 0
            while self._jobs:
                job = self._jobs[0]
                alone = job.evidence_for is not None or not self._micro_batching
                if batch and (alone or notes + len(job.notes) > BATCH):
                    break
                self._jobs.popleft()
                self._waiting -= len(job.notes)
                batch.append(job)
                notes += len(job.notes)
                if alone:
                    break
        return batch

    def _score(self, batch: list[_Job]) -> None:
        # One whose request gave up is not scored.
        wanted = [job for job in batch if job.future.set_running_or_notify_cancel()]
        try:
            self._answer(wanted)
        except Exception as error:  # noqa: BLE001  goes to those who wait
            if len(wanted) == 1:
                wanted[0].future.set_exception(error)
                return
            for job in wanted:  # one bad note is not the others' fault
                try:
                    self._answer([job])
                except Exception as own:  # noqa: BLE001
                    job.future.set_exception(own)

    def _answer(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        if (found := jobs[0].evidence_for) is not None:
            jobs[0].future.set_result([with_evidence(self._coder, jobs[0].notes[0], found)])
            return
        notes = [note for job in jobs for note in job.notes]
        numbered = [replace(note, note_id=str(number)) for number, note in enumerate(notes)]
        results = list(self._coder.code_batch(numbered, top_concepts=TOP_CONCEPTS, batch=BATCH))
        named = [replace(result, note_id=note.note_id) for note, result in zip(notes, results, strict=True)]
        for job in jobs:
            own, named = named[: len(job.notes)], named[len(job.notes) :]
            job.future.set_result(own)
