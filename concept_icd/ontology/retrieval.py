r"""Candidate codes of a note by its words: BM25 over titles and phrases of the codes, no model asked.

\[ r(c) = \max_{d, s} \mathrm{BM25}(d, s) \Big/ \sqrt{\textstyle\sum_{w \in d} \mathrm{idf}(w)}
   \; + \; 0.3\,m\,\mathrm{BM25}(a_c, n) \]

over the documents \(d\) of code \(c\) (its own title, each of its phrases) and the sentences \(s\) of the note \(n\):
one line of a long note can bring a code alone, and a long title is not found for its length. \(a_c\) are the titles of
the ancestors, looked for in the whole note, to tell codes of the same words apart; \(m\) brings their mean over the
codes to that of the first part. It finds words, not meanings: "no fever" brings fever. It knows notes and
titles, never gold codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from concept_icd.artifacts import hash_of
from concept_icd.ontology.bm25 import Bm25
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.records import Note, OneLine
from concept_icd.text.sentences import sentence_spans
from concept_icd.text.words import stems

#: Weight of the ancestors' titles beside the code's own.
ANCESTORS = 0.3


@dataclass(frozen=True, repr=False)
class CodeRetriever(OneLine):
    """Ranks the codes of a label set for a note.

    Attributes:
        codes: how many there are. documents: own titles and phrases. owners: for each the columns of its codes.
        ancestors: for each code the titles above it.
    """

    codes: int
    documents: tuple[str, ...]
    owners: tuple[tuple[int, ...], ...]
    ancestors: tuple[str, ...]

    @classmethod
    def of(cls, concepts: ConceptSet) -> CodeRetriever:
        """Over the texts of all concepts of a label set."""
        column = {code: number for number, code in enumerate(concepts.codes)}
        rows = [concepts.concepts[k] for k in range(len(concepts))]
        own: list[tuple[str, tuple[int, ...]]] = []
        above: list[list[str]] = [[] for _ in concepts.codes]
        for concept in rows:
            kind, _, name = concept.key.partition(":")
            inside = [
                code for code in concept.codes if kind != "phrase" and concepts.meaning(code) != concepts.meaning(name)
            ]
            own.append((concept.text, tuple(column[code] for code in concept.codes if code not in set(inside))))
            for code in inside:
                above[column[code]].append(concept.text)
        own = [(text, owners) for text, owners in own if owners]
        return cls(
            len(concepts.codes),
            tuple(text for text, _ in own),
            tuple(owners for _, owners in own),
            tuple("\n".join(texts) for texts in above),
        )

    @cached_property
    def hash(self) -> str:
        """Hex digest of all texts."""
        return hash_of([self.documents, self.owners, self.ancestors])

    def scores(self, note: Note) -> np.ndarray:
        """r of each code, float32, shape (codes,); 0 where no word is shared.

        Raises:
            MissingExtraError: bm25s is not installed.
        """
        best = np.zeros(len(self.documents), dtype=np.float32)
        text = note.normalized.text
        for start, end in sentence_spans(text):
            np.maximum(best, self._titles.scores(stems(text[start:end])), out=best)
        best /= self._weights
        scores = np.zeros(self.codes, dtype=np.float32)
        documents, columns = self._pairs
        np.maximum.at(scores, columns, best[documents])
        above = self._above.scores(stems(text))
        if (mean := float(above.mean())) > 0:
            scores += ANCESTORS * above * (scores.mean() / mean)
        return scores

    def best(self, note: Note, count: int) -> np.ndarray:
        """Columns of the `count` codes with the highest scores above 0, best first; ties by their order in the set."""
        scores = self.scores(note)
        order = np.argsort(-scores, kind="stable")[:count]
        return order[scores[order] > 0]

    @cached_property
    def _titles(self) -> Bm25:
        return Bm25([stems(text) for text in self.documents])

    @cached_property
    def _above(self) -> Bm25:
        return Bm25([stems(text) for text in self.ancestors])

    @cached_property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        sizes = [len(owners) for owners in self.owners]
        columns = np.array([column for owners in self.owners for column in owners], dtype=np.int64)
        return np.repeat(np.arange(len(sizes)), sizes), columns

    @cached_property
    def _weights(self) -> np.ndarray:
        """(documents,): square root of the summed idf of a document's words, 1 at least."""
        sums = (sum(map(self._titles.idf, sorted(set(stems(text))))) for text in self.documents)
        return np.sqrt([max(1.0, total) for total in sums]).astype(np.float32)
