"""Codes that went through a number, or belong to another classification: found, counted and named.

A code that no edition ever had (E119, 486.0) is an error. One that no claim may bear (250.0, V27, 38.9) may be meant,
where labels are inner nodes or an older edition's; but zeros may be lost, so it is named with what it may have been.
Knows codes and the ontology, nothing of files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from concept_icd.errors import InputError
from concept_icd.ontology.code_shapes import SHAPES
from concept_icd.ontology.tree import Ontology, load_ontology

#: Codes that a sentence names.
NAMED = 8


def before_zeros_were_lost(code: str, ontology: Ontology) -> tuple[str, ...]:
    """The billable codes that a dotted code may have been before a number took its zeros, those of its own kind first.

    >>> from concept_icd.ontology.tree import load_ontology
    >>> [before_zeros_were_lost(code, load_ontology()) for code in ("38.9", "40.7", "250.0", "V27", "486.0", "401.9")]
    [('038.9',), ('04.07',), ('250.00',), ('V27.0',), ('486',), ()]
    """
    undotted = code.replace(".", "")
    if ontology.editions and not undotted.isdigit():  # a letter keeps an ICD-10 code from being read as a number
        return ()
    found = [zeros + code for zeros in ("0", "00")]
    found += [shape.add_dot(zeros + undotted) for zeros in ("0", "00") for shape in SHAPES[ontology.name]]
    found += [f"{code}{zeros}" if "." in code else f"{code}.{zeros}" for zeros in ("0", "00")]
    found += [code.rstrip("0").rstrip(".")] if "." in code else []  # 486 that was read as 486.0
    billable = dict.fromkeys(other for other in found if _billable(other, ontology) and other != code)
    kind = ontology.kind(code)
    return tuple(sorted(billable, key=lambda other: ontology.kind(other) != kind))


def _billable(code: str, ontology: Ontology) -> bool:
    return code in ontology and ontology.billable(code)


def require_had(codes: Iterable[str], ontology: Ontology, what: str) -> None:
    """Refuses dotted codes that no edition of the classification had; `what` they are stands in the sentence.

    Raises:
        InputError: says how many of how many, and names the first.
    """
    listed = list(codes)
    never = [code for code in listed if not ontology.had(code)]
    if never:
        named = _named(dict.fromkeys(never, 1), ontology)
        raise InputError(
            f"{len(never)} of the {len(listed)} {what} are codes that no edition of {ontology.full_name} had: {named}; "
            "are they of another classification, such as ICD-10, or did they go through a number?"
        )


def never_had(counts: Mapping[str, int], ontology: Ontology, what: str, labels: Collection[str] = ()) -> str | None:
    """One sentence on the codes that no edition had, or None.

    Args:
        counts: dotted code -> how often it stands there. what: they are, in words. labels: of a known set, which may
            have such codes on purpose, as published label sets do.
    """
    never = {code: number for code, number in counts.items() if code not in labels and not ontology.had(code)}
    said = _sentence(never, counts, ontology, f"{what} are codes that no edition of {ontology.full_name} had")
    return said and said + _mixed(never, ontology)


def not_billable(counts: Mapping[str, int], ontology: Ontology, what: str, labels: Collection[str] = ()) -> str | None:
    """One sentence on the codes that the ontology knows and no claim may bear, or None; see `never_had`."""
    known = (code for code in counts if code not in labels and ontology.had(code))
    others = {code: counts[code] for code in known if not _billable(code, ontology)}
    found = _sentence(others, counts, ontology, f"{what} are no billable codes of {ontology.full_name}")
    return found and f"{found}; they may be an older edition's or inner nodes, or a number took their zeros"


def _mixed(never: Mapping[str, int], ontology: Ontology) -> str:
    """How many of the codes another classification has: two versions in one column."""
    for name in SHAPES:
        if name != ontology.name:
            other = load_ontology(name)
            theirs = sum(number for code, number in never.items() if any(form in other for form in _forms(code, name)))
            if theirs:
                return f"; {theirs:,} are of {other.full_name}: are two versions mixed in one column?"
    return ""


def _forms(code: str, classification: str) -> set[str]:
    return {code, *(shape.add_dot(code.replace(".", "")) for shape in SHAPES[classification])}


def _sentence(found: Mapping[str, int], counts: Mapping[str, int], ontology: Ontology, what: str) -> str | None:
    if not found:
        return None
    return f"{sum(found.values()):,} of the {sum(counts.values()):,} {what}: {_named(found, ontology)}"


def _named(found: Mapping[str, int], ontology: Ontology) -> str:
    """The most frequent codes, each with its number and what it may have been."""
    shown = sorted(found, key=lambda code: (-found[code], code))[:NAMED]
    parts = []
    for code in shown:
        meant = before_zeros_were_lost(code, ontology)
        notes = [f"{found[code]:,} times"] if found[code] > 1 else []
        if meant:
            leading = any(other.startswith("0") and not code.startswith("0") for other in meant)
            lost = (
                f"a {'leading' if leading else 'trailing'} zero lost"
                if len(meant[0]) > len(code)
                else "a zero too many"
            )
            notes.append(f"{lost}? {' or '.join(meant)}")
        parts.append(f"{code} ({', '.join(notes)})" if notes else code)
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return ", ".join(parts) + more
