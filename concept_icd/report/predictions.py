"""Anybody's predictions and gold codes, read from JSON lines and laid out as matrices (notes, codes).

A line of predictions is what `concept-icd code --corpus` writes, or the same without what a foreign model lacks:

    {"note_id": "a", "codes": [{"code": "428.0", "probability": 0.93, "rank": 1, "accepted": true}, ...]}
    {"note_id": "a", "probabilities": {"428.0": 0.93, "4019": 0.2}}

A line of gold is `{"note_id", "codes": [...]}` or `{"note_id", "diagnoses": [...], "procedures": [...]}`, with
"patient_id" on every line or on none; other fields are ignored, so a corpus in JSON lines is a gold file. A code that
a line does not name has probability 0, is ranked last and is not accepted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from concept_icd.errors import InputError
from concept_icd.metrics.inputs import Bools, Floats, Ints
from concept_icd.ontology import load_ontology


@dataclass(frozen=True)
class PredictedNote:
    """One line of predictions: codes, and for each its probability, place in the order, and whether it is accepted.

    Attributes:
        ranks, accepted: None where the line does not have them for every code.
    """

    codes: tuple[str, ...]
    probabilities: Floats
    ranks: Ints | None
    accepted: Bools | None


@dataclass(frozen=True)
class GoldNote:
    """One line of gold."""

    codes: tuple[str, ...]
    patient_id: str | None


@dataclass(frozen=True)
class Matrices:
    """Predictions and gold of the same notes over the same codes.

    Attributes:
        gold, decisions: bool (notes, codes); decisions are None where the predictions have no accepted flags.
        probabilities: float64 (notes, codes). scores: minus the rank, or None where the predictions have no ranks.
        patients: (notes,), or None. label_set: in words, where the codes come from and what was left out.
    """

    note_ids: tuple[str, ...]
    codes: tuple[str, ...]
    gold: Bools
    probabilities: Floats
    scores: Floats | None
    decisions: Bools | None
    patients: tuple[str, ...] | None
    label_set: str


def read_predictions(path: str | Path) -> dict[str, PredictedNote]:
    """The predictions of a file by note id.

    Raises:
        InputError: unreadable, a malformed line, a note or a code twice, no ICD-9-CM code, no probability.
    """
    parse = _parser()
    return dict(_records(path, lambda line: _predicted(line, parse)))


def read_gold(path: str | Path) -> dict[str, GoldNote]:
    """The gold codes of a file by note id; errors as in `read_predictions`."""
    parse = _parser()
    found = dict(_records(path, lambda line: _gold(line, parse)))
    named = sum(note.patient_id is not None for note in found.values())
    if 0 < named < len(found):
        raise InputError(f"{path}: {named} of {len(found)} lines have a patient_id; give it on every line or on none")
    return found


def read_codes(path: str | Path) -> tuple[str, ...]:
    """A label set: one code a line; blank lines and lines that start with # are skipped."""
    parse, found = _parser(), dict[str, None]()
    for number, line in _lines(path):
        if not line.startswith("#"):
            try:
                found[parse(line, None)] = None
            except InputError as error:
                raise InputError(f"{path}, line {number}: {error}") from error
    if not found:
        raise InputError(f"{path} names no code")
    return tuple(found)


def align(
    predictions: dict[str, PredictedNote],
    gold: dict[str, GoldNote],
    codes: Sequence[str] | None = None,
    only_common: bool = False,
) -> Matrices:
    """Lays both out over one label set, notes in the order of the gold file, codes sorted as strings.

    Args:
        codes: the label set; None takes every code of either file. only_common: leave out notes of one file only.

    Raises:
        InputError: a note is in one of the files only (count and first three), or no note is in both.
    """
    if not only_common:
        _require_same_notes(gold, predictions, "the gold file", "the predictions")
        _require_same_notes(predictions, gold, "the predictions", "the gold file")
    note_ids = tuple(note for note in gold if note in predictions)
    if not note_ids:
        raise InputError("no note is in both the predictions and the gold file; compare their note_id fields")
    seen = {code for note in note_ids for code in (*gold[note].codes, *predictions[note].codes)}
    columns = tuple(sorted(seen if codes is None else codes))
    if not columns:
        raise InputError("neither the predictions nor the gold file names a code")
    place = {code: column for column, code in enumerate(columns)}
    shape = (len(note_ids), len(columns))
    truth, accepted, probabilities = np.zeros(shape, bool), np.zeros(shape, bool), np.zeros(shape)
    scores = np.full(shape, -np.inf)
    outside = [0, 0]  # gold and predicted (note, code) pairs that the label set leaves out
    for row, note in enumerate(note_ids):
        predicted = predictions[note]
        columns_of_gold = _places(gold[note].codes, place)
        truth[row, columns_of_gold[columns_of_gold >= 0]] = True
        column = _places(predicted.codes, place)
        kept = column >= 0
        outside[0] += int((columns_of_gold < 0).sum())
        outside[1] += int((~kept).sum())
        probabilities[row, column[kept]] = predicted.probabilities[kept]
        if predicted.accepted is not None:
            accepted[row, column[kept]] = predicted.accepted[kept]
        if predicted.ranks is not None:
            scores[row, column[kept]] = -predicted.ranks[kept]
    has_flags = all(predictions[note].accepted is not None for note in note_ids)
    has_ranks = all(predictions[note].ranks is not None for note in note_ids)
    patients = tuple(gold[note].patient_id or "" for note in note_ids)
    return Matrices(
        note_ids,
        columns,
        truth,
        probabilities,
        scores if has_ranks else None,
        accepted if has_flags else None,
        patients if all(patients) else None,
        _label_set(codes is None, len(columns), outside) + _left_out(gold, predictions, len(note_ids)),
    )


