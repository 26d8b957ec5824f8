"""One node of a classification, as the package and its JSON give it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from concept_icd.records import Kind, Level


@dataclass(frozen=True)
class Node:
    """One node of a tree.

    Attributes:
        code: as it is written; chapters and sections are ranges such as "390-459".
        level: one of `Ontology.levels`: for ICD-9-CM "chapter", "section", "category", "subcategory" or "code"
            (five-digit diagnoses, four-digit procedures).
        title: of an axis of ICD-10-PCS, what the last character means in its table.
        billable: it may stand on a claim, in some year of those at hand (leaves of the tree, at whatever level).
        parent: None for a root.
        listed: first and last fiscal year that has the node; None where the classification is one edition.
        billable_days: first and last day on which a claim could bear it; None as for `listed`, or if never.
    """

    code: str
    kind: Kind
    level: Level
    title: str
    billable: bool
    parent: str | None
    listed: tuple[int, int] | None = None
    billable_days: tuple[date, date] | None = None

    def to_dict(self) -> dict[str, object]:
        """The node as `concept-icd ontology --json` and the desk give it, without its place in the tree.

        >>> from concept_icd.ontology.tree import load_ontology
        >>> load_ontology().node("486").to_dict()["title"]
        'Pneumonia, organism unspecified'
        """
        named = {name: value for name, value in vars(self).items() if name not in ("parent", "listed", "billable_days")}
        if self.listed:
            named["listed"] = list(self.listed)
            named["billable_days"] = [day.isoformat() for day in self.billable_days] if self.billable_days else None
        return named
