"""One JSON document: CAML's scores (`{id: {code: score}}`, the 100 highest of each note), MSMN's and KEPT's gold.

CAML's `persistence.py` writes the sigmoid's outputs, so its scores are probabilities. The gold of MSMN and KEPT is a
list of records with `hadm_id`, `subject_id` and `LABELS` ("a;b").
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from concept_icd.errors import InputError
from concept_icd.files import ending, lines, opened
from concept_icd.readers.columns import Columns
from concept_icd.readers.forms import Gold, GoldRows, PredictionRows, Predictions, require_once, require_probability
from concept_icd.readers.label_sets import LabelReader


def is_one_json(path: str | Path) -> bool:
    """Whether the file ends in .json and its first line is not a whole line of JSON lines."""
    if ending(path) != ".json":
        return False
    first = next(lines(path), (0, ""))[1]
    try:
        return "note_id" not in json.loads(first)
    except (ValueError, TypeError, RecursionError):
        return True


def read_predictions(path: str | Path, reader: LabelReader) -> Predictions:
    """See `reading.read_predictions`."""
    notes = _load(path)
    if not isinstance(notes, dict) or not all(isinstance(scores, dict) for scores in notes.values()):
        raise InputError(f"{path} is no predictions: it needs {{note id: {{code: probability}}}}")
    rows = PredictionRows()
    for note_id, scores in notes.items():
        try:
            codes = tuple(reader.read(code) for code in scores)
            require_once(codes)
            for code, value in zip(codes, scores.values(), strict=True):
                require_probability(code, value)
        except InputError as error:
            raise InputError(f"{path}, note {note_id!r}: {error}") from error
        rows.add(note_id, codes, list(scores.values()))
    return rows.predictions()


def read_gold(path: str | Path, reader: LabelReader) -> Gold:
    """See `reading.read_gold`."""
    records = _load(path)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise InputError(f'{path} is no gold: it needs a list of records, [{{"hadm_id": ..., "LABELS": "a;b"}}, ...]')
    rows, seen = GoldRows(path), set[str]()
    for number, record in enumerate(records, start=1):
        where = f"{path}, record {number}"
        columns = Columns.of(list(record), where)
        labels, patient = record.get(columns.labels or ""), record.get(columns.patient or "")
        note_id = str(record[columns.note])
        if labels is None:
            raise InputError(f"{where} has no LABELS")
        if note_id in seen:
            raise InputError(f"{where}: note {note_id!r} stands in the file already")
        seen.add(note_id)
        try:
            codes = reader.read_all(labels if isinstance(labels, list) else [labels])
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        rows.add(note_id, codes, None if patient is None else str(patient))
    return rows.gold()


def _load(path: str | Path) -> Any:
    try:
        with opened(path) as file:
            found = json.load(file)
    except (ValueError, RecursionError) as error:
        reason = f" ({error.msg} on line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{path} is not valid JSON{reason}") from error
    if not found:
        raise InputError(f"{path} holds no note")
    return found
