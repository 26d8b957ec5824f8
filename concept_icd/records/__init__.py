"""The words of the package as frozen records: notes, and what is said of them. They know nothing of files or models."""

from concept_icd.errors import OneLine
from concept_icd.records.notes import (
    ABOVE_89,
    LONGEST,
    OLDEST_AGE,
    SHIFTED,
    CodedNote,
    Mention,
    Note,
    age_of,
    beginning,
    require_notes,
    sex_of,
)
from concept_icd.records.results import (
    EXPERTS,
    LEVELS,
    CodingResult,
    Concept,
    ConceptContribution,
    Kind,
    Level,
    RankedCode,
)

__all__ = [
    "ABOVE_89",
    "EXPERTS",
    "LEVELS",
    "LONGEST",
    "OLDEST_AGE",
    "SHIFTED",
    "CodedNote",
    "CodingResult",
    "Concept",
    "ConceptContribution",
    "Kind",
    "Level",
    "Mention",
    "Note",
    "OneLine",
    "RankedCode",
    "age_of",
    "beginning",
    "require_notes",
    "sex_of",
]
