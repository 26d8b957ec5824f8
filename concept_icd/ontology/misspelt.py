"""What a text that is no code may have been meant as, by its spelling alone, in a few words for an error's sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable

#: ICD-10-CM with its dot or of a letter that ICD-9-CM has not, and ICD-10-PCS.
_ICD10 = re.compile(
    r"[A-Z]\d[0-9A-Z]\.[0-9A-Z]{1,4}|[A-DF-UW-Z]\d[0-9A-Z]{1,5}|(?=.*[A-Z])[0-9A-HX][0-9A-HJ-NP-Z]{6}", re.ASCII
)
#: Marks of other countries: dagger, asterisk and "!" of WHO and GM, ".-" of a heading, certainty and side of GM.
_MARKED = re.compile(r"[A-Z]\d\d(?:\.\d{1,2})?(?:\.?-|[+*!\u2020#]|\s*[GVZARLB])", re.ASCII)


def of_icd10(code: str) -> bool:
    """Whether it is spelt like ICD-10 and not like ICD-9-CM."""
    return bool(_ICD10.fullmatch(code))


def repaired(code: str, exists: Callable[[str], bool], dotless: bool) -> str:
    """The hint at a code that exists and differs by a lost zero, a dot, or the letters O and I; "" where there is none.

    The commonest fault is a code that was read as a number: "04.07" becomes "4.07". Codes of ICD-10-PCS are `dotless`.
    """
    for zeros in ("0", "00"):
        if exists(zeros + code):
            return f" (a leading zero lost? did you mean {zeros + code!r}?)"
    if not dotless:
        return ""
    bare = code.replace(".", "")
    digits = bare.replace("O", "0").replace("I", "1")
    if bare != code and exists(bare):
        return f": a code of this kind has no dot; did you mean {bare!r}?"
    if digits != bare and exists(digits):
        return f": the letters O and I are not used there, only the digits; did you mean {digits!r}?"
    return ""


def foreign(code: str) -> str:
    """The hint at a mark that ICD-10 has in other countries, or ""."""
    if _MARKED.fullmatch(code):
        return "; it is written as in another country's ICD-10 (WHO, GM, AM), not in the US one"
    return ""


def close(code: str, codes: Iterable[str]) -> str:
    """The hint at the most similar of the codes that start with the same character, or ""."""
    found = difflib.get_close_matches(code, [known for known in codes if known[:1] == code[:1]], n=1, cutoff=0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""
