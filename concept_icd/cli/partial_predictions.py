"""Predictions of a corpus that grow in a file beside the output, so that the same command goes on where it was.

OUT.partial   its first line says what it is of (coder, notes, options), by hash; then one JSON line a note, in the
              order of the corpus. When the last note is coded it becomes OUT, without its first line, or as a table.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from concept_icd.artifacts import loads
from concept_icd.errors import InputError
from concept_icd.outputs import new_file, private_folder, require_no_input, writing
from concept_icd.records import Note

_KIND = "predictions under way"


def begun_with(out: Path) -> dict[str, Any]:
    """What the predictions under way to `out` were begun with; nothing where there are none."""
    path = out.with_name(f"{out.name}.partial")
    try:
        with path.open("rb") as file:
            head = _record(file.readline()) or {}
    except OSError:
        return {}
    return head if head.get("kind") == _KIND else {}


def is_predictions(path: Path) -> bool:
    """Whether a file is empty, begins with a prediction, or is a table of them."""
    from concept_icd.readers.long_tables import is_ours

    with writing(path), open(path, "rb") as file:
        first = _record(file.readline())
        lines = bool(first and {"note_id", "codes", "versions"} <= first.keys())
        return not path.stat().st_size or lines or is_ours(path)


class Partial:
    """The file that grows; see the module. It is locked while it is open."""

    def __init__(self, path: Path, file: BinaryIO, done: int) -> None:
        self.path, self.done = path, done
        self._file = file

    @classmethod
    @contextmanager
    def begun(cls, out: Path, notes: Sequence[Note], made_by: Mapping[str, Any]) -> Iterator[Partial]:
        """Opens the file of this output, new or begun before; its `done` says how many notes it holds.

        Args:
            made_by: what decides the results, as JSON holds it.

        Raises:
            InputError: it was begun with something else, is no such file, or another process writes it.
        """
        import fcntl

        path = out.with_name(f"{out.name}.partial")
        require_no_input(path, own=True)
        with writing(path):
            private_folder(path.parent)
            file = open(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600), "r+b")  # noqa: SIM115
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise InputError(f"another process is writing {path}; wait until it has ended, or stop it") from error
        try:
            with writing(path):
                done = _begin(path, file, notes, {"kind": _KIND, **made_by})
            yield cls(path, file, done)
        finally:
            with suppress(OSError):  # a full disk was told where it was met; what is whole stays
                file.close()
            if path.is_file() and not path.stat().st_size:
                path.unlink()

    def add(self, record: Mapping[str, Any]) -> None:
        """Keeps the next note's result; it is in the file when this returns."""
        with writing(self.path):
            self._file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            self._file.flush()

    def finish(self, out: Path, form: str = "jsonl") -> None:
        """Makes the file the output, as it is or as a table.

        Args:
            form: "jsonl", or "csv" and "parquet" for a row a code.
        """
        from concept_icd.readers.long_tables import write_table

        self._file.seek(0)
        self._file.readline()
        with new_file(out, own=True) as staging:
            if form != "jsonl":
                write_table(staging, form, map(json.loads, self._file))
            else:
                with staging.open("wb") as whole:
                    while block := self._file.read(2**20):
                        whole.write(block)
        self.path.unlink()


def _begin(path: Path, file: BinaryIO, notes: Sequence[Note], made_by: dict[str, Any]) -> int:
    """Checks the first line, or writes it; cuts off a line that a kill left unfinished; leaves the file at its end."""
    wanted, head = json.dumps(made_by).encode() + b"\n", file.readline()
    if head != wanted:
        begun = _record(head)
        if not wanted.startswith(head) and (begun is None or begun.get("kind") != _KIND):
            raise InputError(f"{path} is no file that this command began; move it away or name another --out")
        if begun is not None and (changed := [name for name in made_by if begun.get(name) != made_by[name]]):
            raise InputError(
                f"{path} was begun with other settings ({', '.join(changed)}); go on with those, name another --out, "
                "or delete it to begin again"
            )
        file.seek(0)  # new, or killed within its first line
        file.truncate()
        file.write(wanted)
        file.flush()
        return 0
    end, done = len(head), 0
    for line in file:
        record = _record(line) if line.endswith(b"\n") else None
        if record is None or done == len(notes) or record.get("note_id") != notes[done].note_id:
            break
        end, done = end + len(line), done + 1
    file.seek(end)
    file.truncate()
    return done


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        found = loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
