"""Clinical phrases that belong to codes: read from a file, proposed by a local LLM, checked against notes.

The inclusion terms and index terms of NCHS are phrases too: see `concept_icd.nchs`. All of them are one mapping,
code -> phrases, that `ConceptSet.expand` takes; `merge_phrases` puts several sources together.
"""

from concept_icd.phrases.coverage import PhraseCoverage, check_coverage, sentence_windows
from concept_icd.phrases.propose import parse_phrases, propose_phrases
from concept_icd.phrases.texts import (
    merge_phrases,
    phrase_key,
    read_phrase_file,
    read_phrases_by_kind,
    write_phrase_file,
)

__all__ = [
    "PhraseCoverage",
    "check_coverage",
    "merge_phrases",
    "parse_phrases",
    "phrase_key",
    "propose_phrases",
    "read_phrase_file",
    "read_phrases_by_kind",
    "sentence_windows",
    "write_phrase_file",
]
