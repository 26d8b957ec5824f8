"""The notes that wait for a coder, each under a key that a URL can carry. Gold codes of a corpus are left behind."""

from __future__ import annotations

import hashlib
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from concept_icd.corpora import read_corpus_leniently
from concept_icd.errors import InputError, counted
from concept_icd.ontology.tree import DEFAULT
from concept_icd.progress import say
from concept_icd.records import Note
from concept_icd.resources import resource

#: Failures that are printed.
SHOWN = 5


class Worklist:
    """Notes by key, in their order. The key depends on id and text: another text of the same id is another review."""

    def __init__(self, notes: Iterable[Note]) -> None:
        self._notes = {key_of(note): note for note in notes}

    def __iter__(self) -> Iterator[tuple[str, Note]]:
        return iter(self._notes.items())

    def __len__(self) -> int:
        return len(self._notes)

    def get(self, key: str) -> Note | None:
        """The note, or None."""
        return self._notes.get(key)


def key_of(note: Note) -> str:
    """16 hex digits."""
    return hashlib.sha256(f"{note.note_id}\0{note.text}".encode()).hexdigest()[:16]


def read_worklist(
    path: Path | None,
    format: str | None,
    longest: int,
    columns: Mapping[str, str] | None = None,
    classification: str = DEFAULT,
) -> Worklist:
    """The notes of a corpus, or the sample notes of the package; says on stderr which could not be read.

    Args:
        longest: characters of a note. columns, classification: see `read_corpus`.

    Raises:
        InputError: nothing there, or no note that can be read.
    """
    source, format = path or resource("examples"), format or (None if path else "text")
    coded, failures = read_corpus_leniently(source, format, columns, classification)
    reasons, notes = [str(failure) for failure in failures], []
    for note in (entry.note for entry in coded):
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in note.note_id):
            reasons.append(f"the note id {note.note_id!r} has a control character, which no database or page can show")
        elif len(note.text) > longest:
            reasons.append(f"note {note.note_id!r} has {len(note.text):,} characters; {longest:,} are the most")
        else:
            notes.append(note)
    for reason in reasons[:SHOWN]:
        say(f"{reason}")
    if len(reasons) > SHOWN:
        say(f"{counted(len(reasons), 'note')} cannot be shown (the first {SHOWN} above)")
    if not notes:
        raise InputError(f"{path} holds no note that can be read")
    return Worklist(notes)


class Viewers:
    """The people who have a note open now. This is not recorded, and each server knows only its own people."""

    #: Seconds after which somebody who was not heard of has left.
    MEMORY = 15.0

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, float]] = {}

    def mark(self, key: str, person: str | None) -> None:
        """Remembers that the person looks at the note now."""
        if person is not None:
            now = time.monotonic()
            here = {name: seen for name, seen in dict(self._seen.get(key, {})).items() if seen > now - self.MEMORY}
            self._seen[key] = {**here, person: now}

    def others(self, key: str, person: str | None) -> list[str]:
        """The other people who look at it."""
        since = time.monotonic() - self.MEMORY
        return sorted(name for name, seen in dict(self._seen.get(key, {})).items() if seen > since and name != person)
