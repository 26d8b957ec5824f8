"""Letters as words are compared by: lower case, without accents."""

from __future__ import annotations

import unicodedata

#: Letters that Unicode does not take apart, as they are written without them.
_LETTERS = str.maketrans(
    {
        "\u00df": "ss",
        "\u00e6": "ae",
        "\u0153": "oe",
        "\u00f8": "o",
        "\u0111": "d",
        "\u00f0": "d",
        "\u00fe": "th",
        "\u0142": "l",
        "\u0127": "h",
        "\u0131": "i",
        "\u0167": "t",
        "\u014b": "n",
    }
)


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
