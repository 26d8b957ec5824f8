"""The classification: its tree of codes, what it calls them, and the concepts that codes are expanded into."""

from concept_icd.ontology.tree import Ontology, load_ontology

__all__ = ["Ontology", "load_ontology"]
