"""The words of a text as stems: without stop words and plural endings."""

from __future__ import annotations

import re

from concept_icd.text.folding import fold
from concept_icd.text.normalization import normalize

#: The "s" of a possessive, which is no word, in normalised text.
POSSESSIVE = re.compile(r"(?<=[^\W_])['`]s(?![^\W_])", re.IGNORECASE)
_WORD_OR_POSSESSIVE = re.compile(rf"{POSSESSIVE.pattern}|(?P<word>[^\W_]+)", re.IGNORECASE)
STOP_WORDS = frozenset(
    (
        "a",
        "an",
        "and",
        "by",
        "for",
        "from",
        "in",
        "not",
        "of",
        "on",
        "or",
        "specified",
        "the",
        "to",
        "unspecified",
        "with",
    )
)


def stems(text: str) -> list[str]:
    """Lower-case words without stop words and accents, plural endings cut: "Fractures of ribs" -> ["fracture", "rib"].

    An "s" after an apostrophe is no word: "Ménière's disease" -> ["meniere", "disease"].
    """
    return [stem for stem, _ in placed_stems(fold(normalize(text).text))]


def placed_stems(text: str) -> list[tuple[str, int]]:
    """The same of text that is normalised and folded, each with the place where its word begins."""
    words = (word for word in _WORD_OR_POSSESSIVE.finditer(text) if word["word"])
    return [(singular(word[0]), word.start()) for word in words if word[0] not in STOP_WORDS]


def singular(word: str) -> str:
    """The word without a plural ending."""
    if word.endswith("ies") and len(word) > 5:
        return word[:-3] + "y"
    if word.endswith("s") and len(word) > 3 and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
