"""A small coder fitted on a random model, for the tests of whatever uses one (a pytest plugin, see conftest.py)."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from concept_icd.coder.coder import ConceptCoder
    from concept_icd.records import CodedNote, Note
    from concept_icd.scoring.scorer import ConceptScores

CODES = ("486", "493.90", "599.0", "780.6", "786.2", "38.93")
WORDS = (
    *("cough", "fever", "asthma", "pneumonia", "wheezing", "urinary", "infection"),
    *("normal", "chest", "renal", "line", "placed", "history", "pain", "no"),
)


def make_notes(count: int, seed: int, split: str) -> list[Note]:
    from concept_icd.records import Note

    rng = random.Random(seed)
    return [Note(f"{split}-{i}", " ".join(rng.choices(WORDS, k=rng.randint(5, 25)))) for i in range(count)]


@dataclasses.dataclass(frozen=True)
class Fitted:
    coder: ConceptCoder
    scores: ConceptScores
    train: list[CodedNote]
    test: list[CodedNote]
    arguments: dict[str, Any]


@pytest.fixture(scope="session")
def fitted(llama: Path, llama_adapter: Path) -> Fitted:
    """A coder of a random model whose own answers decide the gold codes, so that there is something to learn."""
    import numpy as np

    from concept_icd.coder.coder import ConceptCoder
    from concept_icd.ontology.concepts import ConceptSet
    from concept_icd.ontology.tree import load_ontology
    from concept_icd.records import CodedNote
    from concept_icd.scoring.packed import PackedScorer

    concepts = ConceptSet.expand(CODES, load_ontology("icd9cm"))
    scorer = PackedScorer.from_pretrained(llama, llama_adapter)
    notes = [*make_notes(80, 0, "train"), *make_notes(20, 1, "test")]
    scores = dataclasses.replace(scorer.score(notes, concepts), out_of_fold=True)
    own = scores.logits[:, [concepts.on_path(code)[-1] for code in CODES]]
    gold = own > np.quantile(own, [0.6, 0.7, 0.8, 0.8, 0.9, 0.9], axis=0)[range(6), range(6)]
    coded = [
        CodedNote(
            note,
            tuple(code for code, true in zip(CODES[:5], row[:5], strict=True) if true),
            ("38.93",) if row[5] else (),
            split=note.note_id.split("-")[0],
        )
        for note, row in zip(notes, gold, strict=True)
    ]
    arguments = {"model": llama, "adapter": llama_adapter}
    train_scores = scores.select([note.note_id for note in notes[:80]])
    coder = ConceptCoder.fit(train_scores, coded[:80], concepts, **arguments)
    return Fitted(coder, scores, coded[:80], coded[80:], arguments)
