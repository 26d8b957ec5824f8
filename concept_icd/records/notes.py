"""A note as a scorer sees it, and a note with its gold codes, which no scorer accepts.

The two are kept apart on purpose. What a note says of its patient is read here (`sex_of`, `age_of`), and a note that is
longer than anything reads is cut here (`beginning`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import SupportsFloat

from concept_icd.errors import InputError, OneLine
from concept_icd.text.normalization import NormalizedText, normalize

#: Sex as FHIR's administrative gender, MIMIC's letters and OMOP's concepts spell it. None: not known, or neither.
_SEX = {
    **dict.fromkeys(("female", "f", "8532"), "F"),
    **dict.fromkeys(("male", "m", "8507"), "M"),
    **dict.fromkeys(("other", "o", "unknown", "u", "8521", "8551", "8570", "0", ""), None),
}
#: Nobody is older. MIMIC-III moves the births of patients above 89 years 300 years back, so that 300 to 315 is such an
#: age, and other sources write "> 89"; both are 90 here, as MIMIC's own users write them.
OLDEST_AGE, SHIFTED, ABOVE_89 = 150, range(300, 316), 90.0
_ABOVE_89 = re.compile(r"(?:>|&gt;)\s*89|(?:>=|\u2265)\s*90|9[0-9]\s*\+|89\s*\+")


def sex_of(value: object) -> str | None:
    """ "F", "M" or None (not known, or neither), from the words of FHIR, MIMIC and OMOP in any case.

    >>> sex_of("Female"), sex_of("m"), sex_of(8532), sex_of("unknown"), sex_of(None)
    ('F', 'M', 'F', None, None)

    Raises:
        InputError: anything else; the sentence does not quote it.
    """
    if value is None:
        return None
    word = str(value).strip().lower() if isinstance(value, (str, int)) and not isinstance(value, bool) else None
    if word not in _SEX:
        raise InputError('\'sex\' must be "female" or "male" (or F, M; "other" and "unknown" count as not known)')
    return _SEX[word]


def age_of(value: object) -> float | None:
    """Years, from 0 to 150, from a number or its digits; above 89 also as MIMIC writes it: 300 and more, or "> 89".

    >>> age_of(0), age_of("71"), age_of(304.2), age_of("> 89"), age_of(None), age_of("")
    (0.0, 71.0, 90.0, 90.0, None, None)

    Raises:
        InputError: no number, not finite, below 0, or older than anybody; the sentence does not quote it.
    """
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        if _ABOVE_89.fullmatch(text):
            return ABOVE_89
        value = float(text) if re.fullmatch(r"\d{1,3}(?:\.\d*)?", text, re.ASCII) else math.nan
    try:
        years = math.nan if isinstance(value, bool) or not isinstance(value, SupportsFloat) else float(value)
    except OverflowError:  # an integer of hundreds of digits
        years = math.inf
    if math.isfinite(years) and int(years) in SHIFTED:
        return ABOVE_89
    if not 0 <= years <= OLDEST_AGE:
        raise InputError(f"'age' must be a number of years, 0 to {OLDEST_AGE} (above 89 also \"> 89\")")
    return years


@dataclass(frozen=True, repr=False)
class Note(OneLine):
    """A clinical note as a scorer sees it.

    Attributes:
        note_id: unique within a corpus.
        text: as it was given. What reads words reads `normalized.text`.
        patient_id: groups notes of one patient, for splits and intervals.
        age: in years, as `age_of` reads it. sex: "F", "M" or None, as `sex_of` reads it. drugs: names as given.

    Raises:
        InputError: an age or a sex that cannot be one: a value that means nothing must not be read as another.
    """

    note_id: str
    text: str
    patient_id: str | None = None
    age: float | None = None
    sex: str | None = None
    drugs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "age", age_of(self.age))  # the record is frozen
        object.__setattr__(self, "sex", sex_of(self.sex))

    @cached_property
    def normalized(self) -> NormalizedText:
        """The text as it is read, with the way back to the text as it was given."""
        return normalize(self.text)


@dataclass(frozen=True, repr=False)
class Mention(OneLine):
    """A passage that an annotator marked as what carries a code.

    Attributes:
        spans: character spans (start, end) of the note's text, rising; several where the passage has gaps.
    """

    code: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, repr=False)
class CodedNote(OneLine):
    """A note with its gold codes, dotted, in billing order (principal diagnosis first).

    Attributes:
        diagnoses, procedures: each in its own billing order, without repeats.
        annotations: the codes that each annotator gave, where codes are annotations and no bill (CMC 2007: three
            companies; CodiEsp: one team); they may lie outside a label set that `diagnoses` keeps to.
        split: "train", "dev" or "test" where the corpus fixes one.
        principal: the principal diagnosis, where it may be outside `diagnoses` because a label set left codes out;
            None: the first of `diagnoses` is it.
        evidence: the passages that annotators marked, in the order of the text; a code may have several, or none.
    """

    note: Note
    diagnoses: tuple[str, ...] = ()
    procedures: tuple[str, ...] = ()
    annotations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    split: str | None = None
    principal: str | None = None
    evidence: tuple[Mention, ...] = ()

    @property
    def principal_diagnosis(self) -> str | None:
        """The first diagnosis of the stay, whether it is among `diagnoses` or not; None where there is none."""
        return self.principal or next(iter(self.diagnoses), None)

    @property
    def in_billing_order(self) -> bool:
        """Whether the order of the codes means anything; what annotators gave is a set."""
        return not self.annotations

    @property
    def codes(self) -> tuple[str, ...]:
        """All gold codes: diagnoses in order, then procedures in order."""
        return self.diagnoses + self.procedures


def require_notes(notes: Iterable[Note]) -> list[Note]:
    """The notes as a list; TypeError for anything else, so that gold codes cannot reach a scorer."""
    checked = list(notes)
    for note in checked:
        if not isinstance(note, Note):
            raise TypeError(f"a scorer takes Note, not {type(note).__name__}: gold codes must not reach it")
    return checked


# Notes that are longer than anything reads of them: their beginning alone is looked at.
#
# So a note of any length costs no more than one that is read to its end. What is cut here is said where it is said what
# was not read. It knows characters, never a tokenizer.

#: Characters in which words, terms and sections are looked for: about 30,000 words, a book of a note.
LONGEST = 200_000


def beginning(note: Note, most: int = LONGEST) -> Note:
    """The note as it is, or with its first `most` characters alone, up to white space where there is some.

    >>> beginning(Note("a", "  Cough and fever"), 8).text
    '  Cough'
    """
    text = note.text
    if len(text) <= most:
        return note
    most += len(text) - len(text.lstrip())  # blanks say nothing
    end = max(text.rfind(blank, most // 2, most + 1) for blank in " \n\t")
    return replace(note, text=text[: end if end > 0 else most])
