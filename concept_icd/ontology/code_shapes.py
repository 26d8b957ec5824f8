"""How a code of each classification is spelt: the one place that knows where the dot goes.

It knows shapes only, not which codes exist. Another classification is another `Shapes` and its tables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from concept_icd.records import Kind


@dataclass(frozen=True)
class CodeShape:
    """The spelling of one kind of code.

    Attributes:
        dotted: matches a whole code as it is written, with its dot if it has one; a category without a dot included.
        before_dot: matches, at the start of an undotted code, the characters that stand before the dot; None where no
            code of this kind has a dot.
        levels: names of the depths of the tree, widest first.
        display: the name of the classification that people use for this kind.
        system: the URI of the code system in FHIR.
        node: matches the spelling of any node of this kind, ranges included; what `dotted` matches is a code.
        beginning: matches what may be the beginning of a node's spelling, so that a search looks for codes.
        bare: levels whose titles say little without those above ("Open").
        asked_as: of each level the level of its concepts, one of `records.LEVELS`; none: the levels are such.
    """

    kind: Kind
    dotted: re.Pattern[str]
    before_dot: re.Pattern[str] | None
    levels: tuple[str, ...]
    display: str
    system: str
    node: re.Pattern[str]
    beginning: re.Pattern[str]
    bare: tuple[str, ...] = ()
    asked_as: tuple[str, ...] = ()

    def concept_level(self, level: str) -> str:
        """As what level of concept a level of the tree is asked."""
        return self.asked_as[self.levels.index(level)] if self.asked_as else level

    def add_dot(self, undotted: str) -> str:
        """ "4280" -> "428.0"; a code that is too short for a dot stays as it is. Of a PCS table, "B01" -> "B01-"."""
        if self.before_dot is None and self.dotted.fullmatch(f"{undotted}-"):
            return f"{undotted}-"
        head = self.before_dot.match(undotted) if self.before_dot else None
        if head is None or head.end() == len(undotted):
            return undotted
        return f"{undotted[: head.end()]}.{undotted[head.end() :]}"


#: Diagnoses have three characters before the dot (E codes four), procedures two: a dotted code tells its kind.
ICD9CM = (
    CodeShape(
        "diagnosis",
        re.compile(r"(?:\d{3}|V\d\d)(?:\.\d{1,2})?|E\d{3}(?:\.\d)?", re.ASCII),
        re.compile(r"E\d{3}|V\d\d|\d{3}", re.ASCII),
        ("chapter", "section", "category", "subcategory", "code"),
        "ICD-9-CM",
        "http://hl7.org/fhir/sid/icd-9-cm",
        re.compile(r"(?:\d{3}|V\d\d)(?:\.\d{1,2})?|E\d{3}(?:\.\d)?|(?:\d{3}|[VE]\d+)-(?:\d{3}|[VE]\d+)", re.ASCII),
        re.compile(r"[A-Z]?\d[\d.-]*"),
    ),
    CodeShape(
        "procedure",
        re.compile(r"\d\d(?:\.\d{1,2})?", re.ASCII),
        re.compile(r"\d\d", re.ASCII),
        ("chapter", "category", "subcategory", "code"),
        "ICD-9-CM",
        "http://hl7.org/fhir/sid/icd-9-cm",
        re.compile(r"\d\d(?:\.\d{1,2})?|\d\d-\d\d", re.ASCII),
        re.compile(r"[A-Z]?\d[\d.-]*"),
    ),
)

#: A procedure code has no dot, a diagnosis code of more than three characters has one, so a written code tells its
#: kind. Where the three characters of a PCS table could be a category (B01), the table is written with a hyphen, B01-.
ICD10 = (
    CodeShape(
        "diagnosis",
        re.compile(r"[A-Z][0-9A][0-9A-Z](?:\.[0-9A-Z]{1,4})?", re.ASCII),
        re.compile(r"[A-Z][0-9A][0-9A-Z]", re.ASCII),
        ("chapter", "section", "category", "4 characters", "5 characters", "6 characters", "7 characters"),
        "ICD-10-CM",
        "http://hl7.org/fhir/sid/icd-10-cm",
        re.compile(r"[A-Z][0-9A][0-9A-Z](?:\.[0-9A-Z]{1,4}|-[A-Z][0-9A][0-9A-Z])?", re.ASCII),
        re.compile(r"[A-Z]\d[0-9A-Z.-]{0,6}", re.ASCII),
        asked_as=("chapter", "section", "category", "subcategory", "subcategory", "subcategory", "code"),
    ),
    CodeShape(
        "procedure",
        re.compile(
            r"[0-9BCDFGHX][0-9A-HJ-NP-Z]?|[0-9][0-9A-HJ-NP-Z]{2}|[BCDFGHX][B-HJ-NP-Z][0-9A-HJ-NP-Z]"
            r"|[BCDFGHX][0-9A][0-9A-HJ-NP-Z]-|[0-9BCDFGHX][0-9A-HJ-NP-Z]{3,6}",
            re.ASCII,
        ),
        None,
        ("section", "body system", "operation", "body part", "approach", "device", "qualifier"),
        "ICD-10-PCS",
        "http://www.cms.gov/Medicare/Coding/ICD10",
        re.compile(r"[0-9BCDFGHX][0-9A-HJ-NP-Z]{0,6}|[BCDFGHX][0-9A][0-9A-HJ-NP-Z]-", re.ASCII),
        re.compile(r"(?:\d|[BCDFGHX][A-Z]?\d)[0-9A-HJ-NP-Z]{0,6}", re.ASCII),
        ("approach", "device"),
        ("chapter", "section", "category", "subcategory", "subcategory", "subcategory", "code"),
    ),
)

SHAPES: dict[str, tuple[CodeShape, ...]] = {"icd9cm": ICD9CM, "icd10": ICD10}
#: First and last fiscal year of a classification whose tables hold several editions.
EDITIONS: dict[str, tuple[int, int]] = {"icd10": (2016, 2026)}


def category_of(code: str) -> str:
    """The characters before the dot."""
    return code.partition(".")[0]


def in_range(category: str, first_last: str) -> bool:
    """Whether a category lies in a range such as "390-459", "V01-V91" or "01-05"; string order, never numbers."""
    first, _, last = first_last.partition("-")
    return len(category) == len(first) and category[0].isalpha() == first[0].isalpha() and first <= category <= last
