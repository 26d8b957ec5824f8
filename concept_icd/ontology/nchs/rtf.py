"""Paragraphs of an RTF file with their style names. It knows what NCHS's files need of RTF, and nothing of codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_STYLE = re.compile(r"\\s(\d+)\\[^{}]*?\s([^\\{};]+);\}")
_STYLE_USE = re.compile(r"\\s(\d+)(?=\\)")
_HIDDEN = re.compile(r"\{\\\*[^{}]*\}")  # bookmarks and the like: groups that a reader may skip
_CONTROL = re.compile(r"\\([a-z]+)(?:-?\d+)? ?")
_UNICODE = re.compile(r"\\u(-?\d+) ?(?:\\'[0-9a-fA-F]{2}|[^\\{}])")  # the character after it is for old readers
_BYTE = re.compile(r"\\'([0-9a-fA-F]{2})")
_CHARACTERS = {
    "tab": "\t",
    "line": "\x01",
    "lquote": "‘",
    "rquote": "’",
    "ldblquote": "“",
    "rdblquote": "”",
    "endash": "–",
    "emdash": "—",
}


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of a document.

    Attributes:
        style: the name of its paragraph style, e.g. "Three-digit Level"; "" for none.
    """

    text: str
    style: str


def read_paragraphs(rtf: str) -> Iterator[Paragraph]:
    """The paragraphs that hold text, in order. `rtf`: the file's content, decoded as Windows-1252."""
    start = rtf.find("{\\stylesheet")
    names = {number: name.strip() for number, name in _STYLE.findall(_style_sheet(rtf, start))}
    style = ""
    # What follows the last \par is no text but the end of the file's tables.
    for chunk in re.split(r"\\par\b ?", rtf[start:])[:-1]:
        # A paragraph's properties come before its text; \pard forgets those of the one before.
        _, reset, rest = chunk.rpartition("\\pard")
        if reset:
            style = ""
        if use := _STYLE_USE.search(rest):
            style = names.get(use[1], "")
        text = _plain(rest)
        if text.strip():
            yield Paragraph(text.strip(), style)


def _style_sheet(rtf: str, start: int) -> str:
    depth = 0
    for brace in re.finditer(r"[{}]", rtf[start:]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return rtf[start : start + brace.end()]
    return ""


def _plain(rtf: str) -> str:
    # Characters that mean something in RTF are put aside first: \x01 to \x03 stand for a line end, { and }.
    text = _HIDDEN.sub("", rtf.replace("\\{", "\x02").replace("\\}", "\x03"))
    text = _UNICODE.sub(lambda match: chr(int(match[1]) % 65536), text)
    text = _CONTROL.sub(lambda match: _CHARACTERS.get(match[1], ""), text)
    text = re.sub(r"[{}\r\n\x00]", "", text)  # line ends of the file mean nothing
    text = _BYTE.sub(lambda match: bytes.fromhex(match[1]).decode("cp1252", "replace"), text)
    text = text.replace("\\~", " ").replace("\\_", "-").replace("\\\\", "\\")
    return text.translate({1: "\n", 2: "{", 3: "}"})
