"""Text as it is read: characters that a reader cannot see or tell apart are written in one way, with a map back.

A note that was copied from a word processor, a PDF file or a web page holds no-break spaces, soft hyphens, typographic
quotes and words divided at a line's end. A reader does not see them; a tokenizer and every rule about words do. What
reads a note's text reads `Note.normalized.text`; `NormalizedText.given` leads from there to the note as it was given.

What becomes one:

- Spaces: every Unicode space and the tab is a space; a run of them is one; none stands at a line's or the text's end.
- Line ends (CR LF, CR, NEL, U+2028, U+2029, vertical tab, form feed) are line feeds; three and more of them are two,
  the end of a paragraph. A single line end is a space where a line was only full: 40 characters and more without a
  mark at its end, and the next line goes on in lower case without a colon (a heading has one). Any other line end
  stays what it is: it may end the item of a list, and denials end there.
- Invisible marks go: soft hyphens, zero-width marks, byte-order marks, marks of direction, variation selectors (the
  default-ignorable code points of Unicode Standard Annex 44) and control characters. What Windows-1252 has in the place
  of a C1 control (U+0092 for an apostrophe) is read as that.
- Dashes and the minus are hyphens; quotes, primes and the acute accent that stands alone are apostrophes or quotation
  marks; an ellipsis is three stops; the ordinal sign and the ring that stand for a degree sign are one.
- Ligatures (U+FB01), full-width forms, Roman numerals, letters of mathematics, units of one character (U+338E) and the
  micro sign are what Unicode calls compatible (NFKC). All text is in its composed form (NFC).
- A word divided at a line's end is one word; see `divided_words`.

What stays, since it says something that its NFKC form does not: superscripts and subscripts (ten to the ninth is not
109), fractions (one and a half is not 11/2), the numero sign (it is not "No"), comparison signs, bullets, accents.

Plain ASCII text with single spaces, and line feeds after sentences, headings and items alone, comes out as it went in,
so nothing that was fitted on such text changes. Normalised text is a fixed point.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from concept_icd.errors import OneLine
from concept_icd.text.divided_words import LINE_HYPHEN, line_hyphens

_LINE_END = "[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]"
#: Default_Ignorable_Code_Point of Unicode 16 and the marks of annotations (U+FFF9 to U+FFFB), but the fillers below,
#: which show as a blank.
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f"
    "\ufeff\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
#: What goes: these, and control characters that Windows-1252 leaves empty too.
_DROPPED = re.compile(f"[{_IGNORABLE}\x00-\x08\x0e-\x1b\x7f\x81\x8d\x8f\x90\x9d]+")
#: What NFKC writes as a reader reads it: digraphs, long s, letter-like units, Roman numerals, squared units, ligatures,
#: numbers with their stop, small, half- and full-width forms, letters of mathematics.
_COMPATIBLE = re.compile(
    "[\u0132\u0133\u013f\u0140\u0149\u017f\u01c4-\u01cc\u01f1-\u01f3\u00b5\u2024-\u2026\u2103\u2109\u2113\u2160-\u217f"
    "\u2488-\u249b\ufe50-\ufe6b\u3371-\u33df\ufb00-\ufb06\uff01-\uffee\U0001d400-\U0001d7ff]"
)
_WRITTEN = {
    **dict.fromkeys("\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", "\n"),
    **dict.fromkeys("\t\x1f\u2800\u3164\uffa0", " "),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\u2e3a\u2e3b\u058a\ufe58\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2035\u2039\u203a\u00b4\u02b9\u02bb\u02bc\u02bd\u02c8\ua78c", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u2036\u00ab\u00bb\u02ba\u02ee", '"'),
    **dict.fromkeys("\u00ba\u02da", "\u00b0"),
    **dict.fromkeys("\u2044\u2215", "/"),
    **dict.fromkeys("\u223c\u02dc", "~"),
    "\u2217": "*",
    "\u2236": ":",
    "\u2034": "'''",
}
#: A soft hyphen at a line's end: the word goes on in the next line, whatever the vocabulary knows.
_SOFT_END = re.compile(
    f"(?<=[^\\W\\d_])\u00ad[{_IGNORABLE}]*[^\\S\n\r]*(?:\r\n|{_LINE_END})(?:[^\\S\n\r]|[{_IGNORABLE}])*(?=[^\\W_])",
)
#: CR LF; a run that is not ASCII, with the character before it, which it may mark; white space that is no space.
_ODD = re.compile("\r\n|[\x00-\x7f]?[^\x00-\x7f]+|[\t\x0b-\r\x1c-\x1f]")
_WHITE = re.compile(r"\A[ \n]+|[ \n]+\Z|[ \n]{2,}")
#: A line end within a sentence, if the line before it is `_FULL` characters long and the next is in lower case.
_WRAP = re.compile(r"(?<=[\w,)])\n(?=[^\W\d_])(?![^\n]{0,59}:)")
_FULL = 40
_LINE_FEEDS = re.compile("\n+")
#: White space that means nothing within a text.
_NOTHING = ("  ", " \n", "\n ", "\n\n\n")


class _Characters(dict[int, str]):
    """Code point -> what is written for it, for `str.translate`; each is worked out once."""

    def __missing__(self, code: int) -> str:
        self[code] = written = _written(chr(code))
        return written


_CHARACTERS = _Characters()


def _written(character: str) -> str:
    if (known := _WRITTEN.get(character)) is not None:
        return known
    if unicodedata.category(character) == "Zs":
        return " "
    if "\x80" <= character <= "\x9f":
        return _CHARACTERS[ord(character.encode("latin-1").decode("cp1252"))]
    if _COMPATIBLE.match(character):
        return "".join(_WRITTEN.get(part, part) for part in unicodedata.normalize("NFKC", character))
    return character


@dataclass(frozen=True)
class _Edits:
    """Passages of a text that were written anew: [before_start, before_end) became [start, end), in order."""

    start: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)
    before_start: list[int] = field(default_factory=list)
    before_end: list[int] = field(default_factory=list)

    def first(self, place: int) -> int:
        """The first character that the one at `place` stands for."""
        at = bisect_right(self.start, place) - 1
        if at < 0:
            return place
        return self.before_start[at] if place < self.end[at] else self.before_end[at] + place - self.end[at]

    def after(self, place: int) -> int:
        """The place after the last character that the one before `place` stands for."""
        at = bisect_right(self.start, place - 1) - 1
        if at < 0:
            return place
        return self.before_end[at] + max(0, place - self.end[at])


@dataclass(frozen=True, repr=False)
class NormalizedText(OneLine):
    """A text as it is read.

    Attributes:
        text: see the module.
    """

    text: str = field(repr=False)
    _steps: tuple[_Edits, ...] = field(default=(), repr=False)

    def given(self, start: int, end: int) -> tuple[int, int]:
        """Where in the text as it was given the characters from `start` up to `end` of `text` stand.

        Marks between them are inside the span, marks around it are not.

        >>> found = normalize("Left\\u00a0lobe  pneu\\u00admonia.")
        >>> found.text[10:19], found.given(10, 19)
        ('pneumonia', (11, 21))
        """
        if end <= start:
            end = start
        empty = end == start
        for edits in reversed(self._steps):
            start, end = edits.first(start), edits.after(end)
        return (start, start) if empty else (start, end)


def normalize(text: str) -> NormalizedText:
    """The text as it is read; see the module."""
    steps: list[_Edits] = []
    if "\u00ad" in text:
        text = _edit(text, _SOFT_END, _nothing, steps)
    text = _edit(text, _DROPPED, _nothing, steps)
    if not text.isascii() or _ODD.search(text):
        text = _edit_characters(_without_heaps(text, steps), steps)
    if text != text.strip(" \n") or any(nothing in text for nothing in _NOTHING):
        text = _edit(text, _WHITE, _white, steps)
    while (
        "-\n" in text
        and LINE_HYPHEN.search(text)
        and (joined := _edit(text, LINE_HYPHEN, line_hyphens(text), steps)) != text
    ):
        text = joined
    if _WRAP.search(text):
        text = _edit(text, _LINE_FEEDS, _wraps(text), steps)
    return NormalizedText(text, tuple(step for step in steps if step.start))


def _nothing(match: re.Match[str]) -> str:
    return ""


def _without_heaps(text: str, steps: list[_Edits]) -> str:
    """At most 30 marks on a character, as in Unicode's Stream-Safe text: to compose more takes time by their square."""
    marks = "".join(character for character in sorted(set(text)) if unicodedata.combining(character))
    heap = f"[{marks}\uff9e\uff9f]"
    return _edit(text, re.compile(f"(?<={heap}{{30}}){heap}+"), _nothing, steps) if marks else text


