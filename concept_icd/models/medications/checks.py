"""What reading stays found, beside what the study and MIMIC-III publish, as facts that `mimic3.checks` puts into words.

Marcou et al. 2024, "Data": 58,976 stays, 1,164 ingredients, and nodes of each level. These are compared where the
tables are MIMIC-III 1.4 by their patients and admissions; elsewhere nothing is published.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from concept_icd.mimic3.editions import EDITIONS, edition_of
from concept_icd.models.medications.read_stays import ReadStays
from concept_icd.models.medications.records import Targets
from concept_icd.models.medications.targets import LostCodes, level_counts

Check = dict[str, Any]
#: How many names a line holds.
NAMED = 12
#: The counts of the study, by the name of their check.
STUDY: Mapping[str, int] = {
    "stays": 58_976,
    "ingredients": 1_164,
    "nodes of level chapter": 19,
    "nodes of level section": 151,
    "nodes of level category": 1_070,
    "nodes of level subcategory": 4_380,
    "nodes of level code": 3_716,
    "billed codes": 5_871,
    "nodes": 9_336,
}
#: What stands beside a count that is not 0.
WHY: Mapping[str, str] = {
    "stays without an age": "a date is missing, or birth comes after the stay; their age input is 0.5",
    "stays above 89 years": "moved to about 300 in the tables; their age input is 1",
    "stays without a sex": "read as not female",
    "stays without a ward": "no service is on record",
    "drug rows of no stay": "left out",
    "drug rows that are no prescription": "left out, as in the study; --drug-types all reads them",
    "drug rows without concept and name": "left out",
    "drug rows of concepts that the vocabulary lacks": "read by their name where there is one",
    "drug rows without a concept": "read by their name where there is one",
    "diagnosis rows without a code": "left out",
    "diagnosis rows of other vocabularies": "left out",
}


def all_checks(read: ReadStays, targets: Targets, lost: LostCodes) -> list[Check]:
    """Every check: tables, people, drugs, codes; the counts of 0 that are no matter of the study are left out."""
    return list(chain(_tables(read), _stays(read, targets), _named(read.named, lost), _nodes(read, targets)))


def _tables(read: ReadStays) -> Iterator[Check]:
    edition = edition_of(read.rows)
    known = EDITIONS[edition] if edition else {}
    why = "" if edition else "another version of MIMIC-III, a part of it, or other tables"
    yield _check("edition, by its patients and admissions", edition or "unknown", why=why)
    for table, rows in read.rows.items():
        yield _check(f"rows of {table}", rows, known.get(table))


def _stays(read: ReadStays, targets: Targets) -> Iterator[Check]:
    study = _study(read)
    for name, number in read.counts.items():
        if number or name in STUDY:
            yield _check(name, number, study.get(name), WHY.get(name, ""))
    if without := read.counts["stays"] - read.counts["stays with drugs"]:
        yield _check("stays without drugs", without, why="kept: sex and age alone speak for them")
    coded = int((targets.gold.sum(axis=1) > 0).sum())
    if targets.nodes and (uncoded := read.counts["stays"] - coded):
        yield _check("stays without a code of the tree", uncoded, why="kept, with no target")


def _named(named: Mapping[str, Mapping[str, Any]], lost: LostCodes) -> Iterator[Check]:
    for name, items in named.items():
        if items:
            words = (f"{item!r} ({value if isinstance(value, str) else f'{value:,}'})" for item, value in items.items())
            yield _check(name, len(items), why=_some(words))
    if lost.retired:
        words = (f"{code} as {near} ({lost.retired_rows[code]:,})" for code, near in lost.retired.items())
        yield _check("codes that the tree lacks, placed at their nearest ancestor", len(lost.retired), why=_some(words))
    if lost.outside:
        words = (f"{code} ({rows:,})" for code, rows in lost.outside.items())
        yield _check("codes outside the tree, left out", len(lost.outside), why=_some(words))


def _nodes(read: ReadStays, targets: Targets) -> Iterator[Check]:
    study, counts = _study(read), level_counts(targets) if targets.nodes else {}
    names = {"billed": "billed codes", "all": "nodes"}
    for level, number in counts.items():
        name = names.get(level, f"nodes of level {level}")
        yield _check(name, number, study.get(name))


def _study(read: ReadStays) -> Mapping[str, int]:
    return STUDY if edition_of(read.rows) == "MIMIC-III 1.4" else {}


def _check(name: str, found: Any, published: Any = None, why: str = "") -> Check:
    return {"name": name, "found": found, "published": published, "ok": published in (None, found), "why": why}


def _some(words: Iterable[str]) -> str:
    names = list(words)
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
