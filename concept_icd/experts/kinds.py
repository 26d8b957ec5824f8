"""The kinds of experts by their names: as the command line names them and a coder's folder holds them.

torch and what else a kind needs is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from concept_icd.errors import InputError, extras
from concept_icd.experts.expert import Expert, ExpertRecipe
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import DEFAULT


def recipe(
    kind: str,
    drug_strategy: str = "multitask",
    tabular: Sequence[str | Path] = (),
    index: Sequence[str | Path] = (),
    classification: str = DEFAULT,
) -> ExpertRecipe:
    """How a kind is fitted.

    Args:
        kind: one of `records.EXPERTS`. drug_strategy: of the medication network, see `read_strategy`.
        tabular, index: files of NCHS with more terms than the titles. classification: of the codes.

    Raises:
        InputError: no such strategy, drugs in another classification, or one of the files cannot be read.
        MissingExtraError: drugs need torch.
    """
    if kind == "terms":
        from concept_icd.experts.terms import TermRecipe

        return TermRecipe.read(tabular, index, classification)
    if kind == "words":
        from concept_icd.experts.words import WordRecipe

        return WordRecipe()
    if kind == "spans":
        from concept_icd.experts.spans import SpanRecipe

        return SpanRecipe()
    if classification != DEFAULT:
        raise InputError(f"the medication network knows the codes of {DEFAULT} alone: leave the expert of drugs out")
    with extras():
        from concept_icd.experts.drugs import DrugRecipe
    from concept_icd.medications.strategy import read_strategy

    return DrugRecipe(read_strategy(drug_strategy))


def load_expert(kind: str, folder: Path, concepts: ConceptSet) -> Expert:
    """Reads an expert out of a coder's folder.

    Raises:
        InputError: a file is missing or damaged, or this version knows no such expert. MissingExtraError: drugs need
            torch.
    """
    if kind == "words":
        from concept_icd.experts.words import WordExpert

        return WordExpert.load(folder)
    if kind == "terms":
        from concept_icd.experts.terms import TermExpert

        return TermExpert.load(folder)
    if kind == "spans":
        from concept_icd.experts.spans import SpanExpert

        return SpanExpert.load(folder)
    if kind == "drugs":
        with extras():
            from concept_icd.experts.drugs import DrugExpert

        return DrugExpert.load(folder, concepts)
    raise InputError(f"{folder} is an expert of a kind that this version does not know: fit the coder again")
