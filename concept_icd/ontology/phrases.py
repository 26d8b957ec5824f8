"""Phrases as text: when two are the same, how a clinician writes one of the classification, and files of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from concept_icd.artifacts import read_json, write_json
from concept_icd.errors import InputError
from concept_icd.text.words import words_of

#: The two kinds of phrases of CEC's phrase file: of the wider condition, and of this very code.
KINDS = ("parent", "leaf")
_BRACKETS = re.compile(r"\s*(?:\([^()]*\)|\[[^\[\]]*\])")
_LEADING = re.compile(r"^(unspecified|other and unspecified) ", re.IGNORECASE)
_FORMAL = re.compile(
    r", (NOS|NEC|unspecified|not elsewhere classified|not otherwise specified|site not specified|"
    r"organism unspecified)\b.*$|( of)? unspecified site$|(^| )(NOS|NEC|unspecified)$",
    re.IGNORECASE,
)


def phrase_key(text: str) -> str:
    """What two spellings of one phrase share.

    >>> phrase_key("Chest X-rays"), phrase_key("chest x ray")
    ('chest x ray', 'chest x ray')
    """
    return " ".join(words_of(text))


def plain_phrases(texts: Iterable[str]) -> tuple[str, ...]:
    """Phrases of the classification as a clinician writes them, each once: no brackets, no "NOS" and the like.

    Left out: what speaks of other codes ("classifiable to 428"), opens a list ("Tonsil:"), has no word of three
    letters or is longer than 90 characters.

    >>> plain_phrases(["Typhoid (fever) [any site]", "Asthma, unspecified type", "NOS", "Tonsil:"])
    ('Typhoid', 'Asthma')
    """
    found: dict[str, str] = {}
    for text in texts:
        if text.endswith(":") or "classifiable" in text:
            continue
        while (shorter := _BRACKETS.sub("", text)) != text:
            text = shorter
        text = _LEADING.sub("", _FORMAL.sub("", text).strip(" ,;-"))
        if len(text) <= 90 and re.search(r"[^\W\d_]{3}", text):
            found.setdefault(text.lower(), text)
    return tuple(found.values())


def merge_phrases(*sources: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The phrases of several sources by code, each phrase once, the first spelling kept."""
    merged: dict[str, dict[str, str]] = {}
    for source in sources:
        for code, phrases in source.items():
            known = merged.setdefault(code, {})
            for phrase in phrases:
                if key := phrase_key(phrase):
                    known.setdefault(key, " ".join(phrase.split()))
    return {code: list(known.values()) for code, known in merged.items()}


def read_phrase_file(path: str | Path) -> dict[str, list[str]]:
    """Code -> phrases from JSON: `{"428.0": {"parent": ["dyspnea"], "leaf": ["low EF"]}}`, or a plain list a code.

    Parent and leaf phrases both become phrases of the code; what they share with other codes, a concept set finds.

    Raises:
        InputError: the file is missing, is no JSON, or has another shape; the sentence names the code.
    """
    by_kind = read_phrases_by_kind(path)
    return merge_phrases(*({code: kinds[kind] for code, kinds in by_kind.items()} for kind in KINDS))


def read_phrases_by_kind(path: str | Path) -> dict[str, dict[str, list[str]]]:
    """Code -> "parent" and "leaf" -> phrases, each once; those of a plain list are the code's own, its leaves.

    Raises:
        InputError: as `read_phrase_file`.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} must be a JSON object that maps codes to phrases")
    return {code: _by_kind(code, value, path) for code, value in content.items()}


def _by_kind(code: str, value: Any, path: str | Path) -> dict[str, list[str]]:
    kinds = value if isinstance(value, dict) else {"leaf": value}
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise InputError(f"{path}: {code!r} has the key {unknown[0]!r}; known are {' and '.join(KINDS)}")
    for phrases in kinds.values():
        if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
            raise InputError(f"{path}: the phrases of {code!r} must be a list of strings")
    return {kind: merge_phrases({code: kinds.get(kind, [])})[code] for kind in KINDS}


def write_phrase_file(path: str | Path, phrases: Mapping[str, Sequence[str]]) -> None:
    """Writes a file that `read_phrase_file` reads, codes sorted."""
    write_json(path, {code: list(phrases[code]) for code in sorted(phrases)})
