"""What `prepare` found, beside what is published, with the reason where they differ: facts and words, no reading.

A check is a mapping: name, found, published (None: nothing is), ok, why. A difference is told; it is no error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Any

from concept_icd.corpora.mimic3.codes import (
    CODE_TABLES,
    TITLE_TABLES,
    Codes,
    KindOfCodes,
    outside,
)
from concept_icd.corpora.mimic3.gold import Gold
from concept_icd.corpora.mimic3.labels import recount_in_words, row_counts, stay_counts
from concept_icd.corpora.mimic3.splits import (
    SPLITS,
    Splits,
    patients_disjoint,
    published,
    published_in_words,
    unknown_ids,
)
from concept_icd.corpora.mimic3.stays import Stay
from concept_icd.corpora.mimic3.summaries import SummaryCounts
from concept_icd.corpora.mimic3.tasks import MIMIC3_50, Task
from concept_icd.errors import InputError
from concept_icd.ontology.tree import Ontology
from concept_icd.records import Kind

# The published editions of MIMIC-III are told apart by their numbers of patients and admissions.
# Rows: MIT-LCP/mimic-code, mimic-iii/buildmimic/postgres/postgres_checks.sql, and the demo's own documentation. Codes
# without a description: MIT-LCP/mimic-code#96.

#: Edition -> rows of each table.
EDITIONS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "MIMIC-III 1.4": {
            "ADMISSIONS": 58_976,
            "PATIENTS": 46_520,
            "DIAGNOSES_ICD": 651_047,
            "PROCEDURES_ICD": 240_095,
            "NOTEEVENTS": 2_083_180,
            "PRESCRIPTIONS": 4_156_450,
            "D_ICD_DIAGNOSES": 14_567,
            "D_ICD_PROCEDURES": 3_882,
        },
        "the MIMIC-III demo": {
            "ADMISSIONS": 129,
            "PATIENTS": 100,
            "DIAGNOSES_ICD": 1_761,
            "PROCEDURES_ICD": 506,
            "NOTEEVENTS": 0,
            "PRESCRIPTIONS": 10_398,
            "D_ICD_DIAGNOSES": 14_567,
            "D_ICD_PROCEDURES": 3_882,
        },
        "MIMIC-III's CareVue subset": {
            "ADMISSIONS": 26_836,
            "PATIENTS": 23_692,
            "DIAGNOSES_ICD": 225_345,
            "PROCEDURES_ICD": 113_012,
            "NOTEEVENTS": 880_107,
            "PRESCRIPTIONS": 1_435_643,
            "D_ICD_DIAGNOSES": 14_567,
            "D_ICD_PROCEDURES": 3_882,
        },
    }
)
#: Edition -> other counts, by the name of their check.
COUNTS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "MIMIC-III 1.4": {
            "diagnosis codes that D_ICD_DIAGNOSES lacks": 144,
            "procedure codes that D_ICD_PROCEDURES lacks": 16,
        },
        "the MIMIC-III demo": {
            "codes": 740,
            "stays with a code of the fixed 50": 127,
            "diagnosis codes that D_ICD_DIAGNOSES lacks": 20,
            "procedure codes that D_ICD_PROCEDURES lacks": 3,
        },
    }
)


def edition_of(rows: Mapping[str, int]) -> str | None:
    """Which edition's numbers of admissions and patients these are; None: nobody's."""
    for edition, known in EDITIONS.items():
        if all(rows.get(table) == known[table] for table in ("ADMISSIONS", "PATIENTS")):
            return edition
    return None


Check = dict[str, Any]
#: How many codes or ids a sentence names.
NAMED = 25
#: Lists of which fewer stays than this share are in the tables belong to other tables.
FEWEST_KNOWN = 0.01


@dataclass(frozen=True)
class Found:
    """Everything that was read and decided before a note is written.

    Attributes:
        rows: of ADMISSIONS and PATIENTS. stays: every admission.
        with_summary: stays with a discharge summary; None: notes are not read.
        chosen: stays that are written.
    """

    task: Task
    rows: Mapping[str, int]
    stays: Mapping[str, Stay]
    codes: Codes
    summaries: SummaryCounts | None
    with_summary: frozenset[str] | None
    splits: Splits | None
    gold: Gold
    chosen: frozenset[str]
    has_drugs: bool


def require_known(splits: Splits, stays: Collection[str]) -> None:
    """Refuses lists that belong to other tables.

    Raises:
        InputError: none or nearly none of the listed stays are admissions; says how many and names three.
    """
    missing, first = unknown_ids(splits, stays)
    listed = len(splits.split_of)
    if listed - missing < max(1, FEWEST_KNOWN * listed):
        raise InputError(
            f"{missing:,} of the {listed:,} stays of the admission lists are not in ADMISSIONS (first: "
            f"{', '.join(first)}): lists and tables do not belong together; the open demo has hardly any stay of the "
            "published lists"
        )


def all_checks(found: Found, ontology: Ontology) -> list[Check]:
    """Every check, in the order of reading: tables, codes, notes, lists, stays, labels."""
    return list(
        chain(
            _tables(found),
            *(_codes(kind, found, ontology) for kind in CODE_TABLES),
            _notes(found),
            _lists(found),
            _written(found),
            _labels(found, ontology),
        )
    )


def in_words(check: Mapping[str, Any]) -> str:
    """A check as one line."""
    beside = "" if check["published"] is None else f" (published: {_figure(check['published'])})"
    mark = "differs" if not check["ok"] else "ok" if check["published"] is not None else "-"
    why = f": {check['why']}" if check["why"] else ""
    return f"{mark:8}{check['name']}: {_figure(check['found'])}{beside}{why}"


def _check(name: str, found: Any, published: Any = None, why: str = "", ok: bool | None = None) -> Check:
    same = published is None or found == published
    return {"name": name, "found": found, "published": published, "ok": same if ok is None else ok, "why": why}


def _tables(found: Found) -> Iterator[Check]:
    edition, known = edition_of(found.rows), _known(found)
    why = "" if edition else "another version of MIMIC-III, a part of it, or invented tables"
    yield _check("edition, by its patients and admissions", edition or "unknown", why=why, ok=edition is not None)
    yield _check("patients", found.rows["PATIENTS"], known.get("PATIENTS"))
    yield _check("admissions", found.rows["ADMISSIONS"], known.get("ADMISSIONS"))
    if dateless := sum(stay.age is None for stay in found.stays.values()):
        yield _check("admissions without an age", dateless, why="a date is missing or no date")
    if not found.has_drugs:
        yield _check("drugs", 0, why="there is no PRESCRIPTIONS; every stay's drugs are empty")
    diagnoses, procedures = (
        {code.replace(".", "") for code in kind.distinct} for kind in (found.codes.diagnoses, found.codes.procedures)
    )
    both = sorted(diagnoses & procedures)
    why = f"as written; {len(both):,} of them are a diagnosis and, as another code, a procedure: {_named(both)}"
    yield _check("codes", len(diagnoses | procedures), known.get("codes"), why if both else "")
    name = "stays with a code of the fixed 50"
    fixed = frozenset(MIMIC3_50)
    yield _check(name, sum(not fixed.isdisjoint(found.codes.of(stay)) for stay in found.codes.stays), known.get(name))


def _codes(kind: Kind, found: Found, ontology: Ontology) -> Iterator[Check]:
    own: KindOfCodes = found.codes.diagnoses if kind == "diagnosis" else found.codes.procedures
    known = _known(found)
    yield _check(f"{kind} rows", own.rows, known.get(CODE_TABLES[kind]))
    yield _check(f"{kind} rows without a code", own.missing, why=_if(own.missing, "left out"))
    repeats = sum(map(len, own.repeats.values()))
    yield _check(
        f"{kind} rows that repeat a code of their stay", repeats, why=_if(repeats, "left out, the first is kept")
    )
    if own.odd:
        yield _check(f"{kind} rows with what is no code", sum(own.odd.values()), why=f"left out: {_named(own.odd)}")
    old = outside(ontology, own.distinct)
    why = f"retired or since then divided, kept as they are: {_named(old)}" if old else ""
    yield _check(f"{kind} codes outside the billable ones of v32", len(old), why=why)
    if never := [code for code in old if not ontology.had(code)]:
        yield _check(f"{kind} codes that no edition had", len(never), why=f"kept as they are: {_named(never)}")
    if own.undescribed is not None:
        name = f"{kind} codes that {TITLE_TABLES[kind]} lacks"
        why = f"without a description there, kept: {_named(own.undescribed)}" if own.undescribed else ""
        yield _check(name, len(own.undescribed), known.get(name), why)


def _notes(found: Found) -> Iterator[Check]:
    counts, with_summary = found.summaries, found.with_summary
    if counts is None or with_summary is None:
        return
    yield _check("notes of all categories", counts.rows, _known(found).get("NOTEEVENTS"))
    yield _check("discharge summaries", counts.summaries, why=f"{counts.addenda:,} of them addenda")
    for name, number in (
        ("marked as errors (ISERROR 1)", counts.errors),
        ("without HADM_ID", counts.without_stay),
        ("without text", counts.empty),
        ("that repeat another of their stay word for word", counts.repeats),
    ):
        yield _check(f"discharge summaries {name}", number, why=_if(number, "left out"))
    coded = found.codes.stays
    yield _check("stays with a summary", len(with_summary))
    for name, stays in (
        ("stays with a summary and no code", with_summary - coded),
        ("stays with codes and no summary", coded - with_summary),
        ("stays with a summary or codes that ADMISSIONS lacks", (coded | with_summary) - found.stays.keys()),
    ):
        yield _check(name, len(stays), why=_if(len(stays), "left out"))


def _lists(found: Found) -> Iterator[Check]:
    if found.splits is None:
        return
    if found.task.lists is not None:
        same = all(published(found.splits, found.task.lists).values())
        yield _check("published lists", same, True, published_in_words(found.splits, found.task.lists))
    missing, first = unknown_ids(found.splits, found.stays)
    why = f"not in ADMISSIONS, the first: {', '.join(first)}" if missing else ""
    yield _check("listed stays that the tables lack", missing, 0, why)
    patient_of = {stay: found.stays[stay].patient_id for stay in found.chosen}
    yield _check("no patient in two splits", patients_disjoint(found.splits, patient_of), True)


def _written(found: Found) -> Iterator[Check]:
    gold, chosen = found.gold, found.chosen
    if found.splits is not None and found.task.lists is not None:
        for split in SPLITS:
            listed = found.splits.ids(split)
            number = sum(stay in chosen for stay in listed)
            yield _check(f"stays of {split}", number, found.task.stays.get(split), _losses(listed, found))
    else:
        yield _check("stays", len(chosen))
    yield _check("patients of these stays", len({found.stays[stay].patient_id for stay in chosen}))
    labels = sum(len(gold.of(stay)) for stay in chosen)
    yield _check("labels per stay", round(labels / len(chosen), 3) if chosen else 0.0)
    if gold.label_set is None:
        return
    codes = sum(len(found.codes.of(stay)) for stay in chosen)
    why = _if(codes - labels, f"left out of the {codes:,} codes of these stays")
    yield _check("codes outside the label set", codes - labels, why=why)
    yield _check("stays with none of the labels", sum(not gold.of(stay) for stay in chosen))
    kept = frozenset(gold.label_set)
    first = [own[0] for stay in chosen if (own := found.codes.diagnoses.by_stay.get(stay))]
    share = sum(code in kept for code in first)
    why = f"of {len(first):,} stays with a diagnosis; measures of the principal diagnosis are over these"
    yield _check("stays whose principal diagnosis is a label", share, why=why)


def _labels(found: Found, ontology: Ontology) -> Iterator[Check]:
    gold, task = found.gold, found.task
    if gold.label_set is None:
        return
    yield _check("labels", len(gold.label_set), task.labels, task.rule)
    if gold.label_set and task.codes is not None:
        unseen = set(gold.label_set) - {label for stay in found.chosen for label in gold.of(stay)}
        yield _check("labels that no stay has", len(unseen), why=_named(sorted(unseen)))
    if task.name == "mimic3-50-recounted":
        counted = found.codes.stays & (found.with_summary or frozenset())
        stays = stay_counts(found.codes.of(stay) for stay in counted)
        repeats = row_counts(
            kind.repeats.get(stay, ()) for kind in (found.codes.procedures, found.codes.diagnoses) for stay in counted
        )
        sentences = recount_in_words(MIMIC3_50, gold.label_set, stays, stays + repeats)
        yield _check("codes unlike the fixed 50", len(set(gold.label_set) - set(MIMIC3_50)), why=" ".join(sentences))
    if gold.aliases:
        meanings = (f"{label} means {code} ({ontology.resolve(code).title})" for label, code in gold.aliases.items())
        yield _check("labels spelled unlike their code", len(gold.aliases), why=_named(meanings, "; "))
    if gold.shared:
        both = (f"{label} of {' and '.join(codes)}" for label, codes in gold.shared.items())
        yield _check("labels that several codes share", len(gold.shared), why=_named(both, "; "))


def _losses(listed: Collection[str], found: Found) -> str:
    """Why stays of a list are not written, each for the first reason that holds."""
    reasons: Counter[str] = Counter()
    for stay in frozenset(listed) - found.chosen:
        if stay not in found.stays:
            reason = "missing from the tables"
        elif found.with_summary is not None and stay not in found.with_summary:
            reason = "without a discharge summary"
        elif not found.codes.of(stay):
            reason = "without a code"
        else:
            reason = "without a code of the label set"
        reasons[reason] += 1
    found_reasons = sorted(reasons.items())
    return ", ".join([f"the list has {len(listed):,}", *(f"{number:,} {reason}" for reason, number in found_reasons)])


def _known(found: Found) -> Mapping[str, int]:
    edition = edition_of(found.rows)
    return {**EDITIONS[edition], **COUNTS.get(edition, {})} if edition else {}


def _if(number: int, why: str) -> str:
    return why if number else ""


def _named(items: Iterable[str], separator: str = ", ") -> str:
    names = list(items)
    more = f"{separator}and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return separator.join(names[:NAMED]) + more


def _figure(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
