"""The sections of a discharge summary: where each begins and ends, what it is, and which to keep when not all fit.

It knows headings and counts of tokens, never a tokenizer, a model or codes. A section begins at a heading of the list
below that starts a line or, written like a heading ("PAST MEDICAL HISTORY:", "Past Medical History:"), stands within
one. Any other heading ("Respiratory:", "HEENT:") belongs to the section that it stands in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: Any heading, of the list below or not, at the beginning of a line or sentence: it says where something stands.
HEADING = re.compile(r"[ \t]*([A-Za-z][A-Za-z /&-]{1,40}):")
_HEADED_LINE = re.compile(f"^{HEADING.pattern}", re.MULTILINE)
#: What stands before the first heading.
PREAMBLE = "Preamble"
#: Those of admission before the hospital course, those of discharge after it.
_MEDICATIONS = "Medications"

_DIAGNOSIS, _EXAM, _DRUGS = "diagnos[ei]s", "exam(?:ination)?", "(?:medications?|meds)"
_STAY = "(?:admission|hospitali[sz]ation|presentation|arrival|home)"
_LEAVING = "(?:discharge|d and c)"
_LABS = "(?:laborator(?:y|ies)|labs?|data|results?|stud(?:y|ies)|imaging|findings|radiology|microbiology)"

#: Headings as patterns over lower-case words, where "/", "&" and "+" read as "and", de-identified text as "_" and
#: other marks as a blank. The first twelve are the sections that CEC reads (papers: "CEC", its released code), in our
#: order of use for coding: what names the stay's diagnoses and procedures, then the story, then lists, then what
#: seldom adds a code. That order is a judgement, not a measurement. The others rank behind them, in the note's order.
_HEADINGS = {
    "Discharge Diagnosis": f"(?:(?:discharge|final|principal|primary|secondary|other|additional) )*{_DIAGNOSIS}",
    "Procedure": "(?:(?:major|principal|surgical|invasive|operative|or|and|operations?) )*"
    "(?:procedures?|operations?)(?: performed)?",
    "Chief Complaint": f"(?:chief|presenting|main) complaints?|cc|reason for (?:this |the )?{_STAY}|"
    f"(?:admission|admitting) {_DIAGNOSIS}",
    "Hospital Course": "(?:(?:hospital|hospitali[sz]ation|clinical|inpatient|[a-z]{0,3}icu|ccu|post ?operative|_) )?"
    "course(?: summary)?|hospital summary|addendum",  # an addendum tells what happened after
    "History of Present Illness": "history of (?:the )?present(?:ing)? illness|present illness|hpi|history",
    "Past History": "(?:(?:past|prior|other|medical|surgical|and|history) )*"
    "(?:past|prior|medical|surgical|psychiatric|oncologic|obstetric(?:al)?|ob) history|pmhx?|pshx?",
    "Discharge Medications": f"{_LEAVING} {_DRUGS}|{_DRUGS} (?:on|at|upon) (?:the time of )?{_LEAVING}",
    "Admission Medications": f"(?:admission|home|outpatient|pre ?admission) {_DRUGS}|"
    f"{_DRUGS} (?:(?:on|at|upon|prior|to|before) )+(?:time of )?{_STAY}",
    "Disposition": "(?:discharge |final )?disposition",
    "Discharge Instructions": "(?:(?:patient|discharge) )*instructions?",
    "Physical Exam": f"(?:(?:admission|discharge|initial|physical) )*{_EXAM}|physical(?: findings)?|"
    "(?:admission|discharge) (?:physical|pe)",  # "PE" alone may be a pulmonary embolism
    "Follow-up": "(?:recommended )?follow ?up(?: (?:instructions?|plans?|appointments?|care|visits?))*",
    "Inpatient Medications": f"(?:hospital|inpatient) {_DRUGS}|(?:{_DRUGS} )?(?:given|on transfer)(?: in hospital)?",
    _MEDICATIONS: f"(?:current )?{_DRUGS}",
    "Header": "(?:admission|discharge) date|date of (?:birth|admission|discharge)|sex|service|attending|name|unit no",
    "Allergies": "(?:(?:drug|medication) )?allerg(?:ies|y)",
    "Social History": "social (?:history|hx)|sh",
    "Family History": "family (?:medical )?(?:history|hx)|fh",
    "Review of Systems": "review of systems|ros",
    "Pertinent Results": f"(?:(?:pertinent|admission|discharge|diagnostic|and|{_LABS}) )*{_LABS}",
    "Discharge Condition": "(?:discharge )?condition|discharge status",
    "Signature": "(?:dictated|completed|signed|electronically signed) by",
}
#: The twelve sections that CEC reads, the most useful first.
STANDARD = tuple(_HEADINGS)[:12]

_NAMES = tuple(_HEADINGS)
_BEFORE = "(?:(?:brief|concise|short|pertinent|significant|summary of|addendum to|the|_) )*"
_AFTER = "(?: (?:by|on|upon|at|in|to|from|per|for|during|prior|with|and|or)(?: [a-z_]+){0,4})?"
_HEADING = re.compile(
    f"(?:^| )(?P<all>{_BEFORE}(?:{'|'.join(f'(?P<h{i}>{p})' for i, p in enumerate(_HEADINGS.values()))}){_AFTER})$"
)
_DEIDENTIFIED = re.compile(r"\[\*\*[^\[\]]{0,200}\]")
#: A piece of a line, up to what may end a heading: a colon, a dash between blanks, the line's end.
_PIECE = re.compile(r"[^:\r\n]*?(?:(?P<mark>:|[ \t][-\u2013\u2014]+[ \t])|[\r\n]|\Z)")
_WORD = re.compile(r"\([^()\r\n]{0,60}\)|[A-Za-z]+|_+|[&/+]|(?<=[A-Za-z)])[.!?;](?=\s)")
_NEXT_LINE_COLON = re.compile(r"\s{0,20}:")
#: Characters before a heading's end in which the heading is looked for.
_WINDOW = 100
_SMALL = {"a", "and", "at", "by", "for", "from", "in", "of", "on", "or", "per", "prior", "the", "to", "upon", "with"}
#: After these a heading is only spoken of: "see Discharge Medications: ...".
_POINTING = _SMALL | {"see", "under", "above", "this", "his", "her", "their"}


@dataclass(frozen=True)
class Section:
    """A part of a note: the characters from `start` up to `end`, heading included.

    Attributes:
        name: one of `STANDARD`, another heading's name such as "Pertinent Results", or `PREAMBLE`.
    """

    name: str
    start: int
    end: int


def split_sections(text: str) -> tuple[Section, ...]:
    """The sections in the note's order; every character belongs to exactly one. Neighbours of one name are joined.

    A name may come back later, as in an addendum that repeats a heading. Text without headings is all preamble.
    """
    if not text:
        return ()
    marks = [(0, PREAMBLE)]
    for start, name in _headings(text):
        if start == 0:
            marks.clear()
        if not marks or marks[-1][1] != name:
            marks.append((start, name))
    ends = [start for start, _ in marks[1:]] + [len(text)]
    return tuple(Section(name, start, end) for (start, name), end in zip(marks, ends, strict=True))


def headed_parts(text: str) -> Iterator[tuple[str, int, int]]:
    """What stands under any heading that begins a line: (heading in lower case, start, end), "" before the first.

    >>> list(headed_parts("Seen today.\\nFINDINGS: clear"))
    [('', 0, 12), ('findings', 21, 27)]
    """
    name, start = "", 0
    for heading in _HEADED_LINE.finditer(text):
        yield name, start, heading.start()
        name, start = heading[1].lower(), heading.end()
    yield name, start, len(text)


def keep_sections(sections: Sequence[Section], sizes: Sequence[int], room: int, cut_costs: int) -> list[int]:
    """How many tokens to keep of each section, so that the sum is at most `room`.

    Sections are taken whole, the most useful first (`STANDARD`, then the others in the note's order), until one does
    not fit: that one keeps its beginning, and all after it nothing.

    Args:
        sizes: tokens of each section. cut_costs: tokens to spare where a section is cut.
    """
    rank = {name: place for place, name in enumerate(STANDARD)}
    kept = [0] * len(sections)
    for place in sorted(range(len(sections)), key=lambda place: rank.get(sections[place].name, len(rank))):
        if sizes[place] > room:
            kept[place] = max(0, room - cut_costs)
            break
        kept[place] = sizes[place]
        room -= sizes[place]
    return kept


def what_was_cut(sections: Sequence[Section], sizes: Sequence[int], kept: Sequence[int], limit: int) -> str | None:
    """One sentence on what `keep_sections` left out of a prompt of `limit` tokens, by name; None when nothing was."""
    names = _numbered([section.name for section in sections])
    out = [name for name, size, tokens in zip(names, sizes, kept, strict=True) if tokens == 0 < size]
    cut = [
        f"{name} was cut at its end ({tokens:,} of {size:,} tokens read)"
        for name, size, tokens in zip(names, sizes, kept, strict=True)
        if 0 < tokens < size
    ]
    if not out and not cut:
        return None
    return f"to fit {limit:,} tokens, " + "; ".join([f"left out: {', '.join(out)}"] * bool(out) + cut)


def _numbered(names: Sequence[str]) -> list[str]:
    """A name that comes several times says which one it is: "Hospital Course (2 of 2)"."""
    return [
        f"{name} ({names[: place + 1].count(name)} of {names.count(name)})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def _headings(text: str) -> Iterator[tuple[int, str]]:
    """Where a heading of the list begins, and its name."""
    text = _DEIDENTIFIED.sub(lambda match: "_" * len(match[0]), text)
    course_seen = False
    for piece in _PIECE.finditer(text):
        begins_line = piece.start() == 0 or text[piece.start() - 1] in "\r\n"
        colon = piece["mark"] == ":"
        if not (colon or begins_line) or (piece["mark"] is None and piece.end() - piece.start() > _WINDOW):
            continue
        if not piece["mark"]:  # the line says nothing else; the colon may stand on the next
            colon = bool(_NEXT_LINE_COLON.match(text, piece.end()))
        if (found := _heading_at_end(text, piece, begins_line, colon)) is None:
            continue
        start, name = found
        if name == _MEDICATIONS:
            name = "Discharge Medications" if course_seen else "Admission Medications"
        course_seen = course_seen or name == "Hospital Course"
        yield start, name


def _heading_at_end(text: str, piece: re.Match[str], begins_line: bool, colon: bool) -> tuple[int, str] | None:
    """The heading that a piece of a line ends with, if any: where it begins, and its name."""
    words, from_the_start = _last_words(text, piece)
    joined = " ".join(word.lower() for word, _ in words)
    match = _HEADING.search(joined)
    while match:
        first = joined.count(" ", 0, match.start("all"))
        written = [word for word, _ in words[first:]]
        first_on_line = begins_line and from_the_start and first == 0
        # After a number or "#" ("2. Disposition:") it is rather an item of the hospital course than a section.
        alone = first_on_line and not text[piece.start() : words[0][1]].strip()
        if alone and piece["mark"] == ":":
            is_heading = not written[0][0].islower() or _closed_before(text, piece.start())
        elif alone:
            is_heading = _capitalised(written) and (colon or len(written) > 1 or written[0].isupper())
        else:
            if first and words[first - 1][0].lower() in _POINTING:
                return None
            single = len(written) == 1
            is_heading = colon and _capitalised(written) and not (single and (first or not written[0].isupper()))
        if is_heading:
            name = next(name for number, name in enumerate(_NAMES) if match[f"h{number}"] is not None)
            return (piece.start() if first_on_line else words[first][1]), name
        match = _HEADING.search(joined, match.start("all") + 1)
    return None


def _last_words(text: str, piece: re.Match[str]) -> tuple[list[tuple[str, int]], bool]:
    """The words since the last full stop, each with its place, and whether nothing but they is in the piece."""
    words: list[tuple[str, int]] = []
    end = piece.start("mark") if piece["mark"] else piece.end()
    start = max(piece.start(), end - _WINDOW)
    from_the_start = start == piece.start()
    for found in _WORD.finditer(text, start, end):
        word = found[0]
        if word in ".!?;":
            words, from_the_start = [], False
        elif word[0] != "(":
            words.append(("_" if word[0] == "_" else "and" if word in "&/+" else word, found.start()))
    return words, from_the_start


def _capitalised(words: Sequence[str]) -> bool:
    return words[0][0].isupper() and all(word[0].isupper() or word in _SMALL or word[0] == "_" for word in words)


def _closed_before(text: str, place: int) -> bool:
    """Whether a sentence or paragraph ended before the line that begins at `place`."""
    before = text[max(0, place - 50) : place].replace("\r\n", "\n").rstrip(" \t")
    return before.endswith("\n\n") or not before.strip() or before.rstrip()[-1] in ".!?:;"
