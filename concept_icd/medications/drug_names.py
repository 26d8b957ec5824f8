"""From a drug as it was prescribed ("NEO*IV*Gentamicin", "Potassium Chl 20 mEq / 1000 mL D5 1/2 NS") to ingredients.

The way without the OMOP vocabulary. The words are data (drug_names.yaml), the order of the rules is here:

1. Normalised (`concept_icd.text.normalization`), in lower case without accents and signs of trade marks; what an order
   begins with ("*NF*", "NEO*IV*") goes.
2. What stands in brackets goes; where nothing else names a drug, it is read instead ("Syringe (0.9% Sodium Chloride)").
3. Known phrases and brands become their ingredients, the longest first, whole words alone.
4. Strengths go: a word with a digit, "%" and the units after a number.
5. The rest is cut at "/", "-", "+", "w/" and "and" into the parts of a combination.
6. Of each part the words of form, route and release go, and salts at its end, unless a mineral begins it: metoprolol
   tartrate is metoprolol, but potassium chloride is not potassium phosphate. A part that is a salt alone goes too
   where another part names a drug (the sodium behind the known docusate).

The ingredients of a name are a set; nothing left means that it names none (a bag, a syringe).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from concept_icd.text.normalization import normalize
from concept_icd.text.words import fold

_RULES = Path(__file__).with_name("drug_names.yaml")
#: Signs of trade marks, and fractions of one character, which names write with figures too ("D5 1/2 NS").
_SIGNS = str.maketrans(
    {**dict.fromkeys("\u00ae\u2122\u00a9\u2120"), "\u00bc": " 1/4", "\u00bd": " 1/2", "\u00be": " 3/4"}
)
#: What stands where a phrase stood, until the words around it are gone.
_MARK = "\x00"
_UNITS = r"(?:mg|mcg|\u03bcg|g|gm|gram|grams|kg|ml|l|meq|mmol|units?|unt|iu|hr|hrs|hour|min|mm|cm|million|mu|mci)"
_STRENGTH = re.compile(
    rf"(?<![a-z0-9])[\d.,:]*\d[\d.,:]*\s*(?:%|{_UNITS}\b)?(?:\s*/\s*[\d.,]*\s*{_UNITS}\b)?"  # 20 mEq / 1000 mL
    r"|\S*\d\S*"  # any other word with a digit: N-100, 1:100000
)
_CUT = re.compile(r"\bw/|[/+&]|(?<=[a-z.\x00])\s*-\s*(?=[a-z\x00])|\b(?:and|with)\b|\x00")


@dataclass(frozen=True)
class NameRules:
    """The words of drug_names.yaml; `parts` are its phrases and brands, the longest first, as one pattern."""

    forms: frozenset[str]
    salts: frozenset[str]
    minerals: frozenset[str]
    flags: tuple[re.Pattern[str], ...]
    known: Mapping[str, tuple[str, ...]]
    parts: re.Pattern[str]
    doubtful: Mapping[str, str]


@cache
def name_rules() -> NameRules:
    """The rules, read once."""
    rules = yaml.safe_load(_RULES.read_text(encoding="utf-8"))
    known = {
        phrase: tuple(filter(None, (part.strip() for part in meaning.split("+"))))
        for phrase, meaning in (rules["phrases"] | rules["brands"]).items()
    }
    longest_first = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
    return NameRules(
        forms=frozenset(rules["forms"].split()),
        salts=frozenset(rules["salts"].split()),
        minerals=frozenset(rules["minerals"].split()),
        flags=tuple(map(re.compile, rules["flags"])),
        known=known,
        parts=re.compile(rf"(?<![a-z0-9])(?:{longest_first})(?![a-z0-9])"),
        doubtful=rules["doubtful"],
    )


@cache
def ingredients_of(name: str) -> tuple[str, ...]:
    """The ingredients of a drug name, sorted, in lower case; none for a package ("Vial").

    >>> ingredients_of("Potassium Chl 20 mEq / 1000 mL D5 1/2 NS")
    ('dextrose', 'potassium chloride', 'sodium chloride')
    >>> ingredients_of("NEO*IV*Gentamicin"), ingredients_of("Metoprolol XL"), ingredients_of("Vial")
    (('gentamicin',), ('metoprolol',), ())
    """
    text = _clean(name)
    for flag in name_rules().flags:
        text = flag.sub("", text)
    outside = re.sub(r"\([^)]*\)?", " ", text)
    found = _read(outside)
    if not found:
        found = _read(" / ".join(re.findall(r"\(([^)]*)", text)))
    return tuple(sorted(found))


def doubtful_names(names: Iterable[str]) -> dict[str, str]:
    """Of these names those that are grouped, or left alone, without being sure -> why, in alphabetical order."""
    doubtful = name_rules().doubtful
    return {name: doubtful[_clean(name)] for name in sorted(set(names)) if _clean(name) in doubtful}


def _clean(name: str) -> str:
    return " ".join(fold(normalize(name).text.translate(_SIGNS)).split())


def _read(text: str) -> set[str]:
    rules, found = name_rules(), set[str]()

    def take(match: re.Match[str]) -> str:
        found.update(rules.known[match[0]])
        return _MARK

    rest = _STRENGTH.sub(" ", rules.parts.sub(take, text))
    parts = {part for part in (_ingredient(part, rules) for part in _CUT.split(rest)) if part}
    named = parts - rules.salts
    for ingredient in named or (set() if found else parts):
        found.update(rules.known.get(ingredient, (ingredient,)))
    return found


def _ingredient(part: str, rules: NameRules) -> str:
    """What is left of one part of a name: its words without form and salt."""
    words = [word.strip(".,;:-%*'\"") for word in part.replace(",", " ").split()]
    words = [word for word in words if word and word not in rules.forms and f"{word}." not in rules.forms]
    if not words or words[0] not in rules.minerals:
        while words and words[-1] in rules.salts:
            words.pop()
    return " ".join(words)
