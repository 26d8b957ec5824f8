"""Paragraphs of an RTF file with their style names. It knows what NCHS's files need of RTF, and nothing of codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_STYLE = re.compile(r"\\s(\d+)\\[^{}]*?\s([^\\{};]+);\}")
_STYLE_USE = re.compile(r"\\s(\d+)(?=\\)")
_INDENT = re.compile(r"\\(fi|li)(-?\d+)")
_HIDDEN = re.compile(r"\{\\\*[^{}]*\}")  # bookmarks and the like: groups that a reader may skip
_CONTROL = re.compile(r"\\([a-z]+)(-?\d+)? ?")
_BYTE = re.compile(r"\\'([0-9a-fA-F]{2})")
_CHARACTERS = {
    "tab": "\t",
    "line": "\n",
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
        indent: where its first line starts, in twentieths of a point.
    """

    text: str
    style: str
    indent: int


def read_paragraphs(rtf: str) -> Iterator[Paragraph]:
    """The paragraphs that hold text, in order. `rtf`: the file's content, decoded as Windows-1252."""
    start = rtf.find("{\\stylesheet")
    names = {number: name.strip() for number, name in _STYLE.findall(_style_sheet(rtf, start))}
    style, indents = "", {"fi": 0, "li": 0}
    # What follows the last \par is no text but the end of the file's tables.
    for chunk in re.split(r"\\par\b ?", rtf[start:])[:-1]:
        # A paragraph's properties come before its text; \pard forgets those of the one before.
        _, reset, rest = chunk.rpartition("\\pard")
        if reset:
            style, indents = "", {"fi": 0, "li": 0}
        if use := _STYLE_USE.search(rest):
            style = names.get(use[1], "")
        indents.update((name, int(value)) for name, value in _INDENT.findall(rest))
        text = _plain(rest)
        if text.strip():
            yield Paragraph(text.strip(), style, indents["fi"] + indents["li"])


def _style_sheet(rtf: str, start: int) -> str:
    depth = 0
    for brace in re.finditer(r"[{}]", rtf[start:]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return rtf[start : start + brace.end()]
    return ""


def _plain(rtf: str) -> str:
    text = _CONTROL.sub(_character, _HIDDEN.sub("", rtf))
    text = re.sub(r"[{}\r\x00]|(?<!\x01)\n", "", text).replace("\x01", "")
    text = _BYTE.sub(lambda match: bytes.fromhex(match[1]).decode("cp1252", "replace"), text)
    return re.sub(r"\\([\\{}])", r"\1", text.replace("\\~", " ").replace("\\_", "-"))


def _character(control: re.Match[str]) -> str:
    if control[1] == "u" and control[2]:
        return chr(int(control[2]) % 65536)
    found = _CHARACTERS.get(control[1], "")
    return "\x01\n" if found == "\n" else found  # marked: bare line ends in the file mean nothing
