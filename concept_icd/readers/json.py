"""JSON: lines of it, one a note, or one document for all notes.

Lines are what `concept-icd code --corpus` writes, and the same without what a foreign model lacks:

    {"note_id": "a", "codes": [{"code": "428.0", "probability": 0.93, "rank": 1, "accepted": true}, ...]}
    {"note_id": "a", "probabilities": {"428.0": 0.93, "4019": 0.2}}

A line of gold is `{"note_id", "codes": [...]}` or `{"note_id", "diagnoses": [...], "procedures": [...]}`, with
"patient_id" on every line or on none. Codes stand in billing order, unless a line has "annotations" (a vote of several
annotators); "principal" as in a corpus. Other fields are ignored, so a corpus in JSON lines is a gold file. A code
that a line of predictions does not name has probability 0, is ranked last and is not accepted.

A document of predictions is CAML's `{id: {code: score}}`, the 100 highest of each note; its `persistence.py` writes the
sigmoid's outputs, so they are probabilities. A document of gold is a list of records with `hadm_id`, `subject_id` and
`LABELS` ("a;b"), as MSMN and KEPT have it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from concept_icd.corpora.jsonl import UnreadCodes
from concept_icd.errors import InputError
from concept_icd.files import lines, opened, printable
from concept_icd.readers.files import Source
from concept_icd.readers.forms import (
    Columns,
    Gold,
    GoldRows,
    PredictionRows,
    Predictions,
    require_once,
    require_probability,
)
from concept_icd.readers.label_sets import LabelReader, billed_note

IN_SAMPLE = "heads_fitted_on"  # of the coder's versions: "out-of-fold scores" or "IN-SAMPLE scores"


def read_predictions(source: Source, reader: LabelReader) -> Predictions:
    """See `predictions.read_predictions`."""
    return (_document_predictions if source.form == "json" else _line_predictions)(source, reader)


def read_gold(source: Source, reader: LabelReader) -> Gold:
    """See `predictions.read_gold`."""
    return (_document_gold if source.form == "json" else _line_gold)(source, reader)


def _line_predictions(source: Source, reader: LabelReader) -> Predictions:
    rows, versions = PredictionRows(), dict[str, str]()
    passages: dict[str, dict[str, list[tuple[int, int]]]] = {}

    def read(line: dict[str, Any]) -> None:
        said = line.get("versions")
        if isinstance(said, dict) and (not versions or "IN-SAMPLE" in str(said.get(IN_SAMPLE))):
            versions.update({str(name): str(value) for name, value in said.items()})
        codes = _add_prediction(rows, line, reader)
        if found := _passages(line, codes):
            passages[line["note_id"]] = found

    _each(source, read)
    return replace(rows.predictions(versions), passages=passages)


def _passages(line: dict[str, Any], codes: tuple[str, ...]) -> dict[str, list[tuple[int, int]]]:
    """Where the codes of a line stand in the note, of those that say so."""
    if not isinstance(line.get("codes"), list):
        return {}
    spans = (entry.get("evidence") for entry in line["codes"])
    named = ((code, own) for code, own in zip(codes, spans, strict=True) if isinstance(own, list) and own)
    return {
        code: [(span[0], span[1]) for span in own]
        for code, own in named
        if all(isinstance(span, list) and [type(end) for end in span] == [int, int] for span in own)
    }


def _line_gold(source: Source, reader: LabelReader) -> Gold:
    rows, unread = GoldRows(source.path), UnreadCodes(printable(source.path), reader.ontology)

    def read(line: dict[str, Any]) -> None:
        unread.look(line)
        codes, patient = _gold(line, reader)
        named = line.get("principal")
        principal = None if named is None else reader.read(named, "diagnosis")
        is_vote = bool(line.get("annotations"))
        billed = None if is_vote else billed_note(line["note_id"], codes, reader.ontology, principal)
        rows.add(line["note_id"], codes, patient, billed)

    _each(source, read)
    unread.say()
    return rows.gold()


def _each(source: Source, read: Callable[[dict[str, Any]], None]) -> None:
    seen: dict[str, int] = {}
    for number, line in _objects(source):
        try:
            if not isinstance(line, dict) or not isinstance(line.get("note_id"), str) or not line["note_id"]:
                raise InputError('it needs a "note_id" in quotes: {"note_id": "...", ...}')
            if line["note_id"] in seen:
                raise InputError(f"note_id {line['note_id']!r} stands on line {seen[line['note_id']]} already")
            seen[line["note_id"]] = number
            read(line)
        except InputError as error:
            raise InputError(f"{source}, line {number}: {error}") from error
    if not seen:
        raise InputError(f"{source} holds no line")


def _objects(source: Source) -> Iterator[tuple[int, Any]]:
    for number, text in lines(source.path):
        try:
            yield number, json.loads(text)
        except (ValueError, RecursionError) as error:
            reason = f" ({error.msg} at column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
            other = "; other forms are known by their ending: .csv, .psv, .tsv, .json" if number == 1 else ""
            raise InputError(f"{source}, line {number} is not valid JSON{reason}{other}") from error


def _add_prediction(rows: PredictionRows, line: dict[str, Any], reader: LabelReader) -> tuple[str, ...]:
    if isinstance(line.get("probabilities"), dict):
        entries = [{"code": code, "probability": value} for code, value in line["probabilities"].items()]
    elif isinstance(line.get("codes"), list) and all(isinstance(entry, dict) for entry in line["codes"]):
        entries = line["codes"]
    else:
        raise InputError('it needs "codes": [{"code", "probability"}, ...] or "probabilities": {code: probability}')
    codes = tuple(reader.read(entry.get("code"), entry.get("kind")) for entry in entries)
    require_once(codes)
    values: list[Any] = [entry.get("probability") for entry in entries]
    for code, value in zip(codes, values, strict=True):
        require_probability(code, value)
    flags: list[Any]
    ranks: list[Any]
    expected: list[Any]
    fields = ("accepted", "rank", "expected_recall")
    flags, ranks, expected = ([entry.get(name) for entry in entries] for name in fields)
    has_flags = all(isinstance(flag, bool) for flag in flags)
    has_ranks = all(type(rank) is int and 0 < rank < 2**53 for rank in ranks) and len(set(ranks)) == len(ranks)
    has_expected = all(type(recall) in (int, float) and 0 <= recall <= 1 for recall in expected)
    rows.add(
        line["note_id"],
        codes,
        values,
        ranks if has_ranks else None,
        flags if has_flags else None,
        expected if has_expected else None,
    )
    return codes


def _gold(line: dict[str, Any], reader: LabelReader) -> tuple[tuple[str, ...], str | None]:
    if line.get("codes") is not None and (line.get("diagnoses") or line.get("procedures")):
        raise InputError("give either 'codes' or 'diagnoses' and 'procedures', not both")
    fields = (
        [("codes", None)]
        if line.get("codes") is not None
        else [("diagnoses", "diagnosis"), ("procedures", "procedure")]
    )
    if not any(isinstance(line.get(name), list) for name, _ in fields):
        raise InputError('it needs "codes": [...], or "diagnoses": [...] and "procedures": [...]')
    codes = tuple(dict.fromkeys(reader.read(code, kind) for name, kind in fields for code in line.get(name) or ()))
    patient = line.get("patient_id")
    if patient is not None and (not isinstance(patient, str) or not patient):
        raise InputError("patient_id is text in quotes")
    return codes, patient


def _document_predictions(source: Source, reader: LabelReader) -> Predictions:
    notes = _load(source)
    if not isinstance(notes, dict) or not all(isinstance(scores, dict) for scores in notes.values()):
        raise InputError(f"{source} is no predictions: it needs {{note id: {{code: probability}}}}")
    rows = PredictionRows()
    for note_id, scores in notes.items():
        try:
            codes = tuple(reader.read(code) for code in scores)
            require_once(codes)
            for code, value in zip(codes, scores.values(), strict=True):
                require_probability(code, value)
        except InputError as error:
            raise InputError(f"{source}, note {note_id!r}: {error}") from error
        rows.add(note_id, codes, list(scores.values()))
    return rows.predictions()


def _document_gold(source: Source, reader: LabelReader) -> Gold:
    records = _load(source)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise InputError(f'{source} is no gold: it needs a list of records, [{{"hadm_id": ..., "LABELS": "a;b"}}, ...]')
    rows, seen = GoldRows(source.path), set[str]()
    for number, record in enumerate(records, start=1):
        where = f"{source}, record {number}"
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


def _load(source: Source) -> Any:
    try:
        with opened(source.path) as file:
            found = json.load(file)
    except (ValueError, RecursionError) as error:
        reason = f" ({error.msg} on line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{source} is not valid JSON{reason}") from error
    if not found:
        raise InputError(f"{source} holds no note")
    return found
