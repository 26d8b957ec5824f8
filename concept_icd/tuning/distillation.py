"""Notes that another model has scored, whose answers a smaller model learns as soft targets.

Source: Hinton, Vinyals and Dean, 2015, "Distilling the knowledge in a neural network", section 2, at temperature 1:
a tuned margin is the log-odds of "yes", so its sigmoid is the teacher's probability.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit

from concept_icd.corpora import load_corpus
from concept_icd.errors import InputError
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.records import Note, OneLine
from concept_icd.scoring.specs import CONCEPTS
from concept_icd.scoring.store import load_scores

#: Less probable concepts count as false: a row holds its true concepts alone, and most are far from true.
LEAST = 0.01


@dataclass(frozen=True, repr=False)
class TaughtNote(OneLine):
    """A note without codes.

    Attributes:
        targets: the teacher's probability of each concept, float32 (concepts,) in [0, 1].
    """

    note: Note
    targets: np.ndarray


def taught_notes(
    corpus: str | Path, scores: str | Path, concepts: ConceptSet, own: Collection[str]
) -> list[TaughtNote]:
    """The notes of `corpus` that the teacher has scored, with its probabilities of `concepts`.

    Args:
        corpus: folder of `concept-icd prepare`; codes in it are not read. scores: folder of `concept-icd score`.
        own: ids of all notes of the corpus to learn from, test notes included. The adapter of every fold learns what
            is taught, so that a note of both would be known to the adapter that must not see it.

    Raises:
        InputError: a note is of both, a concept was not scored for all notes, or no note of the corpus was scored.
    """
    found, asked = load_scores(scores), ConceptSet.load(Path(scores) / CONCEPTS)
    columns = {concept.key: column for column, concept in enumerate(asked.concepts)}
    if missing := [concept.key for concept in concepts.concepts if concept.key not in columns]:
        raise InputError(f"{scores} lacks {len(missing)} of {len(concepts)} concepts, such as {missing[0]}")
    if found.asked is not None:
        raise InputError(f"{scores} was filled under a selection: a teacher must answer all concepts of a note")
    texts = {coded.note.note_id: coded.note for coded in load_corpus(corpus).notes}
    rows = [(row, texts[note_id]) for row, note_id in enumerate(found.note_ids) if note_id in texts]
    if not rows:
        raise InputError(f"none of the {len(texts)} notes of {corpus} is in {scores}")
    if both := [note.note_id for _, note in rows if note.note_id in own]:
        raise InputError(f"{len(both)} notes to distil from are notes of the corpus itself, such as {both[0]!r}")
    chosen = [columns[concept.key] for concept in concepts.concepts]
    taught = expit(found.logits[:, chosen].astype(np.float64))
    taught[taught < LEAST] = 0
    return [TaughtNote(note, taught[row].astype(np.float32)) for row, note in rows]
