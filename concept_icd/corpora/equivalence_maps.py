"""ICD-10-CM diagnoses carried to ICD-9-CM by the General Equivalence Mappings (GEM) of CMS and NCHS, by written rules.

Read are `icd10cmtoicd9gem.csv` and `icd9toicd10cmgem.csv`, plain or gzipped, in the column form published by NBER:
icd10cm, icd9cm, flags, approximate, no_map, combination, scenario, choice_list; codes without dots.

Where a code has several targets the one is chosen that comes first by: the GEM calls it equal, not approximate; the
backward map leads from it to the code; it is no V or E code; its category is the last (residual classes stand last);
its title says ", unspecified"; it is the last. `BY_HAND` are the frequent codes where that misses the ICD-10 title.

A code that the table lacks is incomplete (a heading, or its seventh character is missing), or newer than the table.
An incomplete one goes where most of its completions go, those of an initial encounter ("A") alone where there are
such, the first completion's target where two are equal. A newer one goes where the longest of its beginnings goes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from concept_icd.ontology.maps import find_table, read_table
from concept_icd.ontology.tree import Ontology, load_ontology

FORWARD, BACKWARD = "icd10cmtoicd9gem", "icd9toicd10cmgem"
COLUMNS = ("icd10cm", "icd9cm", "approximate", "no_map", "combination", "scenario", "choice_list")

#: The ways in which a code goes and what each means, in the order in which counts tell them.
WAYS: Mapping[str, str] = {
    "equal": "one target, equal by the map",
    "approximate": "one target, approximate by the map",
    "alternatives": "several targets, one chosen",
    "combination": "several codes that together are the target, all taken",
    "incomplete": "heading or without its last characters, all its completions go to one target",
    "incomplete, divided": "heading or without its last characters, its completions go to several targets",
    "newer": "newer than the map, by the code that it divides",
    "none": "the map says that there is no equivalent: left out",
    "unknown": "not in the map, nor a beginning of it: left out",
}
#: ICD-10-CM -> ICD-9-CM, by the titles: liver (not other digestive organs), coronary vessel, malaise.
BY_HAND = {"C787": "197.7", "I2510": "414.01", "R5381": "780.79"}
#: The shortest code: a category.
_SHORTEST = 3


@dataclass(frozen=True)
class Carried:
    """Where a code went.

    Attributes:
        way: one of `WAYS`.
        codes: ICD-9-CM, dotted; several for a combination, none where it is left out.
        alternatives: every ICD-9-CM code, dotted and sorted, that one could have chosen instead, where there was one.
    """

    way: str
    codes: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()

    @property
    def ambiguous(self) -> bool:
        """Whether another target could have been chosen."""
        return bool(self.alternatives)


@dataclass(frozen=True)
class _Row:
    target: str  # without its dot
    approximate: bool
    scenario: str  # "0": the target stands alone
    part: str


class EquivalenceMaps:
    """Both tables, read once; `files` are their paths."""

    def __init__(self, folder: str | Path) -> None:
        """Reads the tables.

        Raises:
            InputError: a table is missing or damaged.
        """
        self._ontology: Ontology = load_ontology("icd9cm")
        self.files = tuple(find_table(Path(folder), name) for name in (FORWARD, BACKWARD))
        self._rows: dict[str, list[_Row]] = {}
        for row in read_table(self.files[0], COLUMNS):
            alone = row["combination"] != "1"
            found = self._rows.setdefault(row["icd10cm"], [])
            if row["no_map"] != "1":
                place = ("0", "0") if alone else (row["scenario"], row["choice_list"])
                found.append(_Row(row["icd9cm"], row["approximate"] == "1", *place))
        self._backward = {(row["icd9cm"], row["icd10cm"]) for row in read_table(self.files[1], COLUMNS)}
        self._sorted = sorted(self._rows)

    def carry(self, code: str) -> Carried:
        """Where an ICD-10-CM diagnosis goes; in any case, with or without its dot."""
        key = code.strip().upper().replace(".", "")
        if key in self._rows:
            return self._listed(key)
        if len(key) < _SHORTEST:
            return Carried("unknown")
        if below := self._below(key):
            return self._completed(below)
        beginning = next((key[:n] for n in range(len(key) - 1, _SHORTEST - 1, -1) if key[:n] in self._rows), None)
        if beginning is None:
            return Carried("unknown")
        found = self._listed(beginning)
        return Carried("newer" if found.codes else "none", found.codes, found.alternatives)

    def _listed(self, key: str) -> Carried:
        rows = self._rows[key]
        alone = [row for row in rows if row.scenario == "0"]
        if len(alone) == 1:
            return Carried("approximate" if alone[0].approximate else "equal", (self._dotted(alone[0].target),))
        if alone:
            return Carried("alternatives", (self._chosen(key, alone),), self._targets(alone))
        if not rows:
            return Carried("none")
        first = min(row.scenario for row in rows)
        parts: dict[str, list[_Row]] = {}
        for row in rows:
            if row.scenario == first:
                parts.setdefault(row.part, []).append(row)
        codes = tuple(dict.fromkeys(self._chosen(key, parts[part]) for part in sorted(parts)))
        choices = len({row.scenario for row in rows}) > 1 or any(len(part) > 1 for part in parts.values())
        return Carried("combination", codes, self._targets(rows) if choices else ())

    def _chosen(self, key: str, rows: Sequence[_Row]) -> str:
        if key in BY_HAND:
            return BY_HAND[key]

        def preference(row: _Row) -> tuple[bool, bool, bool, str, bool, str]:
            code = self._dotted(row.target)
            unspecified = ", unspecified" in self._ontology.resolve(code).title
            agrees = (row.target, key) in self._backward
            return not row.approximate, agrees, code[0].isdigit(), code.partition(".")[0], unspecified, code

        return self._dotted(max(rows, key=preference).target)

    def _completed(self, below: Sequence[str]) -> Carried:
        initial = [key for key in below if len(key) == 7 and key.endswith("A")]
        targets = [self._listed(key).codes for key in initial or below]
        votes = Counter(codes for codes in targets if codes)
        if not votes:
            return Carried("none")
        codes = max(votes, key=votes.__getitem__)  # of equals, the first completion's
        if len(votes) == 1:
            return Carried("incomplete", codes)
        return Carried("incomplete, divided", codes, tuple(sorted({code for codes in votes for code in codes})))

    def _below(self, beginning: str) -> list[str]:
        """The codes of the table that start so, sorted."""
        start = bisect_left(self._sorted, beginning)
        return self._sorted[start : bisect_left(self._sorted, beginning + "\uffff", start)]

    def _targets(self, rows: Sequence[_Row]) -> tuple[str, ...]:
        return tuple(sorted({self._dotted(row.target) for row in rows}))

    def _dotted(self, code: str) -> str:
        return self._ontology.parse(code, kind="diagnosis")
