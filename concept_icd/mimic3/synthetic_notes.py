"""Notes of the synthetic MIMIC-III that are no discharge summaries: they are many, and no reader of codes wants them.

They are put together from paragraphs that are made once. Some have no stay, some no time, some were entered in error.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate

from concept_icd.corpora.synthetic_language import Dice
from concept_icd.mimic3.synthetic_billing import words
from concept_icd.mimic3.synthetic_files import Value
from concept_icd.mimic3.synthetic_stays import Stay
from concept_icd.mimic3.synthetic_text import filled, wrap

PARAGRAPHS, SENTENCES = 500, 4


@dataclass(frozen=True)
class Category:
    """One kind of note; see synthetic_words.yaml."""

    share: int
    descriptions: list[str]
    paragraphs: int
    no_stay: float


class OtherNotes:
    """Draws rows of NOTEEVENTS."""

    def __init__(self, dice: Dice) -> None:
        self._categories = {name: Category(**fields) for name, fields in words()["other_notes"].items()}
        self._names = list(self._categories)
        self._sums = list(accumulate(category.share for category in self._categories.values()))
        sentences = filled(words()["other_sentences"], dice, "M", PARAGRAPHS * SENTENCES)
        self._pool = [
            wrap(" ".join(sentences[start : start + SENTENCES])) for start in range(0, len(sentences), SENTENCES)
        ]

    def draw(self, stay: Stay, dice: Dice) -> tuple[Value, ...]:
        """A note about a stay: a whole row but ROW_ID."""
        roll = dice.roll
        name = self._names[bisect(self._sums, roll() * self._sums[-1])]
        category = self._categories[name]
        written = stay.admitted + timedelta(
            minutes=int(roll() * (stay.discharged - stay.admitted).total_seconds() / 60)
        )
        time = written.isoformat(" ") if roll() < 0.8 else None
        first = int(roll() * len(self._pool))
        count = 1 + int(roll() * (2 * category.paragraphs - 1))
        return (
            stay.patient.subject_id,
            None if roll() < category.no_stay else stay.hadm_id,
            written.date().isoformat(),
            time,
            time if roll() < 0.5 else None,
            name,
            dice.pick(category.descriptions),
            14000 + int(roll() * 7000),
            "1" if roll() < 0.005 else None,
            "\n\n".join(self._pool[(first + 7 * number) % len(self._pool)] for number in range(count)) + "\n",
        )
