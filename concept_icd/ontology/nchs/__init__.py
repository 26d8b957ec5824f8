"""Readers of the NCHS files of ICD-9-CM that a user names: the tabular lists and the alphabetic indexes.

`Dtab12.zip` and `Ptab12.zip` (tabular lists), `Dindex12.zip` and `Pindex12.zip` (indexes) are RTF in a zip; the RTF
itself and plain-text conversions of the tabular lists (also .gz) are read too. The files are in the public domain but
are not shipped. Nothing here knows of concepts or of the ontology.
"""

from concept_icd.ontology.nchs.files import lists_and_indexes
from concept_icd.ontology.nchs.index import IndexEntry, index_phrases, read_index
from concept_icd.ontology.nchs.tabular import TabularEntry, inclusion_phrases, read_tabular

__all__ = [
    "IndexEntry",
    "TabularEntry",
    "inclusion_phrases",
    "index_phrases",
    "lists_and_indexes",
    "read_index",
    "read_tabular",
]
