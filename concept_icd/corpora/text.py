"""Notes as plain text files, without codes: one file, or every .txt and .text of a folder and its subfolders."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from concept_icd.corpora.reading import Entry, Failure, decode, flaw, strictly, without_duplicates
from concept_icd.errors import InputError
from concept_icd.files import ending, printable, read_bytes
from concept_icd.progress import say
from concept_icd.records import CodedNote, Note

#: In any case, plain or gzipped.
ENDINGS = (".txt", ".text")


def read_text_folder(path: str | Path) -> list[CodedNote]:
    """The notes of a folder's .txt and .text files, in the order of their names, or of one text file.

    A note's id is the file's name relative to the folder, e.g. "radiology/chest.txt". What else lies there is left
    alone, and how much that is is said on stderr.

    Raises:
        InputError: nothing there, a file that is empty, too long, not UTF-8 or holds NUL bytes.
    """
    return strictly(entries(Path(path)))


def entries(path: Path, *, told: bool = False) -> Iterator[Entry]:
    """One entry a file; see `reading`. `told`: that it is text, so that JSON, RTF and PDF are notes too."""
    if not path.exists():
        raise InputError(f"cannot read {printable(path)}: no such file or folder")
    files, left_alone = note_files(path) if path.is_dir() else ([path], Counter[str]())
    alone = ", ".join(f"{number} {what}" for what, number in sorted(left_alone.items()))
    if not files:
        raise InputError(f"{printable(path)} holds no .txt file" + (f"; left alone: {alone}" if alone else ""))
    if alone:
        say(f"{printable(path)}: {len(files)} .txt files are notes; left alone: {alone}")
    folder = path if path.is_dir() else path.parent
    named = ((file, printable(file.relative_to(folder))) for file in files)
    return without_duplicates((printable(file), _entry(file, note_id, told)) for file, note_id in named)


def note_files(folder: Path) -> tuple[list[Path], Counter[str]]:
    """The text files at any depth, by name; and what was left alone, in words -> how many files.

    Hidden files are no notes: macOS leaves `._a.txt` beside a.txt on other systems' disks and in zip files. Links are
    followed to files inside the folder only.
    """
    files: list[Path] = []
    left_alone: Counter[str] = Counter()
    inside = folder.resolve()

    def unreadable(_: OSError) -> None:
        left_alone["folders that may not be read"] += 1

    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        linked = [name for name in folders if (Path(place) / name).is_symlink()]  # os.walk does not enter them
        left_alone["links to folders"] += len(linked)
        for name in names:
            file = Path(place) / name
            if name.startswith("."):
                left_alone["hidden files"] += 1
            elif ending(name) not in ENDINGS:
                left_alone["files of other endings"] += 1
            elif file.is_symlink() and not file.resolve().is_relative_to(inside):
                left_alone["links out of the folder"] += 1
            elif not file.is_file():
                left_alone["pipes, devices or broken links"] += 1
            else:
                files.append(file)
    return sorted(files, key=lambda file: file.relative_to(folder).as_posix()), +left_alone


def _entry(file: Path, note_id: str, told: bool) -> Entry:
    try:
        text = decode(_bytes(file))
        if reason := flaw(text) or (None if told else _other_format(text)):
            raise InputError(reason)
        return CodedNote(Note(note_id, text))
    except InputError as error:
        return Failure(printable(file), str(error), note_id)


def _other_format(text: str) -> str | None:
    """Why a text is no note, by its first characters, or None: markup and records are not what was written."""
    start = text.lstrip()
    if start.startswith(("{\\rtf", "%PDF-")):
        return "it is an RTF or a PDF file, not plain text; convert it (or pass --format text)"
    if re.match(r'\[?\s*\{\s*"[^"]*"\s*:', start):
        return "it holds JSON, not a note; name it .jsonl or .json, or say what it is with --format"
    return None


def _bytes(file: Path) -> bytes:
    """The place stands before the sentence already, so the sentence does without it."""
    try:
        return read_bytes(file)
    except InputError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.strerror:
            raise InputError(f"cannot be read: {cause.strerror}") from error
        raise InputError(str(error).removeprefix("cannot read ").removeprefix(printable(file)).lstrip(": ")) from error
