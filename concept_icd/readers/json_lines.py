"""JSON lines: what `concept-icd code --corpus` writes, and the same without what a foreign model lacks.

    {"note_id": "a", "codes": [{"code": "428.0", "probability": 0.93, "rank": 1, "accepted": true}, ...]}
    {"note_id": "a", "probabilities": {"428.0": 0.93, "4019": 0.2}}

A line of gold is `{"note_id", "codes": [...]}` or `{"note_id", "diagnoses": [...], "procedures": [...]}`, with
"patient_id" on every line or on none. Codes stand in billing order, unless a line has "annotations" (a vote of several
annotators); "principal" as in a corpus. Other fields are ignored, so a corpus in JSON lines is a gold file. A code
that a line of predictions does not name has probability 0, is ranked last and is not accepted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from concept_icd.corpora.jsonl import UnreadCodes
from concept_icd.errors import InputError
from concept_icd.files import lines, printable
from concept_icd.readers.forms import Gold, GoldRows, PredictionRows, Predictions, require_once, require_probability
from concept_icd.readers.label_sets import LabelReader, billed_note

IN_SAMPLE = "heads_fitted_on"  # of the coder's versions: "out-of-fold scores" or "IN-SAMPLE scores"


def read_predictions(path: str | Path, reader: LabelReader) -> Predictions:
    """See `reading.read_predictions`."""
    rows, versions = PredictionRows(), dict[str, str]()

    def read(line: dict[str, Any]) -> None:
        said = line.get("versions")
        if isinstance(said, dict) and (not versions or "IN-SAMPLE" in str(said.get(IN_SAMPLE))):
            versions.update({str(name): str(value) for name, value in said.items()})
        _add_prediction(rows, line, reader)

    _each(path, read)
    return rows.predictions(versions)


def read_gold(path: str | Path, reader: LabelReader) -> Gold:
    """See `reading.read_gold`."""
    rows, unread = GoldRows(path), UnreadCodes(printable(path))

    def read(line: dict[str, Any]) -> None:
        unread.look(line)
        codes, patient = _gold(line, reader)
        named = line.get("principal")
        principal = None if named is None else reader.read(named, "diagnosis")
        is_vote = bool(line.get("annotations"))
        billed = None if is_vote else billed_note(line["note_id"], codes, principal)
        rows.add(line["note_id"], codes, patient, billed)

    _each(path, read)
    unread.say()
    return rows.gold()


def _each(path: str | Path, read: Callable[[dict[str, Any]], None]) -> None:
    seen: dict[str, int] = {}
    for number, line in _objects(path):
        try:
            if not isinstance(line, dict) or not isinstance(line.get("note_id"), str) or not line["note_id"]:
                raise InputError('it needs a "note_id" in quotes: {"note_id": "...", ...}')
            if line["note_id"] in seen:
                raise InputError(f"note_id {line['note_id']!r} stands on line {seen[line['note_id']]} already")
            seen[line["note_id"]] = number
            read(line)
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from error
    if not seen:
        raise InputError(f"{path} holds no line")


def _objects(path: str | Path) -> Iterator[tuple[int, Any]]:
    for number, text in lines(path):
        try:
            yield number, json.loads(text)
        except (ValueError, RecursionError) as error:
            reason = f" ({error.msg} at column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
            other = "; other forms are known by their ending: .csv, .psv, .tsv, .json" if number == 1 else ""
            raise InputError(f"{path}, line {number} is not valid JSON{reason}{other}") from error


def _add_prediction(rows: PredictionRows, line: dict[str, Any], reader: LabelReader) -> None:
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
