"""A note's words as the lexicon of passages compares them: hashes of words and stems, in pieces, with their places.

Words are kept as hashes; see `experts.words` on what this keeps from being read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from concept_icd.records import Note
from concept_icd.text.words import fold, singular

_WORD = re.compile(r"[^\W_]+")
#: No phrase goes over these. The stops of "T.A.C." are none.
_BORDER = re.compile(r"\.\s|[;:\n()]")
#: Letters by which two words are one stem.
STEM = 6
#: Words before a passage, within its border, that count whatever their distance.
BEFORE = 6
Place = tuple[int, int]
#: Where a word stands beside a passage: next but one before it, next before it, next after it, or some way before it.
CONTEXTS = "21+-"


@lru_cache(maxsize=200_000)
def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=7).digest(), "little")  # 56 bits: an int64


@dataclass(frozen=True, eq=False)
class ReadNote:
    """The words of a note, in order: hashes of the words and of their stems, the piece of the text that each is in
    (no phrase goes over pieces), and where it stands in the note as it was given."""

    words: list[int]
    stems: list[int]
    piece: list[int]
    span: list[Place]

    @classmethod
    def of(cls, note: Note) -> ReadNote:
        """Reads a note."""
        normalized, number, last = note.normalized, 0, 0
        read = cls([], [], [], [])
        for match in _WORD.finditer(normalized.text):
            number += bool(_BORDER.search(normalized.text, last, match.start()))
            last = match.end()
            word = singular(fold(match[0]))
            read.words.append(_hash(word))
            read.stems.append(_hash(word[:STEM]))
            read.piece.append(number)
            read.span.append(normalized.given(*match.span()))
        return read

    def around(self, place: Place) -> Iterator[tuple[str, int]]:
        """What stands around a passage: the two words before it, the one after it, and those some way before it."""
        first, last = place
        for name, at, near in (("1", first - 1, first), ("2", first - 2, first), ("+", last + 1, last)):
            inside = 0 <= at < len(self.words) and self.piece[at] == self.piece[near]
            yield name, self.words[at] if inside else 0
        for at in range(first - 1, max(first - 1 - BEFORE, -1), -1):
            if self.piece[at] != self.piece[first]:
                return
            yield "-", self.words[at]


def read_words(text: str) -> ReadNote:
    """The words of a text that is no note, such as a title."""
    return ReadNote.of(Note("", text))