def _white(match: re.Match[str]) -> str:
    if match.start() == 0 or match.end() == len(match.string):
        return ""
    return "\n" * min(2, match[0].count("\n")) or " "


def _wraps(text: str) -> Callable[[re.Match[str]], str]:
    """Writes the line feeds of a text: a space for one within a sentence."""
    line = 0  # where the line begins, as it is after the line ends before it were written

    def write(match: re.Match[str]) -> str:
        nonlocal line
        if match.start() - line >= _FULL and _WRAP.match(text, match.start()) and text[match.end()].islower():
            return " "
        line = match.end()
        return match[0]

    return write


def _edit(text: str, pattern: re.Pattern[str], write: Callable[[re.Match[str]], str], steps: list[_Edits]) -> str:
    """Writes what a pattern finds anew; `steps` gets the edits."""
    edits, kept, place, length = _Edits(), list[str](), 0, 0
    for match in pattern.finditer(text):
        written = write(match)
        if written == match[0]:
            continue
        kept += [text[place : match.start()], written]
        length += match.start() - place
        _add(edits, match.start(), match.end(), length, written)
        length += len(written)
        place = match.end()
    steps.append(edits)
    return "".join([*kept, text[place:]])


def _add(edits: _Edits, before_start: int, before_end: int, start: int, written: str) -> None:
    edits.start.append(start)
    edits.end.append(start + len(written))
    edits.before_start.append(before_start)
    edits.before_end.append(before_end)


