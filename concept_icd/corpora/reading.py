"""What every reader shares: one note that cannot be read is a `Failure`, and the others are read all the same.

A reader is a generator of `CodedNote | Failure`. It raises `InputError` only when the whole source is unreadable.
It knows nothing of how the caller treats failures: `strictly` raises the first one, `leniently` collects them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from concept_icd.errors import InputError, counted
from concept_icd.records import CodedNote, OneLine
from concept_icd.text.normalization import normalize


@dataclass(frozen=True, repr=False)
class Failure(OneLine):
    """A note that could not be read.

    Attributes:
        place: file and line, or file, e.g. "notes.jsonl, line 12".
        reason: what is wrong and what mends it, without any of the note's text.
        note_id: the note's id, where it was readable.
    """

    place: str
    reason: str
    note_id: str | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


#: What a reader yields.
Entry = CodedNote | Failure


def strictly(entries: Iterable[Entry]) -> list[CodedNote]:
    """The notes.

    Raises:
        InputError: there is a failure; the sentence is that of the first one, and says how many there are.
    """
    notes, failures = leniently(entries)
    if failures:
        more = f"; {counted(len(failures) - 1, 'more note')} cannot be read" if len(failures) > 1 else ""
        raise InputError(f"{failures[0]}{more}")
    return notes


def leniently(entries: Iterable[Entry]) -> tuple[list[CodedNote], list[Failure]]:
    """The notes that can be read, and the failures, both in the order of the source."""
    notes, failures = [], []
    for entry in entries:
        if isinstance(entry, Failure):
            failures.append(entry)
        else:
            notes.append(entry)
    return notes, failures


def without_duplicates(entries: Iterable[tuple[str, Entry]]) -> Iterator[Entry]:
    """The entries, given with their places; the second note of one id is a failure."""
    places: dict[str, str] = {}
    for place, entry in entries:
        if isinstance(entry, CodedNote):
            note_id = entry.note.note_id
            if note_id in places:
                reason = f"the note id {note_id!r} is taken already ({places[note_id]}); ids must be unique"
                entry = Failure(place, reason, note_id)
            places.setdefault(note_id, place)
        yield entry


def flaw(text: str) -> str | None:
    """Why this text cannot be a note, or None."""
    if not re.search("[A-Za-z0-9]", text) and not normalize(text).text:
        return "the note is empty"
    if (place := text.find("\0")) >= 0:
        return f"the note holds a NUL character (character {place}); is it a text file?"
    return None


def decode(data: bytes) -> str:
    """UTF-8 bytes as text, exactly, without a byte-order mark.

    Raises:
        InputError: not UTF-8; says at which byte.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}; convert it, for example with iconv") from error
