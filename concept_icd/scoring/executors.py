"""What scores the shards of a store: this process, or another executor (Ray) that keeps the same contract.

An executor is given the shards that are missing and yields each with one record a note, in any order. It writes
nothing: the process that holds the store's lock does that.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol, TypeAlias

from concept_icd.errors import InputError
from concept_icd.records import Concept, Note, OneLine
from concept_icd.scoring.scorer import NoteFailure, NoteScores, QuestionPlan, Scorer

#: What becomes of one note.
Record: TypeAlias = NoteScores | NoteFailure

_HARMLESS = Note("harmless", "Cough and fever.")


@dataclass(frozen=True, repr=False)
class Shard(OneLine):
    """Notes that are scored together, in this order and by one scorer, so that the same bits come out of like machines.

    Attributes:
        path: of the Parquet file. job: name of the adapter; shards of one job share a scorer.
        make_scorer: makes it; a `ScorerSpec` where another process does.
    """

    number: int
    path: Path
    notes: tuple[Note, ...]
    job: str
    make_scorer: Callable[[], Scorer]


class Executor(Protocol):
    """Scores shards."""

    def run(
        self,
        shards: Sequence[Shard],
        concepts: Sequence[Concept],
        plan: QuestionPlan | None,
        tell: Callable[[Record], None],
    ) -> Iterator[tuple[Shard, list[Record]]]:
        """Yields every shard once, as they come, each with one record for each of its notes, in any order.

        Args:
            shards: those of one job stand together. tell: is called once with each record, as soon as it is known.

        Raises:
            InputError: what would befall any note: no model, no memory, no server. What was yielded stays.
        """


class LocalExecutor:
    """Scores in this process, one job after the other; its scorer is made when the first shard of the job is due."""

    def run(
        self,
        shards: Sequence[Shard],
        concepts: Sequence[Concept],
        plan: QuestionPlan | None,
        tell: Callable[[Record], None],
    ) -> Iterator[tuple[Shard, list[Record]]]:
        """See `Executor.run`."""
        for _, same in groupby(shards, key=lambda shard: shard.job):
            scorer = None  # of the job before
            free_memory()
            for shard in same:
                scorer = scorer or shard.make_scorer()
                records = []
                for record in score_notes(scorer, shard.notes, concepts, plan):
                    records.append(record)
                    tell(record)
                yield shard, records


def free_memory() -> None:
    """Gives back what a model that nobody uses any more holds: two large ones do not fit at once.

    A model is in a circle of references with its own forward pass (`concept_icd.llm.packed_pass.accept_packing`), so
    that it stays where it is until the collector comes; and what it had of a GPU stays with torch until then.
    """
    gc.collect()
    torch = sys.modules.get("torch")  # which the scorer without torch does not need
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def score_notes(
    scorer: Scorer, notes: Sequence[Note], concepts: Sequence[Concept], plan: QuestionPlan | None
) -> Iterator[Record]:
    """The records of a shard's notes. A note that cannot be scored is a failure and does not keep the others.

    After an error, the notes that are left are scored one by one. Where none can be scored, a harmless note is tried:
    if that fails too, it is not the notes' fault but the model's, the server's or an option's, and the run has to stop.

    Raises:
        InputError: what befalls any note.
    """
    left, failed = {note.note_id: note for note in notes}, 0
    try:
        for record in scorer.iter_scores(notes, concepts, plan):
            del left[record.note_id]
            failed += isinstance(record, NoteFailure)
            yield record
    except InputError as error:
        if len(notes) > 1:
            for note in left.values():
                yield from score_notes(scorer, [note], concepts, plan)
            return
        failed = 1
        yield NoteFailure(notes[0].note_id, str(error))
    if failed == len(notes):
        for control in scorer.iter_scores([_HARMLESS], concepts, plan):
            if isinstance(control, NoteFailure):
                raise InputError(f"no note can be scored: {control.reason}")
