"""The coder: from a note to ranked, classified codes; its evidence, its folder, and how it is evaluated."""

from concept_icd.coder.coder import ConceptCoder, ScorerMismatch

__all__ = ["ConceptCoder", "ScorerMismatch"]
