"""The phrases of each label, parent and leaf apart. They are CEC's only concepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from concept_icd.errors import InputError
from concept_icd.ontology.phrases import KINDS, merge_phrases, read_phrases_by_kind
from concept_icd.ontology.tree import Ontology

#: kind ("parent", "leaf") -> label -> its phrases.
Phrases = Mapping[str, Mapping[str, tuple[str, ...]]]


def read_phrases(
    path: str | Path,
    labels: Sequence[str],
    ontology: Ontology,
    aliases: Mapping[str, str],
    most: Mapping[str, int],
) -> dict[str, dict[str, tuple[str, ...]]]:
    """The phrases of a file as `concept-icd phrases` writes it, or with the kinds told apart.

    `{"428.0": {"parent": [...], "leaf": [...]}}` says which is which. A plain list of a code are its leaf phrases, and
    all that the file has of a category or subcategory above it are parent phrases after those of its own.

    Args:
        labels: the label set. aliases: label -> the code that it means. most: kind -> phrases kept a label, the first.

    Raises:
        InputError: the file is malformed, or has no phrase of a kind for any label.
    """
    found = read_phrases_by_kind(path)
    chosen: dict[str, dict[str, tuple[str, ...]]] = {kind: {} for kind in KINDS}
    for label in labels:
        code = aliases.get(label, label)
        own = found.get(code, found.get(label, {}))
        above = [node for node in ontology.ancestors(code) if ontology.level(node) in ("category", "subcategory")]
        wider = [phrases for node in above for phrases in found.get(node, {}).values()]
        parent = merge_phrases({label: own.get("parent", [])}, *({label: phrases} for phrases in wider))[label]
        leaf = [phrase for phrase in own.get("leaf", []) if phrase not in parent]
        for kind, phrases in (("parent", parent), ("leaf", leaf)):
            chosen[kind][label] = tuple(phrases[: most[kind]])
    for kind in KINDS:
        if not any(chosen[kind].values()):
            raise InputError(
                f"{path} has no {kind} phrase of any label: "
                'write {"428.0": {"parent": ["dyspnea"], "leaf": ["low EF"]}, ...}'
            )
    return chosen


def all_phrases(phrases: Mapping[str, Sequence[str]], labels: Iterable[str] | None = None) -> tuple[str, ...]:
    """The phrases of some labels (all by default), each once, in the order of the labels."""
    return tuple(dict.fromkeys(p for label in (phrases if labels is None else labels) for p in phrases.get(label, ())))
