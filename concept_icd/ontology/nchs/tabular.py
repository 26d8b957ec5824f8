"""Reads a tabular list: what each code includes and excludes. It knows the layout of NCHS and no phrases' worth."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from concept_icd.errors import InputError
from concept_icd.ontology.nchs.files import CODE, read_text, tidy
from concept_icd.ontology.nchs.rtf import Paragraph, read_paragraphs
from concept_icd.ontology.phrases import plain_phrases

#: A heading: the code, then its title; a blank between them is sometimes forgotten.
_TITLE = re.compile(rf"({CODE}|\d\d)(?:\s+(?=\S)|(?=[A-Z]))(.+)")
_CHAPTER = re.compile(r"(?:[\dA-Z]{1,2}\. )?(.+?) ?\((\w+(?:-\w+)?)\)")
_OPENING = re.compile(r"(Excludes|Includes)\b:?\s*")
_NOTE = re.compile(r"Note\b|Use additional|Code (first|also)|Code, if|Requires? f|The following f|Omit code")


@dataclass
class TabularEntry:
    """What the tabular list says under one code (or under a range such as "001-139").

    Attributes:
        title: as printed, which may lean on the code above ("Kidney").
        inclusions: synonyms and conditions that the code takes in; "Diabetic:" above "acidosis" reads
            "Diabetic acidosis".
        includes, excludes: the entries under "Includes:" and "Excludes:", put together in the same way.
        notes: instructions ("Use additional code ...", "Code first ..."), notes and fifth-digit tables, as printed.
    """

    code: str
    title: str
    inclusions: list[str] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)
    excludes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Line:
    """One paragraph: where it belongs ("title" or a field of `TabularEntry`) and how deep it is in its list."""

    role: str
    text: str
    depth: int


def read_tabular(path: str | Path) -> dict[str, TabularEntry]:
    """The entries of a tabular list by code, in the order of the list.

    Raises:
        InputError: the file is missing, damaged or no tabular list.
    """
    text = read_text(Path(path))
    lines = _styled_lines(read_paragraphs(text)) if text.startswith("{\\rtf") else _plain_lines(text.splitlines())
    entries: dict[str, TabularEntry] = {}
    entry: TabularEntry | None = None
    stems: list[tuple[int, str]] = []  # (depth, words) of the lines ending in ":" that are still open
    for line in lines:
        if line.role == "title":
            code, _, title = line.text.partition("\t")
            entry, stems = entries.setdefault(code, TabularEntry(code, title)), []
            continue
        if entry is None:
            continue
        target: list[str] = getattr(entry, line.role)
        if line.role == "notes":
            target.append(line.text)
            continue
        stems = [(depth, words) for depth, words in stems if depth < line.depth]
        words = " ".join([*(words for _, words in stems), line.text])
        if line.text.endswith(":"):
            stems.append((line.depth, line.text.rstrip(": ")))
        else:
            target.append(words)
    if len(entries) < 10:
        raise InputError(
            f"{path} does not read as a tabular list of ICD-9-CM; give Dtab12.zip, Ptab12.zip or their text"
        )
    return entries


def _styled_lines(paragraphs: Iterable[Paragraph]) -> Iterator[_Line]:
    """Roles and depths by the style names of NCHS, e.g. "4digits Excludes list1"; by the words where they err."""
    digits, opened = "", ("", "")  # of the last heading; the last list's role and the style it was opened in
    for paragraph in paragraphs:
        style, text = paragraph.style, tidy(paragraph.text)
        level, _, kind = style.partition("digits ")
        if style in ("Chapter", "Section"):
            if heading := _CHAPTER.fullmatch(text):
                yield _Line("title", f"{_range(heading[2])}\t{heading[1]}", 0)
        elif (style.endswith("Level") or re.match(rf"{CODE}\t", paragraph.text)) and (title := _TITLE.fullmatch(text)):
            digits, opened = str(len(title[1].replace(".", "").lstrip("E"))), ("", "")
            yield _Line("title", f"{title[1]}\t{title[2]}", 0)
        elif opening := _OPENING.match(text):
            opened = opening[1].lower(), kind
            if rest := text[opening.end() :]:
                yield _Line(opened[0], rest, 0)
        elif _NOTE.match(text):
            opened = "notes", kind
            yield _Line("notes", text, 0)
        elif parts := re.fullmatch(r"(?:(Excludes|Includes) )?(?:head|line|list(\d))", kind):
            depth = int(parts[2] or 0)
            if parts[1]:
                yield _Line(parts[1].lower(), text, depth)
            elif opened[0] and (level != digits or opened[1] == kind):
                yield _Line(opened[0], text, depth)  # a list that goes on in another level's style
            else:
                yield _Line("inclusions", text, depth)
        elif re.match(r"\d(digits|table)", style) and "Bracket" not in style:
            yield _Line("notes", text, 0)


def _plain_lines(lines: Iterable[str]) -> Iterator[_Line]:
    """The same from a conversion that lost the styles: by the words that open a list, and by the case of items."""
    role, depth, code = "inclusions", 0, ""
    headings: set[str] = set()
    for text in map(tidy, lines):
        heading, title, opening = _CHAPTER.fullmatch(text), _TITLE.fullmatch(text), _OPENING.match(text)
        if not text or re.fullmatch(r"\[[\d\W]*\]", text):
            continue
        if heading and heading[1].isupper():
            role, depth, code = "inclusions", 0, heading[2].partition("-")[0]
            yield _Line("title", f"{_range(heading[2])}\t{heading[1]}", 0)
        elif title and (_follows(title[1], code) or text in headings):  # a section may list its headings beforehand
            role, depth, code = "inclusions", 0, title[1]
            headings.add(text)
            yield _Line("title", f"{title[1]}\t{title[2]}", 0)
        elif opening:
            role, depth = opening[1].lower(), 0
            if rest := text[opening.end() :]:
                yield _Line(role, rest, 0)
                depth = int(rest.endswith(":"))
        elif _NOTE.match(text):
            role = "notes"
            yield _Line(role, text, 0)
        else:
            if text[0].isupper() and not text.startswith("NOS"):
                depth = 0
            yield _Line(role, text, depth)
            depth = min(depth + 1, 3) if text.endswith(":") else depth


def _range(codes: str) -> str:
    """ "042" -> "042-042": chapters and sections of one category are ranges too."""
    return codes if "-" in codes else f"{codes}-{codes}"


def _follows(code: str, previous: str) -> bool:
    """Whether a line that begins with a code can be the next heading, not a cross-reference inside a note."""
    if not previous or (code[0] != previous[0] and code[0].isalpha()):
        return True
    same_length = len(code.partition(".")[0]) == len(previous.partition(".")[0])
    return same_length and code >= previous


def inclusion_phrases(path: str | Path, codes: Iterable[str]) -> dict[str, list[str]]:
    """Code -> its inclusion terms in the tabular list, fit for a question ("NOS" and bracketed words left out).

    Codes of a category with a shared list of fifth digits have none of their own: ask for their ancestors too.
    """
    entries = read_tabular(path)
    return {code: list(plain_phrases(entries[code].inclusions)) if code in entries else [] for code in codes}