def _edit_characters(text: str, steps: list[_Edits]) -> str:
    """The text with one writing a character; what did not change its length needs no entry in the map."""
    if "\r\n" not in text and all(len(_CHARACTERS[ord(character)]) == 1 for character in set(text)):
        written = text.translate(_CHARACTERS)
        if unicodedata.is_normalized("NFC", text) and unicodedata.is_normalized("NFC", written):
            return written
    edits, kept, place, length = _Edits(), list[str](), 0, 0
    for match in _ODD.finditer(text):
        if match[0] == "\r\n":
            parts = [(match[0], "\n")]
        elif _plain(match[0]) == match[0]:
            continue
        else:
            parts = [(part, _plain(part)) for part in _clusters(match[0])]
        kept.append(text[place : match.start()])
        length += match.start() - place
        place = match.start()
        for part, written in parts:
            if len(part) != len(written):
                _add(edits, place, place + len(part), length, written)
            kept.append(written)
            length, place = length + len(written), place + len(part)
    steps.append(edits)
    return "".join([*kept, text[place:]])


def _plain(text: str) -> str:
    composed = unicodedata.normalize("NFC", text).translate(_CHARACTERS)
    return unicodedata.normalize("NFC", composed)


def _clusters(run: str) -> list[str]:
    """A run in pieces that compose apart: a character with the marks that follow it."""
    starts = [place for place, character in enumerate(run) if not place or not _joins(character)]
    return [run[start:end] for start, end in pairwise([*starts, len(run)])]


def _joins(character: str) -> bool:
    """Whether it may become one with the character before it: marks, parts of Hangul, and what is not seen."""
    return unicodedata.category(character)[0] == "M" or "\u1160" <= character <= "\u11ff" or character in "\uff9e\uff9f"
