"""Notes as plain text files, without codes: one file, or every .txt of a folder and its subfolders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from concept_icd.corpora.reading import Entry, Failure, decode, flaw, strictly
from concept_icd.errors import InputError
from concept_icd.records import CodedNote, Note


def read_text_folder(path: str | Path) -> list[CodedNote]:
    """The notes of a folder's .txt files, in the order of their names, or of one text file.

    A note's id is the file's name relative to the folder, e.g. "radiology/chest.txt".

    Raises:
        InputError: nothing there, a file that is empty, is not UTF-8 or holds NUL bytes.
    """
    return strictly(entries(Path(path)))


def entries(path: Path) -> Iterator[Entry]:
    """One entry a file; see `reading`."""
    if not path.exists():
        raise InputError(f"cannot read {path}: no such file or folder")
    folder = path if path.is_dir() else path.parent
    files = sorted(path.rglob("*.txt"), key=lambda file: file.relative_to(path).as_posix()) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} holds no .txt file")
    for file in files:
        note_id = file.relative_to(folder).as_posix()
        try:
            yield CodedNote(Note(note_id, _text(file)))
        except InputError as error:
            yield Failure(str(file), str(error), note_id)


def _text(file: Path) -> str:
    try:
        text = decode(file.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}") from error
    if reason := flaw(text):
        raise InputError(reason)
    return text
