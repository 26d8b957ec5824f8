"""Concept scores as results: a record a note, with its codes in order and what is to be said of each.

It knows a coder's heads and the words of its codes; it loads no model and sees no gold codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from concept_icd.heads.fitting import Heads
from concept_icd.heads.novelty import NOVEL
from concept_icd.metrics.recall_depth import stops
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodingResult, ConceptContribution, RankedCode
from concept_icd.scoring.scorer import ConceptScores

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def coding_results(
    heads: Heads,
    concepts: ConceptSet,
    about_codes: Sequence[Mapping[str, Any]],
    versions: Mapping[str, str],
    scores: ConceptScores,
    probabilities: np.ndarray,
    order: np.ndarray,
    top_concepts: int,
    top_codes: int | None,
) -> Iterator[CodingResult]:
    """See `ConceptCoder.results`.

    Args:
        about_codes: what `describe_codes` gave for the codes of the concepts. versions: what produces the results.
        probabilities: of these scores, shape (notes, codes). order: of the codes, the column at each rank; same shape.
    """
    accepted = heads.threshold.accept(probabilities)
    p_values = heads.novelty_p_values(scores.logits, probabilities)
    for row, note_id in enumerate(scores.note_ids):
        added = heads.contributions(scores.logits[row])
        expected = heads.recall_cutoff.expected_recall(probabilities[row : row + 1], order[row : row + 1])
        ranked = tuple(
            RankedCode(
                rank=rank,
                probability=float(probabilities[row, column]),
                accepted=bool(accepted[row, column]),
                concepts=_carried(concepts, added, column, scores.logits[row], top_concepts),
                expected_recall=float(expected[0, rank - 1]),
                **about_codes[column],
            )
            for rank, column in enumerate(order[row][:top_codes], start=1)
        )
        yield CodingResult(
            note_id,
            ranked,
            scores.truncated[row],
            versions,
            int(stops(expected)[0][0]),
            None if p_values is None else float(p_values[row]),
            None if p_values is None else bool(p_values[row] <= NOVEL),
        )


def _carried(
    concepts: ConceptSet, added: csr_array, column: int, logits: np.ndarray, top: int
) -> tuple[ConceptContribution, ...]:
    """The `top` concepts that a code looks at, by falling contribution, without those that add nothing."""
    part = slice(added.indptr[column], added.indptr[column + 1])
    found, values = added.indices[part], added.data[part]
    known = concepts.concepts
    return tuple(
        ConceptContribution(known[k].key, known[k].level, known[k].text, float(logits[k]), float(value))
        for k, value in ((found[i], values[i]) for i in _falling(values)[:top])
    )


def _falling(values: np.ndarray) -> np.ndarray:
    order = np.argsort(-values, kind="stable")
    return order[values[order] != 0]


def describe_codes(meanings: Mapping[str, str], classification: str) -> list[dict[str, Any]]:
    """What a result says of each code whatever the note.

    Args:
        meanings: code -> the code of the classification that it means, in the order of the columns.
    """
    ontology = load_ontology(classification)
    return [
        {
            "code": code,
            "kind": ontology.kind(meant),
            "title": ontology.resolve(meant).title,
            "path": ontology.path(meant),
            "system": ontology.system(ontology.kind(meant)),
        }
        for code, meant in meanings.items()
    ]
