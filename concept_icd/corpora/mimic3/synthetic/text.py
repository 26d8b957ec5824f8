"""Pieces of note text without any code in them, de-identification marks, and how MIMIC-III sets text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from concept_icd.corpora.mimic3.synthetic.billing import words
from concept_icd.corpora.synthetic.knowledge import Knowledge
from concept_icd.corpora.synthetic.language import Dice, Template, sentence

#: Width of a line, as in MIMIC-III.
WIDTH = 78
#: Pieces of each kind of filler that are made once and used again.
POOL = 300


def pronouns(sex: str) -> dict[str, str]:
    """The slots of the sentence templates that depend on the patient."""
    he, him, his, man = ("she", "her", "her", "woman") if sex == "F" else ("he", "him", "his", "man")
    side, age = "left", "older"
    return {
        "he": he,
        "him": him,
        "his": his,
        "man": man,
        "He": he.title(),
        "His": his.title(),
        "side": side,
        "age": age,
    }


def filled(lines: str, dice: Dice, sex: str, count: int = POOL) -> list[str]:
    """`count` sentences from templates, one a line; {mark} is a de-identification mark."""
    templates = [Template.parse(line) for line in lines.splitlines()]
    marks = [Template.parse(line) for line in words()["marks"].splitlines()]
    slots = pronouns(sex)
    return [dice.pick(templates).fill(dice, {**slots, "mark": dice.pick(marks).fill(dice, {})}) for _ in range(count)]


def day(moment: datetime) -> str:
    """A date as MIMIC-III's notes show it: [**2151-7-4**]."""
    return f"[**{moment.year}-{moment.month}-{moment.day}**]"


def wrap(text: str) -> str:
    """The text with lines of at most `WIDTH` characters, its own line breaks kept."""
    lines = []
    for line in text.split("\n"):
        while len(line) > WIDTH and (end := line.rfind(" ", 1, WIDTH + 1)) > 0:
            lines.append(line[:end])
            line = line[end + 1 :]
        lines.append(line)
    return "\n".join(lines)


def fillers(sex: str, dice: Dice, table: Knowledge) -> dict[str, list[str]]:
    """Pieces of text that carry no code."""
    slots = pronouns(sex)
    pools = {}
    for part in ("story", "course", "instructions", "followup", "exam", "labs"):
        pools[part] = filled(words()[part], dice, sex)
    for part, frame in (("course", "course"), ("exam", "findings"), ("instructions", "instructions")):
        pools[part] += [sentence(dice.pick(table.frames[frame]).fill(dice, slots)) for _ in range(POOL)]
    pools["course"] = [" ".join(dice.shuffled(pools["course"])[:3]) for _ in range(POOL)]
    drugs = words()["common_drugs"].splitlines()
    templates = [Template.parse(line) for line in words()["drug_lines"].splitlines()]
    pools["drugs"] = [dice.pick(templates).fill(dice, {"name": dice.pick(drugs)}) for _ in range(POOL)]
    return pools


def numbered(items: Sequence[str]) -> list[str]:
    """A list as notes have it; "None." where there is nothing."""
    return [f"{number}. {item}" for number, item in enumerate(items, 1)] or ["None."]
