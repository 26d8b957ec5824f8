"""The words of a text as they are compared: in lower case, without accents, plural endings and stop words."""

from __future__ import annotations

import re
import unicodedata

from concept_icd.text.normalization import normalize

#: Letters that Unicode does not take apart, as they are written without them.
_LETTERS = str.maketrans(
    dict(
        zip(
            "\u00df\u00e6\u0153\u00f8\u0111\u00f0\u00fe\u0142\u0127\u0131\u0167\u014b",
            ("ss", "ae", "oe", "o", "d", "d", "th", "l", "h", "i", "t", "n"),
            strict=True,
        )
    )
)
#: The "s" of a possessive, which is no word, in normalised text.
_WORD_OR_POSSESSIVE = re.compile(r"(?<=[^\W_])['`]s(?![^\W_])|(?P<word>[^\W_]+)", re.IGNORECASE)
STOP_WORDS = frozenset(re.findall("[a-z]+", "a an and by for from in not of on or specified the to unspecified with"))


def fold(text: str) -> str:
    """The text in lower case and without accents, to be compared with other folded text alone.

    >>> fold("Sj\u00f6gren, M\u00e9ni\u00e8re, Stra\u00dfe")
    'sjogren, meniere, strasse'
    """
    text = text.lower()
    if text.isascii():
        return text
    apart = unicodedata.normalize("NFD", text)
    bare = "".join(character for character in apart if not unicodedata.combining(character))
    return unicodedata.normalize("NFC", bare.translate(_LETTERS))


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text without accents and plural endings, by which two spellings of one phrase are the same.

    An "s" after an apostrophe is no word.

    >>> words_of("Chest X-rays"), words_of("M\u00e9ni\u00e8re's disease")
    (('chest', 'x', 'ray'), ('meniere', 'disease'))
    """
    words = _WORD_OR_POSSESSIVE.finditer(fold(normalize(text).text))
    return tuple(singular(word[0]) for word in words if word["word"])


def stems(text: str) -> list[str]:
    """The same without stop words, by which phrases are found in notes.

    >>> stems("Fractures of ribs")
    ['fracture', 'rib']
    """
    return [stem for stem, _, _ in placed_stems(fold(normalize(text).text))]


def placed_stems(text: str) -> list[tuple[str, int, int]]:
    """The stems of text that is normalised and folded, each with where its word begins and ends.

    >>> placed_stems("fractures of ribs")
    [('fracture', 0, 9), ('rib', 13, 17)]
    """
    words = (match for match in _WORD_OR_POSSESSIVE.finditer(text) if match["word"])
    return [(singular(word[0]), *word.span()) for word in words if word[0] not in STOP_WORDS]


def singular(word: str) -> str:
    """The word without a plural ending.

    >>> singular("biopsies"), singular("ribs"), singular("pus")
    ('biopsy', 'rib', 'pus')
    """
    if word.endswith("ies") and len(word) > 5:
        return word[:-3] + "y"
    if word.endswith("s") and len(word) > 3 and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
