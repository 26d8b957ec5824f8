"""Where outputs may go: folders and files appear whole, by rename, and nothing of a user's is replaced.

Here alone is decided what may be replaced (`require_replaceable`), and who may read what is written: files are made
0600 and folders 0700, less what the umask takes away, since most of them hold notes, or what was decided on them.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError

from concept_icd.errors import InputError

MANIFEST = "manifest.json"


class _Stage(NamedTuple):
    """What tells a folder of a stage, beside a manifest of it, and what such a folder may hold.

    Attributes:
        files: names within the folder, as `fnmatch` patterns; anything else is the user's own.
        mark: a file, and words that stand at its beginning, for stages that write no manifest.
    """

    files: tuple[str, ...]
    mark: tuple[str, str] | None = None


_ADAPTER = (
    *("adapter_config.json", "adapter_model.safetensors", "question_tokens.safetensors", "concept_head.safetensors"),
)
#: A model as transformers saves it.
_MODEL = (
    *("config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "*.model"),
)
_TABLES = "ADMISSIONS D_ICD_DIAGNOSES D_ICD_PROCEDURES DIAGNOSES_ICD NOTEEVENTS PATIENTS PRESCRIPTIONS PROCEDURES_ICD"
_STAGES = {
    "prepare": _Stage(("notes.parquet",)),
    "prepare medications": _Stage(("matrices.safetensors", "stays.parquet", "inputs.parquet", "nodes.parquet")),
    "synth": _Stage(
        ("README.txt", "splits/*.csv", "splits/*.csv.gz", *(f"{name}.csv*" for name in _TABLES.split())),
        ("README.txt", "Tables in the shape of MIMIC-III v1.4, written by concept-icd synth"),
    ),
    "fit": _Stage(
        (
            *("coder.json", "concepts.json", "prompt.yaml", "heads.json", "heads.safetensors", "lexicon.json"),
            *("descent.json", "terms/terms.json", "words/words.json", "words/words.safetensors"),
            *("drugs/medications.json", "drugs/networks.safetensors"),
            *(f"adapter/{member}{name}" for member in ("", "*/") for name in _ADAPTER),
        )
    ),
    "evaluate": _Stage(("results.json", "report.html", "predictions.jsonl"), ("results.json", '"figures"')),
    "compare": _Stage(("compare.json", "compare.html"), ("compare.json", '"systems"')),
    "study": _Stage(
        (
            *("medications.json", "networks.safetensors", "history.json", "figures.json", "analyses.json"),
            "stays.safetensors",
        )
    ),
    "model": _Stage(_MODEL, ("config.json", '"model_type"')),
    # From which a warm-up goes on.
    "checkpoint": _Stage((*_MODEL, *_ADAPTER, "state.json", "optimizer.safetensors"), ("state.json", '"step"')),
}
#: What file managers put into any folder.
_CLUTTER = (".DS_Store", "Thumbs.db")
_inputs: ContextVar[tuple[Path, ...]] = ContextVar("inputs", default=())


@contextmanager
def reading(paths: Iterable[object]) -> Iterator[None]:
    """Within the block nothing is written over these files and folders, nor over a folder that holds one of them.

    Args:
        paths: what a command is to read; values that name nothing on this machine count for nothing.
    """
    found = (Path(str(path)).resolve() for path in paths if path is not None and os.path.exists(str(path)))
    token = _inputs.set((*_inputs.get(), *found))
    try:
        yield
    finally:
        _inputs.reset(token)


@contextmanager
def private_files() -> Iterator[None]:
    """What this process makes within the block is its user's alone, also what other libraries write."""
    before = os.umask(0o077)
    os.umask(before | 0o077)
    try:
        yield
    finally:
        os.umask(before)


def require_replaceable(path: str | Path, stage: str | None, *, overwrite: bool) -> Path:
    """The folder behind a name, links followed, if a stage may put its own in that place.

    Args:
        stage: the verb or part of one that will write the folder; one of those in this module, or
            None for a folder that is never replaced.

    Raises:
        InputError: there is something, and `overwrite` is False, or it is no folder of that very stage, holds files
            that the stage did not write, or is or holds an input (see `reading`) or the current folder.
    """
    with writing(Path(path)):
        target = Path(os.path.realpath(path))
    if not os.path.lexists(target):
        return target
    if not overwrite:
        raise InputError(f"{path} exists already; name another folder or pass --overwrite")
    if not target.is_dir():
        raise InputError(f"{path} is no folder; name another place, since --overwrite replaces folders alone")
    _refuse_above(target, path, [*_given(), (Path.cwd(), "the current folder")])
    files = _files_in(target)
    if stage is None or (files and not _wrote(target, stage)):
        raise InputError(
            f"{path} is no folder that this command wrote, and --overwrite replaces no other: name another folder "
            "(nothing was deleted)"
        )
    if foreign := [f for f in files if not any(fnmatch(f, pattern) for pattern in (MANIFEST, *_STAGES[stage].files))]:
        raise InputError(
            f"{path} holds what this command did not write ({', '.join(foreign[:3])}"
            f"{', ...' if len(foreign) > 3 else ''}): move that away or name another folder (nothing was deleted)"
        )
    return target


def require_own(path: str | Path, marks: Iterable[str]) -> None:
    """Checks a folder that grows and is resumed: it is new or empty, or holds one of the marks of its stage.

    Args:
        marks: names of files or folders in it.

    Raises:
        InputError: it is a folder of something else, or is or holds an input or the current folder.
    """
    target = Path(os.path.realpath(path))
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise InputError(f"{path} is no folder; name another place")
    if _files_in(target) and not any((target / mark).exists() for mark in marks):
        raise InputError(f"{path} holds files that this command did not write; name a new folder")
    _refuse_above(target, path, _given())


