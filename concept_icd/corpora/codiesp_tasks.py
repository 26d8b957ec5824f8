"""The benchmarks on CodiEsp by name: which ICD-9-CM codes are labels, which cases count, and what was found.

    codiesp9-50      the 50 codes that the most training cases have
    codiesp9-rare50  of the codes with 2 to 8 training cases, as those of KEPT's rare 50 have (Yang et al. 2022), the 50
                     that the most test cases have, so that each is tested
    codiesp9-all     every code of the train, dev and test cases

Ties go to the code that is first as text. Cases without a label of the set are left out, as MIMIC-III-50 does. That
the test part is looked at for codiesp9-rare50, and for what codiesp9-all holds, makes the benchmark and tunes nothing;
codiesp9-50 is chosen from training cases alone.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from concept_icd.artifacts import hash_of, sha256
from concept_icd.corpora.codiesp import SPLITS, Case, coded_note, files_of, read_cases
from concept_icd.corpora.codiesp_tracks import TRACKS
from concept_icd.corpora.equivalence_maps import BY_HAND, WAYS, Carried, EquivalenceMaps
from concept_icd.corpora.store import save_corpus
from concept_icd.errors import InputError, did_you_mean
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodedNote

#: Name -> rule, in words.
TASKS: Mapping[str, str] = {
    "codiesp9-50": "the 50 codes that the most training cases have",
    "codiesp9-rare50": "of the codes with 2 to 8 training cases, the 50 that the most test cases have",
    "codiesp9-all": "every code of a train, dev or test case",
}
SIZE, RARE = 50, range(2, 9)
Check = dict[str, Any]


def prepare_codiesp(
    folder: str | Path, maps_dir: str | Path, task: str, out: str | Path, *, overwrite: bool = False
) -> tuple[dict[str, Any], list[Check]]:
    """Writes the corpus of a task; returns its counts and what was found, for `mimic3.checks.in_words`.

    Raises:
        InputError: no such task, a file is missing or damaged, or `out` exists.
    """
    if task not in TASKS:
        names = (*TRACKS, *TASKS)
        raise InputError(f"no task {task!r}{did_you_mean(task, names)}; tasks: {', '.join(names)}")
    start = time.monotonic()
    maps = EquivalenceMaps(maps_dir)
    cases = read_cases(Path(folder))
    notes = [coded_note(case, maps) for case in cases]
    labels = label_set(task, notes)
    kept = [chosen for note in notes if (chosen := restricted(note, labels)).codes]
    if not kept:
        raise InputError(f"no case of {folder} has a code of {task}")
    checks = [*_carried(cases, maps), *_written(task, notes, kept, labels)]
    files = {path.relative_to(folder).as_posix(): sha256(path) for path in files_of(Path(folder))}
    counts = save_corpus(
        out,
        kept,
        inputs={"codiesp": hash_of(files)} | {path.name: sha256(path) for path in maps.files},
        config={"source": "codiesp", "task": task},
        seconds=time.monotonic() - start,
        overwrite=overwrite,
        label_set=labels,
        task=task,
        checks=checks,
    )
    return counts, checks


def label_set(task: str, notes: Sequence[CodedNote]) -> tuple[str, ...]:
    """The labels of a task, sorted."""
    of = {split: Counter(code for n in notes if n.split == split for code in n.codes) for split in SPLITS}
    if task == "codiesp9-all":
        return tuple(sorted({code for counts in of.values() for code in counts}))
    counts = of["train"]
    if task == "codiesp9-rare50":
        counts = Counter({code: number for code, number in of["test"].items() if of["train"][code] in RARE})
    return tuple(sorted(sorted(counts, key=lambda code: (-counts[code], code))[:SIZE]))


def restricted(note: CodedNote, labels: Sequence[str]) -> CodedNote:
    """The note with the codes of the label set alone; its annotations keep the others."""
    kept = frozenset(labels)
    return dataclasses.replace(note, diagnoses=tuple(code for code in note.diagnoses if code in kept))


def _carried(cases: Sequence[Case], maps: EquivalenceMaps) -> Iterator[Check]:
    """What became of the ICD-10 codes."""
    assigned = Counter(code for case in cases for code in case.diagnoses)
    went = {code: maps.carry(code) for code in sorted(assigned)}
    yield _check("ICD-10 diagnoses", sum(assigned.values()), f"{len(assigned):,} codes")
    for way, meaning in WAYS.items():
        own = [code for code, carried in went.items() if carried.way == way]
        yield _check(f"diagnoses carried: {way}", sum(map(assigned.__getitem__, own)), f"{len(own):,} codes; {meaning}")
    unclear = [code for code, carried in went.items() if carried.ambiguous]
    by_hand = sum(code.upper().replace(".", "") in BY_HAND for code in unclear)
    why = f"{len(unclear):,} codes; another target could have been chosen, {by_hand} chosen by hand"
    listed = [_in_full(code, went[code], assigned[code]) for code in unclear]
    yield {**_check("diagnoses carried, ambiguous", sum(map(assigned.__getitem__, unclear)), why), "codes": listed}
    out = [code for code, carried in went.items() if not carried.codes]
    listed = [_in_full(code, went[code], assigned[code]) for code in out]
    why = f"{len(out):,} codes; they have no equivalent, or the map does not know them"
    yield {**_check("diagnoses left out", sum(map(assigned.__getitem__, out)), why), "codes": listed}
    ontology = load_ontology("icd9cm")
    targets = {code for carried in went.values() for code in carried.codes}
    absent = sorted(code for code in targets if code not in ontology or not ontology.billable(code))
    yield _check("ICD-9-CM codes of the map outside the billable ones of v32", len(absent), ", ".join(absent))
    procedures = Counter(code for case in cases for code in case.procedures)
    why = f"{len(procedures):,} codes of CIE-10-PCS, left out: the tables map no procedures"
    yield _check("procedures", sum(procedures.values()), why)
    landed = sum(len(went[code].codes) for case in cases for code in case.diagnoses)
    merged = landed - sum(len(coded_note(case, maps).codes) for case in cases)
    yield _check("ICD-9-CM codes that a case has twice or more", merged, "ICD-10 codes of a case meet; one is kept")


def _written(
    task: str, notes: Sequence[CodedNote], kept: Sequence[CodedNote], labels: Sequence[str]
) -> Iterator[Check]:
    yield _check("labels", len(labels), TASKS[task])
    for split in SPLITS:
        whole, own = (sum(note.split == split for note in some) for some in (notes, kept))
        left = f"of {whole:,}; {whole - own:,} have none of the labels and are left out" if own < whole else ""
        yield _check(f"cases of {split}", own, left)
    cases_of = {split: Counter(code for note in kept if note.split == split for code in note.codes) for split in SPLITS}
    for split in SPLITS:
        found = cases_of[split]
        seen = len(found)
        few = f"{seen:,} of the labels occur; {sum(found[code] == 1 for code in found):,} in one case"
        yield _check(f"codes of {split} cases, with repeats", sum(found.values()), few)
    unseen = [code for code in labels if not cases_of["train"][code]]
    tested = sum(cases_of["test"][code] for code in unseen)
    why = f"{tested:,} of the test cases' codes are such: no training case shows them" if unseen else ""
    yield _check("labels that no training case has", len(unseen), why)
    outside = sum(len(note.codes) for note in notes) - sum(len(note.codes) for note in kept)
    yield _check("ICD-9-CM codes of the cases outside the label set", outside, "left out" if outside else "")


def _in_full(code: str, carried: Carried, assignments: int) -> dict[str, Any]:
    return {
        "icd10": code,
        "icd9": list(carried.codes),
        "way": carried.way,
        "alternatives": list(carried.alternatives),
        "assignments": assignments,
    }


def _check(name: str, found: int, why: str = "") -> Check:
    return {"name": name, "found": found, "published": None, "ok": True, "why": why}
