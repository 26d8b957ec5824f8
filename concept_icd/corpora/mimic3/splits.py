"""The admission lists of a benchmark: found by file name, checked, told apart from the published ones.

It knows how the papers' repositories name their lists and the hashes of the published ids. It ships no ids and never
reads labels. Ids are HADM_ID as text.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from concept_icd.artifacts import sha256
from concept_icd.corpora.mimic3.tasks import Lists, Task
from concept_icd.errors import InputError

SPLITS = ("train", "dev", "test")
_TEXT = (".csv", ".csv.gz")
_TABLE = (".feather", ".parquet", *_TEXT)


@dataclass(frozen=True)
class Layout:
    """One way in which the lists of a benchmark are stored.

    Attributes:
        stems: file name without its ending -> the split it holds; None: a column `split` says it.
        column: of the ids; None: the file has one id a line and no header.
        endings: of the file names, as read.
        origin: where it is published, as an error message says it.
    """

    stems: Mapping[str, str | None]
    column: str | None
    endings: tuple[str, ...]
    origin: str


def _caml(size: str) -> Layout:
    stems = {f"{split}_{size}_hadm_ids": split for split in SPLITS}
    return Layout(stems, None, _TEXT, "the GitHub repository jamesmullenbach/caml-mimic (mimicdata/mimic3)")


def _edin(size: str) -> Layout:
    repository = "the GitHub repository JoakimEdin/medical-coding-reproducibility"
    return Layout({f"mimiciii_{size}_splits": None}, "_id", _TABLE, f"{repository} (files/data/mimiciii_{size})")


#: The layouts of each benchmark; the first that is there counts. Edin et al. ship CAML's lists again: the same ids,
#: but for four stays without any code that they left out of train_full.
LAYOUTS: Mapping[Lists, tuple[Layout, ...]] = {
    "caml-50": (_caml("50"), _edin("50")),
    "caml-full": (_caml("full"), _edin("full")),
    "kept-rare50": (
        Layout(
            {f"{split}_ids": split for split in SPLITS},
            "hadm_id",
            _TEXT,
            "the GitHub repository whaleloops/KEPT, inside its script collectrare50data.py: copy the ids from it "
            "into three files with the header subject_id,hadm_id",
        ),
    ),
    "edin-clean": (_edin("clean"),),
}

#: SHA-256 of the sorted ids joined by line breaks (`ids_hash`): it does not depend on order or file format.
PUBLISHED: Mapping[Lists, Mapping[str, frozenset[str]]] = {
    "caml-50": {
        "train": frozenset({"d4d47332ff76c058f7e78826bc9d29d9a839eae484fecf5f01f0f11468bc5f2b"}),
        "dev": frozenset({"bab5201c3b34d1353714441e94a8a709cbc2fb7e1c41efb2e70fda911f0c696f"}),
        "test": frozenset({"73b4569018c9c6fd872904b824936fad4c9d52627b4c41d601bc689bb573a4ed"}),
    },
    "caml-full": {
        "train": frozenset(
            {
                "43c1d59ccf8854bca1587aea734c711e383c1290d0ab2579636534be623b6ca6",  # CAML: 47,723 stays
                "96ec8a8e8ce635a5bd717d365b8ba1682d62d75b71d709e8adb4a40f6b6bc1ee",  # Edin: the 47,719 with a code
            }
        ),
        "dev": frozenset({"3d9fb344871b82064c9c9b95602bdcdc186e2577d7faf71b5c24d497f90e1977"}),
        "test": frozenset({"8fb7ae27f5f916e9f01862d801d7cea672d11b7d39623d6b72f0564fbfa9f04e"}),
    },
    "kept-rare50": {
        "train": frozenset({"eb4929bb1c0990261c7df365284fce9a031f838d629d5837cb6a92c6039c41d6"}),
        "dev": frozenset({"a126b2b000d2b15d29f3c3a95c6ae6c514c46dabd278d727f075ec219b25fa8a"}),
        "test": frozenset({"0b370b0c23569e337372e897d8a41fe63f72e7ba3336648b499c194191e94be0"}),
    },
    "edin-clean": {
        "train": frozenset({"38a3cb29edafdbaead6671468997b04d26eda5a6e9a320a3772cce8651908a71"}),
        "dev": frozenset({"ec2eb3fbe6e7684eda295416a2facdb064a83f5a7f1c9b1fe8aa4d042f456e77"}),
        "test": frozenset({"14dde391ccd10537de9abf18a73349ca0649dcb05be1c6ea37ae43890479ebc8"}),
    },
}


@dataclass(frozen=True)
class Splits:
    """Which stays are trained on, tuned on and tested on. No stay is in two lists or twice in one.

    Attributes:
        train, dev, test: HADM_IDs, in file order.
        files: path below the folder -> SHA-256 of the file.
    """

    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]
    files: Mapping[str, str]

    @cached_property
    def split_of(self) -> dict[str, str]:
        """HADM_ID -> "train", "dev" or "test"."""
        return {stay: split for split in SPLITS for stay in self.ids(split)}

    def ids(self, split: str) -> tuple[str, ...]:
        """The list of a split."""
        return {"train": self.train, "dev": self.dev, "test": self.test}[split]


def read_splits(folder: str | Path, task: Task) -> Splits:
    """The lists of a task, from anywhere below `folder` (a checkout of the paper's repository, for one).

    Raises:
        InputError: the task has no lists; a file is missing, unreadable or there twice with different ids; an id is
            no number, stands twice in a list or in two lists.
    """
    folder = Path(folder)
    if task.lists is None:
        raise InputError(f"{task.name} has no admission lists")
    if not folder.is_dir():
        raise InputError(f"cannot read {folder}: no such folder")
    layouts = LAYOUTS[task.lists]
    stems = {stem for layout in layouts for stem in layout.stems}
    found: dict[str, list[Path]] = {stem: [] for stem in stems}
    for path in sorted(folder.rglob("*")):
        stem = path.name.partition(".")[0]
        if stem in found and path.name[len(stem) :] in _TABLE and path.is_file():
            found[stem].append(path)
    for layout in layouts:
        if all(found[stem] for stem in layout.stems):
            return _read(folder, layout, {stem: found[stem] for stem in layout.stems})
    missing = [f"{stem}{layouts[0].endings[0]}" for stem in layouts[0].stems if not found[stem]]
    raise InputError(f"{folder} lacks {', '.join(missing)}; {task.title} has its lists from {layouts[0].origin}")


def ids_hash(ids: Iterable[str]) -> str:
    """SHA-256 of the ids, sorted as text and joined by line breaks."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def published(splits: Splits, lists: Lists) -> dict[str, bool]:
    """Split -> whether its ids are exactly those that the paper published."""
    return {split: ids_hash(splits.ids(split)) in PUBLISHED[lists][split] for split in SPLITS}


def published_in_words(splits: Splits, lists: Lists) -> str:
    """One sentence on whether these are the published lists, for the output of `prepare`."""
    others = [split for split, same in published(splits, lists).items() if not same]
    if not others:
        return "The admission lists are the published ones."
    sizes = {split: len(splits.ids(split)) for split in others}
    named = ", ".join(f"{split} ({size:,} {'stay' if size == 1 else 'stays'})" for split, size in sizes.items())
    return f"Other admission lists than the published ones: {named}; results are not comparable with published rows."


def unknown_ids(splits: Splits, known: Collection[str]) -> tuple[int, tuple[str, ...]]:
    """How many listed stays are not among `known`, and the first three of them in list order."""
    stays = set(known)
    missing = [stay for stay in splits.split_of if stay not in stays]
    return len(missing), tuple(missing[:3])


def patients_disjoint(splits: Splits, patient_of: Mapping[str, str]) -> bool:
    """Whether no patient has stays in two splits; stays that `patient_of` lacks are left out."""
    first_split: dict[str, str] = {}
    return all(
        first_split.setdefault(patient_of[stay], split) == split
        for stay, split in splits.split_of.items()
        if stay in patient_of
    )


# --------------------------------------------------------------------------------------------------------------------


def _read(folder: Path, layout: Layout, found: Mapping[str, list[Path]]) -> Splits:
    ids: dict[str, tuple[str, ...]] = dict.fromkeys(SPLITS, ())
    for stem, paths in found.items():
        versions = [read_ids(path, layout.column, layout.stems[stem]) for path in paths]
        for path, version in zip(paths, versions, strict=True):
            if _contents(version) != _contents(versions[0]):
                raise InputError(f"{paths[0]} and {path} hold different ids; name a folder with one of them")
        ids |= versions[0]
    files = {str(paths[0].relative_to(folder)): sha256(paths[0]) for paths in found.values()}
    seen: dict[str, str] = {}
    for split, stays in ids.items():
        for stay in stays:
            if stay in seen:
                raise InputError(f"{folder}: the stay {stay} is in the lists of {seen[stay]} and {split}")
            seen[stay] = split
    return Splits(**ids, files=files)


def _contents(ids: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    return {split: sorted(stays) for split, stays in ids.items()}


# One file of admission ids: a line an id, a CSV with a header, or a table in Feather or Parquet.
#
# It takes ids and splits and leaves every other column. It knows nothing of benchmarks.
_ID = re.compile(r"[0-9]+", re.ASCII)


def read_ids(path: Path, column: str | None, split: str | None) -> dict[str, tuple[str, ...]]:
    """Split -> ids in file order.

    Args:
        column: of the ids; None: one id a line and no header.
        split: which split the file is; None: a column `split` says it row by row ("val" is "dev").

    Raises:
        InputError: the file is unreadable, lacks the column, holds no ids, or an id is no number or stands twice.
    """
    lists: dict[str, dict[str, None]] = {name: {} for name in ([split] if split else SPLITS)}
    for line, stay, named in _rows(path, column):
        name = split or {"val": "dev"}.get(named, named)
        if name not in lists:
            raise InputError(f"{path}, row {line}: the split {named!r} is none of train, val, dev and test")
        if not _ID.fullmatch(stay):
            raise InputError(f"{path}, row {line}: {stay!r} is no admission number")
        if stay in lists[name]:
            raise InputError(f"{path}, row {line}: the stay {stay} is in the list twice")
        lists[name][stay] = None
    if not any(lists.values()):
        raise InputError(f"{path} holds no ids")
    return {name: tuple(stays) for name, stays in lists.items()}


def _rows(path: Path, column: str | None) -> Iterator[tuple[int, str, str]]:
    """Row number (of text files the line, with the header), id and what stands in the column `split`."""
    if path.suffix in (".feather", ".parquet"):
        yield from _table_rows(path, column)
        return
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig") as file:
            yield from _text_rows(path, csv.reader(file), column)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or 'it is damaged'}") from error
    except (EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: it is damaged or no text") from error


def _text_rows(path: Path, reader: Iterator[list[str]], column: str | None) -> Iterator[tuple[int, str, str]]:
    header = [name.strip().lower() for name in next(reader, [])] if column else []
    place = _column(path, header, column) if column else 0
    split = header.index("split") if "split" in header else None
    for line, row in enumerate(reader, start=2 if column else 1):
        if any(cell.strip() for cell in row):
            cells = [*row, *[""] * (len(header) - len(row))]
            yield line, cells[place].strip(), "" if split is None else cells[split].strip()


def _table_rows(path: Path, column: str | None) -> Iterator[tuple[int, str, str]]:
    import pyarrow
    from pyarrow import feather, parquet

    try:
        table = feather.read_table(path) if path.suffix == ".feather" else parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"cannot read {path}: it is damaged or no {path.suffix[1:]} file") from error
    names = [name.lower() for name in table.column_names]
    ids = table.column(_column(path, names, column)).to_pylist()
    splits = table.column(names.index("split")).to_pylist() if "split" in names else [""] * len(ids)
    for row, (stay, split) in enumerate(zip(ids, splits, strict=True), start=1):
        yield row, str(stay).strip(), str(split)


def _column(path: Path, header: list[str], column: str | None) -> int:
    if column not in header:
        raise InputError(f"{path} has no column {column}; its columns are {', '.join(header) or 'none'}")
    return header.index(column)
