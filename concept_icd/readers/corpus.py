"""Gold codes of a prepared corpus. The notes' text is not read."""

from __future__ import annotations

import json
from pathlib import Path

from concept_icd.artifacts import read_manifest
from concept_icd.corpora.store import NOTES, Corpus
from concept_icd.errors import InputError
from concept_icd.ontology.tree import load_ontology
from concept_icd.readers.forms import Gold, GoldRows
from concept_icd.readers.label_sets import billed_note


def read_corpus_gold(folder: str | Path, split: str | None = None, default_split: str = "test") -> Gold:
    """The coded notes of a split, and what the corpus says of itself.

    Args:
        split: "all" takes every coded note; None takes `default_split`, or all where the corpus has no such split.

    Raises:
        InputError: no prepared corpus, or no coded note in the split.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    corpus = Corpus((), read_manifest(folder, "prepare"))
    ontology = load_ontology(corpus.classification)
    path = Path(folder) / NOTES
    try:
        columns = ["note_id", "patient_id", "diagnoses", "procedures", "annotations", "split", "principal"]
        with path.open("rb") as file:
            rows = pq.read_table(file, columns=columns).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} is missing or damaged; run `concept-icd prepare` again") from error
    splits = {row["split"] for row in rows}
    wanted = split or (default_split if default_split in splits else "all")
    gold, others = GoldRows(folder), []
    for row in rows:
        codes = tuple(dict.fromkeys([*row["diagnoses"], *row["procedures"]]))
        if codes and wanted in ("all", row["split"]):
            is_vote = json.loads(row["annotations"] or "{}")
            billed = None if is_vote else billed_note(row["note_id"], codes, ontology, row["principal"])
            gold.add(row["note_id"], codes, row["patient_id"], billed)
        else:
            others.append(row["note_id"])
    found = gold.gold()
    if not found.codes:
        has = ", ".join(sorted(filter(None, splits))) or "no splits"
        raise InputError(f"{folder} has no coded note of the split {wanted!r}; it has {has}")
    return Gold(
        found.codes,
        found.patients,
        found.billed,
        frozenset(others),
        corpus.label_set,
        corpus.aliases,
        corpus.task,
        sum(row["split"] == "train" for row in rows) or None,
        corpus.classification,
    )
