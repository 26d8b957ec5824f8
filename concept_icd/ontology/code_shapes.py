"""How a code of each classification is spelt: the one place that knows where the dot goes.

It knows shapes only, not which codes exist. Another classification is another `CodeShape` and its tables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from concept_icd.records import Kind


@dataclass(frozen=True)
class CodeShape:
    """The spelling of one kind of code.

    Attributes:
        dotted: matches a whole dotted code, a category without a dot included.
        before_dot: matches, at the start of an undotted code, the characters that stand before the dot.
    """

    kind: Kind
    dotted: re.Pattern[str]
    before_dot: re.Pattern[str]

    def add_dot(self, undotted: str) -> str:
        """ "4280" -> "428.0"; a code that is too short for a dot stays as it is."""
        head = self.before_dot.match(undotted)
        if head is None or head.end() == len(undotted):
            return undotted
        return f"{undotted[: head.end()]}.{undotted[head.end() :]}"


#: Diagnoses have three characters before the dot (E codes four), procedures two: a dotted code tells its kind.
ICD9CM = (
    CodeShape(
        "diagnosis",
        re.compile(r"(?:\d{3}|V\d\d)(?:\.\d{1,2})?|E\d{3}(?:\.\d)?", re.ASCII),
        re.compile(r"E\d{3}|V\d\d|\d{3}", re.ASCII),
    ),
    CodeShape("procedure", re.compile(r"\d\d(?:\.\d{1,2})?", re.ASCII), re.compile(r"\d\d", re.ASCII)),
)

SHAPES: dict[str, tuple[CodeShape, ...]] = {"icd9cm": ICD9CM}


def category_of(code: str) -> str:
    """The characters before the dot."""
    return code.partition(".")[0]


def in_range(category: str, first_last: str) -> bool:
    """Whether a category lies in a range such as "390-459", "V01-V91" or "01-05"; string order, never numbers."""
    first, _, last = first_last.partition("-")
    return len(category) == len(first) and category[0].isalpha() == first[0].isalpha() and first <= category <= last
