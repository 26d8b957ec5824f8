"""A result as a piece of HTML for notebooks: a table of codes, and the note with its evidence marked if it was kept."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

if TYPE_CHECKING:
    from concept_icd.records import CodingResult, RankedCode

#: Codes in the table.
SHOWN = 10


def as_html(result: CodingResult) -> str:
    """See `CodingResult`; all text is escaped, and nothing is fetched."""
    codes = result.codes[:SHOWN]
    parts = [] if result.note is None else marked_parts(result.note.text, codes)
    return _template().render(result=result, codes=codes, parts=parts)


def marked_parts(text: str, codes: tuple[RankedCode, ...]) -> list[tuple[str, str, str]]:
    """The text in pieces, each with the codes that it carries and those that it speaks against.

    >>> from concept_icd.records import RankedCode
    >>> code = RankedCode(1, "486", "diagnosis", "Pneumonia", 0.9, True, (), (), evidence=((10, 20),))
    >>> marked_parts("Cough and pneumonia.", (code,))
    [('Cough and ', '', ''), ('pneumonia.', '486', '')]
    """
    spans = [
        (start, end, code.code, against)
        for code in codes
        for against in (False, True)
        for start, end in (code.against if against else code.evidence)
    ]
    ends = sorted({0, len(text), *(place for start, end, *_ in spans for place in (start, end))})
    parts = []
    for start, end in pairwise(ends):
        here = [(code, against) for first, last, code, against in spans if first <= start and end <= last]
        carried, denied = (", ".join(code for code, against in here if against is which) for which in (False, True))
        parts.append((text[start:end], carried, denied))
    return parts


@cache
def _template() -> jinja2.Template:
    source = Path(__file__).with_name("result.html").read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
