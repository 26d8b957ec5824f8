"""Notes and records as JSON, as they travel between processes: the same bits come out, and nothing is unpickled."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from concept_icd.records import Note
from concept_icd.scoring.engines import Record
from concept_icd.scoring.scores import NoteFailure, NoteScores


def notes_to_json(notes: Sequence[Note]) -> bytes:
    """Of the notes, in order."""
    return json.dumps([asdict(note) for note in notes]).encode()


def notes_from_json(content: bytes) -> list[Note]:
    """What `notes_to_json` was given."""
    return [Note(**{**fields, "drugs": tuple(fields["drugs"])}) for fields in json.loads(content)]


def answer_to_json(answer: Sequence[Record] | str) -> bytes:
    """Of the records of a shard, or of the sentence of what ends the run."""
    return json.dumps(answer if isinstance(answer, str) else [_fields(record) for record in answer]).encode()


def answer_from_json(content: bytes) -> list[Record] | str:
    """What `answer_to_json` was given."""
    answer = json.loads(content)
    return answer if isinstance(answer, str) else [_record(fields) for fields in answer]


def _fields(record: Record) -> dict[str, Any]:
    if isinstance(record, NoteFailure):
        return asdict(record)
    asked = None if record.asked is None else _array(record.asked)
    return {**vars(record), "logits": _array(record.logits), "asked": asked}


def _record(fields: dict[str, Any]) -> Record:
    if "reason" in fields:
        return NoteFailure(**fields)
    asked = None if fields["asked"] is None else _read_array(fields["asked"])
    return NoteScores(**{**fields, "logits": _read_array(fields["logits"]), "asked": asked})


def _array(values: np.ndarray) -> tuple[str, str]:
    """Of one dimension: its type, and its bytes in base 64."""
    return values.dtype.str, base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _read_array(written: Sequence[str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(written[1]), dtype=np.dtype(written[0])).copy()
