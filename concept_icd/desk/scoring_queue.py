"""Who waits for the coder: notes are scored together by one thread, evidence is found by another, a note at a time.

Evidence takes a scoring a sentence, so it has a thread of its own: nobody's codes wait for it. It knows the coder and
nothing of HTTP.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from concept_icd.coder import ConceptCoder
from concept_icd.desk.line import Answers, Closed, GivenUp, Line
from concept_icd.errors import InputError
from concept_icd.evidence import with_evidence
from concept_icd.records import CodingResult, Note

#: Concepts that are named for a code; fewer are cut from these, so that requests of any number share a batch.
TOP_CONCEPTS = 5
#: Notes that are taken together at most, and those after which it is asked whether anybody still waits for them.
BATCH, PART = 64, 16


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
        self._coder = coder
        self._codes: Line[Note, CodingResult] = Line("codes", self._code, room, BATCH if micro_batching else 1, observe)
        self._evidence: Line[tuple[Note, CodingResult], CodingResult] = Line("evidence", self._find, room, 1)
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
        """Results of the notes in their order; ids need not differ. Raises as `Line.add` does."""
        return self._codes.add(notes, client)

    def find_evidence(self, note: Note, result: CodingResult, client: str = "") -> Answers[CodingResult]:
        """The result of the note with the evidence of its codes, in a list of one. Raises as `Line.add` does."""
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
        import torch

        # Of this thread alone. OpenMP keeps a pool for each thread that asks for several processors; with two pools it
        # puts its workers to sleep between small steps, and the other thread's notes would take nearly twice as long.
        torch.set_num_threads(1)
        with self._turn:
            return [with_evidence(self._coder, *pair, partial(_go_on, self._evidence)) for pair in pairs]


def _go_on(line: Line[Any, Any]) -> None:
    if line.given_up():
        raise GivenUp
