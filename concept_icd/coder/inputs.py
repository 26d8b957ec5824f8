"""What one may hand to a coder: a text, a `Note`, or a list of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from concept_icd.errors import InputError
from concept_icd.records import CodedNote, Note

_WANTED = "a coder takes a text, a Note or a list of them, not "


def notes_of(given: Any) -> tuple[list[Note], bool]:
    """The notes, and whether one was given and no list. A text in a list has its place as id, from "0" up.

    >>> notes_of("Cough.")
    ([Note(note_id='note', text=<6 characters>, patient_id=None, age=None, sex=None, drugs=<0 items>)], True)

    Raises:
        TypeError: it is something else. InputError: two notes have one id.
    """
    if isinstance(given, (str, Note)):
        return [_note(given, "note")], True
    if hasattr(type(given), "columns") or hasattr(type(given), "column_names"):
        raise TypeError(f"{_WANTED}a table: coder.code_frame(table, text=COLUMN, id=COLUMN) codes one")
    if isinstance(given, (bytes, dict, CodedNote)) or not isinstance(given, Iterable):
        raise TypeError(f"{_WANTED}{_kind(given)}")
    notes = [_note(one, str(place), f", and number {place} is ") for place, one in enumerate(given)]
    require_unique([note.note_id for note in notes])
    return notes, False


def require_unique(ids: Iterable[str]) -> None:
    """InputError where two notes have one id: results could not be told apart."""
    seen = set[str]()
    for note_id in ids:
        if note_id in seen:
            raise InputError(f"two notes have the id {note_id!r}; ids must be unique")
        seen.add(note_id)


def _note(one: Any, note_id: str, where: str = "") -> Note:
    if isinstance(one, Note):
        return one
    if not isinstance(one, str):
        raise TypeError((f"{_WANTED[:-6]}{where}" if where else _WANTED) + _kind(one))
    return Note(note_id, str(one))


def _kind(thing: Any) -> str:
    """The kind in words, with what to do instead where there is something."""
    name = type(thing).__name__
    if isinstance(thing, CodedNote):
        return "a CodedNote: gold codes must not reach it (its .note may)"
    if isinstance(thing, bytes):
        return "bytes: decode them first"
    if hasattr(thing, "read_text"):
        return f"a {name}: read the file first (.read_text())"
    return "None" if thing is None else f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
