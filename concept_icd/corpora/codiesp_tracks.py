"""The tracks of CodiEsp by name: its cases with the ICD-10 codes that they were given, as published.

    codiesp-d  diagnoses (ICD-10-CM)
    codiesp-p  procedures (ICD-10-PCS; more than half of them are prefixes of four characters)
    codiesp-x  both, for the passages that carry them

The official text is the Spanish one, and it alone has the passages (`CodedNote.evidence`). Codes are written as the
classification writes them. Some end in placeholders where the seventh character was not known ("W19.XXX"): those are
labels of their own, and mean the nearest node of the classification (`Corpus.aliases`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from concept_icd.artifacts import hash_of, sha256
from concept_icd.corpora.codiesp import CODERS, SPLITS, Case, Language, files_of, read_cases
from concept_icd.corpora.store import save_corpus
from concept_icd.ontology.tree import Ontology, load_ontology
from concept_icd.records import CodedNote, Mention, Note

#: Name -> what is coded, in words.
TRACKS: Mapping[str, str] = {
    "codiesp-d": "diagnoses in ICD-10-CM",
    "codiesp-p": "procedures in ICD-10-PCS",
    "codiesp-x": "diagnoses and procedures in ICD-10",
}
CLASSIFICATION = "icd10"
#: The official one.
LANGUAGE: Language = "es"
Check = dict[str, Any]


def prepare_track(
    folder: str | Path, track: str, out: str | Path, *, language: Language = LANGUAGE, overwrite: bool = False
) -> tuple[dict[str, Any], list[Check]]:
    """Writes the corpus of a track; returns its counts and what was found, for `mimic3.checks.in_words`.

    Args:
        track: one of `TRACKS`. language: "es" with passages, or "en", the organisers' translation, without.

    Raises:
        InputError: a file is missing or damaged, or `out` exists.
    """
    start = time.monotonic()
    cases = read_cases(Path(folder), language)
    notes = [coded_note(case, track) for case in cases]
    labels = tuple(sorted({code for note in notes for code in note.codes}))
    ontology = load_ontology(CLASSIFICATION)
    meant = meanings(labels, ontology)
    checks = list(_found(notes, labels, meant, ontology))
    files = {path.relative_to(folder).as_posix(): sha256(path) for path in files_of(Path(folder), language)}
    counts = save_corpus(
        out,
        notes,
        inputs={"codiesp": hash_of(files)},
        config={"source": "codiesp", "task": track, "language": language},
        seconds=time.monotonic() - start,
        overwrite=overwrite,
        label_set=labels,
        aliases=meant,
        task=track,
        classification=CLASSIFICATION,
        checks=checks,
    )
    return counts, checks


def coded_note(case: Case, track: str) -> CodedNote:
    """A case with the codes of a track, and their passages; the order of its codes means nothing."""
    diagnoses = tuple(map(str.upper, case.diagnoses)) if track != "codiesp-p" else ()
    procedures = tuple(map(str.upper, case.procedures)) if track != "codiesp-d" else ()
    codes = diagnoses + procedures
    evidence = (Mention(mention.code.upper(), mention.spans) for mention in case.evidence)
    return CodedNote(
        Note(case.case_id, case.text),
        diagnoses,
        procedures,
        annotations={CODERS: codes},
        split=case.split,
        evidence=tuple(mention for mention in evidence if mention.code in codes),
    )


def meanings(labels: Sequence[str], ontology: Ontology) -> dict[str, str]:
    """Label -> the node that it means, for labels that no edition has: without placeholders, or else what is above.

    >>> meanings(["W19.XXX", "S09.90X", "R52"], load_ontology("icd10"))
    {'W19.XXX': 'W19', 'S09.90X': 'S09.90'}
    """
    found = {}
    for label in labels:
        node = label
        while node not in ontology and len(node) > 3:
            node = node[:-1].rstrip(".")
        if node != label:
            found[label] = node
    return found


def _found(
    notes: Sequence[CodedNote], labels: Sequence[str], meant: Mapping[str, str], ontology: Ontology
) -> Iterator[Check]:
    in_split = {
        split: Counter(code for note in notes if note.split == split for code in note.codes) for split in SPLITS
    }
    whole = sum(in_split.values(), Counter[str]())
    for split in SPLITS:
        of = [note for note in notes if note.split == split]
        yield _check(f"cases of {split}", len(of), f"{sum(not note.codes for note in of):,} of them have no such code")
        yield _check(
            f"codes of {split} cases, with repeats", in_split[split].total(), f"{len(in_split[split]):,} codes"
        )
    placeholders = [
        label for label, node in meant.items() if label.replace(".", "").rstrip("X") == node.replace(".", "")
    ]
    why = f"{len(placeholders):,} codes; the seventh character is not known, and the node before it is meant"
    yield _check("codes that end in placeholders", sum(whole[label] for label in placeholders), why)
    unknown = sorted(meant.keys() - placeholders)
    why = f"{len(unknown):,} codes of no US edition: {', '.join(unknown)}; what is above them is meant"
    yield _check("codes that the classification lacks", sum(whole[label] for label in unknown), why if unknown else "")
    inner = [label for label in labels if label in ontology and not ontology.billable(label)]
    why = f"{len(inner):,} codes; they are no billable codes of any edition, and are kept as they are"
    yield _check("codes above the billable ones", sum(whole[label] for label in inner), why)
    unseen = [label for label in labels if not in_split["train"][label]]
    why = f"{sum(in_split['test'][label] for label in unseen):,} of the test cases' codes are such"
    yield _check("labels that no training case has", len(unseen), why)
    passages = [mention for note in notes for mention in note.evidence]
    split_up = sum(len(mention.spans) > 1 for mention in passages)
    yield _check(
        "passages", len(passages), f"{split_up:,} of them have gaps" if passages else "the Spanish text has them"
    )


def _check(name: str, found: int, why: str = "") -> Check:
    return {"name": name, "found": found, "published": None, "ok": True, "why": why}
