"""ICD-9-CM and ICD-10 linked by the General Equivalence Mappings (GEM) of CMS and NCHS, edition 2018, the last.

Four tables, one for each kind and direction; the two directions are not each other's inverse. In the column form
published by NBER: source, target, approximate, no_map, combination, scenario, choice_list; codes without dots.

- approximate: the target is near, not equal; no_map: there is none.
- combination: the target is one of several codes that are needed together, one of each choice list of a scenario.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from concept_icd.errors import InputError
from concept_icd.files import opened
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Kind
from concept_icd.resources import resource

#: Kind and source -> name of the table, its column of sources, its column of targets, and the targets' classification.
TABLES: dict[tuple[Kind, str], tuple[str, str, str, str]] = {
    ("diagnosis", "icd9cm"): ("icd9toicd10cmgem", "icd9cm", "icd10cm", "icd10"),
    ("diagnosis", "icd10"): ("icd10cmtoicd9gem", "icd10cm", "icd9cm", "icd9cm"),
    ("procedure", "icd9cm"): ("icd9toicd10pcsgem", "icd9cm", "icd10pcs", "icd10"),
    ("procedure", "icd10"): ("icd10pcstoicd9gem", "icd10pcs", "icd9cm", "icd9cm"),
}
FLAGS = ("approximate", "no_map", "combination", "scenario", "choice_list")


@dataclass(frozen=True)
class Equivalent:
    """A row of a table.

    Attributes:
        code: the target as it is written; None where the table says that there is none.
        approximate: not equal. combination: only together with a code of every other choice list of its scenario.
        scenario: 0 for a target that stands alone. choice_list: 0 likewise.
    """

    code: str | None
    title: str | None
    approximate: bool
    combination: bool
    scenario: int
    choice_list: int

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def equivalents(code: str, classification: str) -> list[Equivalent]:
    """Where the tables carry a code: of "icd9cm" to ICD-10, of "icd10" to ICD-9-CM; in the tables' order.

    >>> [(to.code, to.approximate) for to in equivalents("428.21", "icd9cm")]
    [('I50.21', True)]

    Raises:
        InputError: the tables have no such code: a header, a code that came after 2018, or none of the classification.
    """
    ontology = load_ontology(classification)
    kind = ontology.kind(code)
    name, source, target, into = TABLES[kind, classification]
    rows = _by_source(name, source, target).get(code.replace(".", ""))
    if rows is None:
        why = ontology.why_not_billable(code) or "it may have come after them, or gone before"
        raise InputError(f"the equivalence maps of 2018 have no {code!r}: {why}")
    goal, found = load_ontology(into), []
    for to, (approximate, no_map, combination, scenario, choice_list) in rows:
        written = None if no_map == "1" else goal.parse(to, kind)
        title = goal.resolve(written).title if written else None
        numbers = int(scenario), int(choice_list)
        found.append(Equivalent(written, title, approximate == "1", combination == "1", *numbers))
    return found


@lru_cache(maxsize=4)
def _by_source(name: str, source: str, target: str) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    rows: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for row in read_table(find_table(resource("ontology/maps"), name), (source, target, *FLAGS)):
        rows.setdefault(row[source], []).append((row[target], tuple(row[flag] for flag in FLAGS)))
    return rows


def find_table(folder: Path, name: str) -> Path:
    """A table of a folder, gzipped or plain.

    Raises:
        InputError: the folder lacks it.
    """
    for path in (folder / f"{name}.csv.gz", folder / f"{name}.csv"):
        if path.is_file():
            return path
    raise InputError(f"{folder} lacks {name}.csv or {name}.csv.gz, a table of the General Equivalence Mappings")


def read_table(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The rows of a table with its columns.

    Raises:
        InputError: it lacks one of `columns`, ends within a line, or cannot be read.
    """
    try:
        with opened(path) as packed, io.TextIOWrapper(packed, encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            if missing := [name for name in columns if name not in (table.fieldnames or ())]:
                raise InputError(f"{path} is no table of equivalences: it lacks the columns {', '.join(missing)}")
            for row in table:
                if any(row[name] is None for name in columns):
                    raise InputError(f"{path}, line {table.line_num}: the line ends early; fetch the file again")
                yield row
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