def _places(codes: Sequence[str], place: dict[str, int]) -> Ints:
    return np.array([place.get(code, -1) for code in codes], dtype=np.int64)


def _label_set(union: bool, count: int, outside: Sequence[int]) -> str:
    if union:
        return f"the {count} codes that occur in the gold or in the predictions"
    return (
        f"{count} codes named by the user; {outside[0]} gold and {outside[1]} predicted (note, code) pairs outside "
        "of them are left out"
    )


def _left_out(gold: dict[str, GoldNote], predictions: dict[str, PredictedNote], common: int) -> str:
    missing, extra = len(gold) - common, len(predictions) - common
    return f"; left out: {missing} gold notes without predictions, {extra} without gold" if missing or extra else ""


def _require_same_notes(here: dict[str, Any], there: dict[str, Any], name: str, other: str) -> None:
    missing = [note for note in here if note not in there]
    if missing:
        first = ", ".join(repr(note) for note in missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise InputError(
            f"{len(missing)} of the {len(here)} notes of {name} are not in {other}: {first}; "
            "complete the file, or pass --only-common to score the notes that are in both"
        )


Parse = Callable[[Any, Any], str]


def _parser() -> Parse:
    """`Ontology.parse`, which is asked about each spelling once."""
    ontology, known = load_ontology("icd9cm"), dict[tuple[Any, Any], str]()

    def parse(text: Any, kind: Any) -> str:
        if not isinstance(text, str):
            raise InputError(f"a code is text in quotes, not {text!r}: numbers lose leading zeros")
        if kind not in (None, "diagnosis", "procedure"):
            raise InputError(f'the kind of {text!r} is "diagnosis" or "procedure", not {kind!r}')
        if (text, kind) not in known:
            known[text, kind] = ontology.parse(text, kind)
        return known[text, kind]

    return parse


def _lines(path: str | Path) -> Iterator[tuple[int, str]]:
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                except UnicodeDecodeError as error:
                    raise InputError(f"{path}, line {number} is not UTF-8; convert the file to UTF-8") from error
                if text:
                    yield number, text
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _records(path: str | Path, read: Callable[[dict[str, Any]], Any]) -> Iterator[tuple[str, Any]]:
    seen: dict[str, int] = {}
    for number, text in _lines(path):
        try:
            line = json.loads(text)
            if not isinstance(line, dict) or not isinstance(line.get("note_id"), str) or not line["note_id"]:
                raise InputError('it needs a "note_id" in quotes: {"note_id": "...", ...}')
            if line["note_id"] in seen:
                raise InputError(f"note_id {line['note_id']!r} stands on line {seen[line['note_id']]} already")
            seen[line["note_id"]] = number
            yield line["note_id"], read(line)
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from error
        except (ValueError, RecursionError) as error:
            reason = f" ({error.msg} at column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
            raise InputError(f"{path}, line {number} is not valid JSON{reason}") from error
    if not seen:
        raise InputError(f"{path} holds no line")


def _predicted(line: dict[str, Any], parse: Parse) -> PredictedNote:
    if isinstance(line.get("probabilities"), dict):
        entries = [{"code": code, "probability": value} for code, value in line["probabilities"].items()]
    elif isinstance(line.get("codes"), list) and all(isinstance(entry, dict) for entry in line["codes"]):
        entries = line["codes"]
    else:
        raise InputError('it needs "codes": [{"code", "probability"}, ...] or "probabilities": {code: probability}')
    codes = tuple(parse(entry.get("code"), entry.get("kind")) for entry in entries)
    _require_once(codes)
    values = tuple(entry.get("probability") for entry in entries)
    for code, value in zip(codes, values, strict=True):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise InputError(f"the probability of {code} is {value!r}, not a number between 0 and 1")
    flags, ranks = ([entry.get(name) for entry in entries] for name in ("accepted", "rank"))
    has_flags = all(isinstance(flag, bool) for flag in flags)
    has_ranks = all(type(rank) is int and 0 < rank < 2**53 for rank in ranks) and len(set(ranks)) == len(ranks)
    return PredictedNote(
        codes,
        np.array(values, dtype=np.float64),
        np.array(ranks, dtype=np.int64) if has_ranks else None,
        np.array(flags, dtype=np.bool_) if has_flags else None,
    )


def _gold(line: dict[str, Any], parse: Parse) -> GoldNote:
    fields = [("codes", None)] if "codes" in line else [("diagnoses", "diagnosis"), ("procedures", "procedure")]
    if not any(isinstance(line.get(name), list) for name, _ in fields):
        raise InputError('it needs "codes": [...], or "diagnoses": [...] and "procedures": [...]')
    codes = tuple(dict.fromkeys(parse(code, kind) for name, kind in fields for code in line.get(name) or ()))
    patient = line.get("patient_id")
    if patient is not None and (not isinstance(patient, str) or not patient):
        raise InputError("patient_id is text in quotes")
    return GoldNote(codes, patient)


def _require_once(codes: tuple[str, ...]) -> None:
    if len(set(codes)) < len(codes):
        twice = next(code for code in codes if codes.count(code) > 1)
        raise InputError(f"the code {twice} stands there twice")
