"""Words divided at a line's end: whether "pneu-" and "monia" are one word, or "follow-" and "up" two.

The vocabulary decides. A hyphen between letters at a line's end was put there to divide a word if the two parts
together are a word of the classification's titles, unless the titles also write it with this hyphen ("non-specific").
Where the titles do not know the joined word, the words of the shipped model's tokenizer (general and clinical English)
and of the note itself are asked; since these know more words that are also written with a hyphen, the two parts must
not both be words. Two parts that nobody knows are one word that nobody knows, such as a drug's name. A part of one
letter is never joined, nor one before a capital: nobody divides a word there, but "x-ray" and "Guillain-Barre" are
written so.

Any other hyphen stays. So does the line end, which may end a heading ("Impression-") or an item, unless the titles or
the note write the two words with a hyphen ("follow-up"), or the titles write so the first before others ("post-") or
the second after others ("-related").
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from concept_icd.resources import resource

#: A hyphen at a line's end: the part before it, and, not consumed, the part after it.
LINE_HYPHEN = re.compile(r"(?<![^\W\d_])([^\W\d_]+)-\n(?=([^\W\d_]+))")
_DIVIDED = re.compile(r"(?<![^\W\d_])[^\W\d_]+-\n[^\W\d_]+")
_WORD = re.compile(r"[^\W\d_]+")
_HYPHENATED = re.compile(r"(?=(?<![^\W\d_])([^\W\d_]+-[^\W\d_]+))")
_TABLES = ("ontology/icd9cm/diagnoses.tsv", "ontology/icd9cm/procedures.tsv")
_TOKENIZER = Path(__file__).parents[1] / "base_models" / "tiny" / "tokenizer.json"


@dataclass(frozen=True)
class _Vocabulary:
    """Words, and pairs of words with a hyphen between them, in lower case."""

    words: frozenset[str]
    hyphenated: frozenset[str]

    @classmethod
    def of(cls, text: str) -> _Vocabulary:
        """The words of a text."""
        text = text.lower()
        return cls(frozenset(_WORD.findall(text)), frozenset(_HYPHENATED.findall(text)))


@cache
def _titles() -> _Vocabulary:
    return _Vocabulary.of("\n".join(resource(table).read_text(encoding="utf-8") for table in _TABLES))


@cache
def _parts() -> tuple[frozenset[str], frozenset[str]]:
    """What the titles write before a hyphen, and after one."""
    pairs = [pair.split("-") for pair in _titles().hyphenated]
    return frozenset(first for first, _ in pairs), frozenset(second for _, second in pairs)


@cache
def _common_words() -> frozenset[str]:
    """Tokens that are the beginning of a word, most of them whole words."""
    tokens = json.loads(_TOKENIZER.read_text(encoding="utf-8"))["model"]["vocab"]
    return frozenset(token[1:].lower() for token in tokens if token[:1] == "\u0120" and _WORD.fullmatch(token[1:]))


def line_hyphens(text: str) -> Callable[[re.Match[str]], str]:
    """What is written for a match of `LINE_HYPHEN` in this text: the first part, with what stays behind it."""
    own = _Vocabulary.of(_DIVIDED.sub(" ", text))
    known = _titles().words | _common_words() | own.words

    def write(match: re.Match[str]) -> str:
        first, second = match[1].lower(), match[2].lower()
        new_name = match[2][0].isupper() and not match[1].isupper()
        if not new_name and _is_one_word(first, second, own.hyphenated, known):
            return match[1]
        return f"{match[1]}-" if _is_compound(first, second, own) else match[0]

    return write


def _is_compound(first: str, second: str, own: _Vocabulary) -> bool:
    befores, afters = _parts()
    return f"{first}-{second}" in own.hyphenated or first in befores or second in afters


def _is_one_word(first: str, second: str, with_hyphen: frozenset[str], known: frozenset[str]) -> bool:
    titles, joined, hyphenated = _titles(), first + second, f"{first}-{second}"
    if min(len(first), len(second)) == 1 or hyphenated in titles.hyphenated or hyphenated in with_hyphen:
        return False
    if joined in titles.words:
        return True
    parts = {first, second} & known
    return not parts or (len(parts) == 1 and (joined in known or joined.removesuffix("s") in known))
