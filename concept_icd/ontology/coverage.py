"""Whether notes say the phrases at all: BM25 of each phrase over windows of sentences, as in CEC's coverage check.

It finds words, not meanings: "no dyspnea" counts as found. A phrase that no note says is a question without answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from concept_icd.ontology.bm25 import K1, Bm25
from concept_icd.records import Note
from concept_icd.text.sentences import sentence_windows
from concept_icd.text.words import stems


@dataclass(frozen=True)
class PhraseCoverage:
    """How far notes say one phrase.

    Attributes:
        notes: in how many notes the best window reaches the bar.
        best: the best window's score, as a share of the score of a window that is the phrase itself and of mean length
            (so about 1.0 means: all words, in a short window).
    """

    phrase: str
    notes: int
    best: float

    @property
    def found(self) -> bool:
        """Some note says it."""
        return self.notes > 0


def check_coverage(phrases: Iterable[str], notes: Sequence[Note], bar: float = 0.5) -> list[PhraseCoverage]:
    """How many notes say each phrase, in the order of `phrases`.

    BM25 of a phrase in a window (`bm25`) is divided by the sum of idf(w) / (1 + k1) over the words of the phrase, a
    word that no window has weighing as one that a single window has. Then 1 is a window of mean length that has each
    word once, so one bar serves short and long phrases: 0.5 asks for half of a phrase's weight, rare words weighing
    more.

    Args:
        phrases: each is checked by its word stems, without stop words.
        bar: the share from which a note counts as saying the phrase.

    Raises:
        MissingExtraError: bm25s is not installed.
    """
    asked = list(phrases)
    windows = [(row, stems(text)) for row, note in enumerate(notes) for text in sentence_windows(note.normalized.text)]
    windows = [(row, words) for row, words in windows if words]
    if not windows:
        return [PhraseCoverage(phrase, 0, 0.0) for phrase in asked]
    index = Bm25([words for _, words in windows])
    owner = np.array([row for row, _ in windows])
    report = []
    for phrase in asked:
        words = dict.fromkeys(stems(phrase))
        best = np.zeros(len(notes))
        if words:
            np.maximum.at(best, owner, index.scores(words) * ((1 + K1) / sum(map(index.idf, words))))
        report.append(PhraseCoverage(phrase, int((best >= bar).sum()), float(best.max(initial=0.0))))
    return report