def _given() -> list[tuple[Path, str]]:
    return [(place, f"the input {place.name}") for place in _inputs.get()]


def _refuse_above(target: Path, path: str | Path, places: Iterable[tuple[Path, str]]) -> None:
    for place, what in places:
        if any(os.path.exists(above) and os.path.samefile(target, above) for above in (place, *place.parents)):
            raise InputError(f"{path} is or holds {what}: name another folder (nothing was deleted)")


def _files_in(folder: Path) -> list[str]:
    """Every file and link but file managers', and every folder that cannot be read, by its path within the folder."""
    found: list[str] = []

    def unreadable(error: OSError) -> None:
        found.append(os.path.relpath(error.filename, folder))

    for root, folders, files in os.walk(folder, onerror=unreadable):
        here = [*files, *(name for name in folders if os.path.islink(os.path.join(root, name)))]
        found += [Path(root, name).relative_to(folder).as_posix() for name in here]
    return sorted(file for file in found if file.rpartition("/")[2] not in _CLUTTER)


def _wrote(folder: Path, stage: str) -> bool:
    if (folder / MANIFEST).is_file():
        try:
            manifest = json.loads((folder / MANIFEST).read_bytes())
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(manifest, dict) and manifest.get("stage") == stage
    if (mark := _STAGES[stage].mark) is None or not (folder / mark[0]).is_file():
        return False
    with open(folder / mark[0], encoding="utf-8", errors="replace") as file:
        return mark[1] in file.read(4096)


@contextmanager
def new_folder(path: str | Path, stage: str | None = None, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its name when the block ends without an error.

    A folder that was there goes only when the new one stands in its place.

    Raises:
        InputError: what is there may not be replaced (see `require_replaceable`), or it cannot be written.
    """
    target = require_replaceable(path, stage, overwrite=overwrite)
    with writing(target):
        private_folder(target.parent)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        with writing(target):
            yield staging
            _make_private(staging)
            require_replaceable(path, stage, overwrite=overwrite)  # the work may have taken hours
            _put(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def private_folder(path: str | Path) -> None:
    """Makes a folder and what lacks above it, each for its user alone; one that is there stays as it is."""
    for folder in reversed((Path(path), *Path(path).parents)):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)


def _put(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
    try:
        target.rename(aside / "old")
        try:
            staging.rename(target)
        except BaseException:
            (aside / "old").rename(target)
            raise
        shutil.rmtree(aside / "old", ignore_errors=True)
    finally:
        with suppress(OSError):  # only where nothing is left in it
            aside.rmdir()


def _make_private(folder: Path) -> None:
    """Takes from others what some writers gave them, and adds nothing: a stricter umask holds."""
    for root, _, files in os.walk(folder):
        os.chmod(root, os.stat(root).st_mode & 0o700)
        for name in files:
            file = os.path.join(root, name)
            if not os.path.islink(file):
                os.chmod(file, os.stat(file).st_mode & 0o600)


@contextmanager
def new_file(path: str | Path, *, own: bool = False) -> Iterator[Path]:
    """A temporary file name beside `path` that takes its name when the block ends without an error.

    Args:
        own: see `require_no_input`.

    Raises:
        InputError: `path` is a folder, a device or an input (see `reading`), or it cannot be written.
    """
    target = require_no_input(path, own=own)
    with writing(Path(path)):
        private_folder(target.parent)
        file, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        os.close(file)
    staging = Path(name)
    try:
        with writing(Path(path)):
            yield staging
            staging.chmod(staging.stat().st_mode & 0o600)
            staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)


def require_no_input(path: str | Path, *, own: bool = False) -> Path:
    """The file behind a name, links followed, if an output may take its place.

    Args:
        own: the caller knows a file of its own by its content, so that one may lie in a folder that is read.

    Raises:
        InputError: it is a folder or no plain file, or an input (see `reading`), also under another name or as a file
            of a folder that is read.
    """
    with writing(Path(path)):
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not target.exists():
            return target
    if not target.is_file():
        raise InputError(f"{path} is no plain file; name another one")
    for place in _inputs.get():
        if os.path.exists(place) and (os.path.samefile(place, target) or (place in target.parents and not own)):
            raise InputError(f"the output {path} is an input too, or a file of one; name another file")
    return target


def require_new_file(
    path: str | Path, is_own: Callable[[Path], object], *, overwrite: bool, among_inputs: bool = False
) -> Path:
    """The file behind a name, if a command may write it; asked before its work.

    Args:
        is_own: whether a file that is there is one that the command writes; an InputError of it means no.
        among_inputs: it may lie in a folder that is read.

    Raises:
        InputError: something is there, and `overwrite` is False or it is no file of the command; or it is an input.
    """
    target = require_no_input(path, own=among_inputs)
    if not target.exists():
        return target
    if not overwrite:
        raise InputError(f"{path} exists already; name another file or pass --overwrite")
    try:
        own = bool(is_own(target))
    except InputError:
        own = False
    if not own:
        raise InputError(f"{path} is no file that this command writes, and --overwrite replaces no other; name another")
    return target


@contextmanager
def begun_folder(
    path: Path, holds_work: Callable[[], bool], marks: Iterable[str] = (MANIFEST, "run.json")
) -> Iterator[None]:
    """For a folder that grows and can be resumed: a new one goes away again if bad input comes before any work.

    Raises:
        InputError: see `require_own`.
    """
    require_own(path, marks)
    new = not path.exists()
    try:
        yield
    except InputError:
        if new and not holds_work():
            shutil.rmtree(path, ignore_errors=True)
        raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an operating-system error while writing `path` (disk full, no permission) into one sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise InputError(f"cannot write {path}: {error}") from error
