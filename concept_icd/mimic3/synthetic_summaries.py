"""Writes the discharge summaries of the synthetic MIMIC-III: real headings and layout, invented content.

Every coded condition is named in most summaries: acute ones in the hospital course, chronic ones in the history,
procedures in their list, and most again among the discharge diagnoses. The rest of the length is text that carries no
code. The layout is MIMIC's: headings with the text below them, or, where a summary was dictated, headings in capitals
with the text beside them; lines wrapped; names and dates replaced by marks such as [**2151-7-4**].
"""

from __future__ import annotations

from datetime import datetime, timedelta

from concept_icd.corpora.synthetic_cases import Case
from concept_icd.corpora.synthetic_knowledge import Knowledge, knowledge
from concept_icd.corpora.synthetic_language import Dice, Template, sentence
from concept_icd.mimic3.synthetic_billing import drugs_of, is_procedure, names_of, words
from concept_icd.mimic3.synthetic_stays import Stay

#: Width of a line, as in MIMIC-III.
WIDTH = 78
#: Pieces of each kind of filler that are made once and used again.
POOL = 300
#: Where the filler of a long summary goes, as often as named.
FILLED = ("labs", "labs", "labs", "course", "course", "instructions", "exam", "story", "followup", "drugs")
SERVICES = ("MEDICINE", "SURGERY", "CARDIOTHORACIC", "NEUROLOGY", "ORTHOPAEDICS", "CCU", "MICU")
NOTICE = "SYNTHETIC NOTE. Written by a program; it describes no real patient."


class SummaryWriter:
    """Writes one summary after the other.

    Args:
        length: mean number of characters; single summaries have between a third and twice as many.
    """

    def __init__(self, seed: int, length: int) -> None:
        self._length, self._table = length, knowledge()
        self._fillers = {sex: _fillers(sex, Dice(f"{seed} filler {sex}"), self._table) for sex in "FM"}

    def write(self, stay: Stay, case: Case, dice: Dice) -> str:
        """The text of a report."""
        summary = _Summary(stay, case, dice, self._table, self._fillers[stay.patient.sex])
        return summary.write(int(self._length * (0.35 + 1.3 * (dice.roll() + dice.roll()) / 2)))

    def addendum(self, stay: Stay, case: Case, dice: Dice) -> str:
        """An addendum, which may be the only place that names a condition."""
        reasons = [Template.parse(line) for line in words()["addendum_reasons"].splitlines()]
        name = dice.pick(names_of(dice.pick(case.diagnoses))).fill(dice, pronouns(stay.patient.sex))
        return (
            f"Name:  [**Known lastname {1000 + stay.patient.subject_id}**],[**Known firstname **]        "
            f"Unit No:   [**Numeric Identifier {2000 + int(dice.roll() * 8000)}**]\n\n"
            f"{_admission_lines(stay)}\n\nAddendum:\n{dice.pick(reasons).fill(dice, {})}\n"
            f"{wrap(sentence(f'in addition, the patient had {name}'))}\n\n{NOTICE}\n"
        )


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


def _fillers(sex: str, dice: Dice, table: Knowledge) -> dict[str, list[str]]:
    """Wrapped pieces of text that carry no code."""
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
    return {part: [wrap(piece) for piece in pieces] for part, pieces in pools.items()}


def _admission_lines(stay: Stay) -> str:
    return (
        f"Admission Date:  {day(stay.admitted)}              Discharge Date:   {day(stay.discharged)}\n\n"
        f"Date of Birth:  {day(stay.patient.listed_birth)}             Sex:   {stay.patient.sex}"
    )


class _Summary:
    """One summary, section by section."""

    def __init__(self, stay: Stay, case: Case, dice: Dice, table: Knowledge, fillers: dict[str, list[str]]) -> None:
        self.stay, self.case, self.dice, self.table, self.fillers = stay, case, dice, table, fillers
        age = "[**Age over 90 **]" if stay.age > 89 else str(stay.age)
        side = dice.pick(("left", "right"))
        self.slots = {**pronouns(stay.patient.sex), "age": age, "side": side}
        self.drugs = drugs_of(case)
        self.acute = [c for c in case.diagnoses[1:] if c in case.acute]
        self.before = [c for c in case.diagnoses[1:] if c not in case.acute]

    def write(self, length: int) -> str:
        parts = self._parts()
        size = sum(len(line) + 1 for lines in parts.values() for line in lines)
        while size < length:
            part = self.dice.pick(FILLED)
            piece = self.dice.pick(self.fillers[part])
            if part == "labs":
                seen = self.stay.admitted + timedelta(days=int(self.dice.roll() * self._days))
                piece = f"{day(seen)} {piece}"
            parts[part].append(piece)
            size += len(piece) + 1
        return self._layout(parts)

    @property
    def _days(self) -> int:
        return (self.stay.discharged - self.stay.admitted).days + 1

    def _parts(self) -> dict[str, list[str]]:
        case, dice = self.case, self.dice
        principal = case.principal
        complaint = self._line(principal, "complaint") or self._name(principal)
        done = [f"{self._name(code)} on {day(self.stay.admitted)}" for code in dice.shuffled(case.procedures)]
        return {
            "complaint": [complaint[:1].upper() + complaint[1:]],
            "procedures": done or ["None"],
            "story": [self._story(complaint)],
            "history": [f"{n}. {self._name(c)}" for n, c in enumerate(dice.shuffled(self.before), 1)] or ["None."],
            "social": [self._frame("social"), *filter(None, (self._line(c, "social") for c in self.before))],
            "family": [self._frame("family", c) for c in case.family] or [self._frame("family_none")],
            "exam": [self._frame("vitals"), *self._findings("findings")],
            "labs": [*self._findings("results"), *(self._frame("absent", c) for c in case.absent)],
            "course": self._course(),
            "home": [f"{n}. {drug} {dose}" for n, (drug, dose) in enumerate(self.drugs.items(), 1)] or ["None"],
            "drugs": [f"{n}. {drug} {dose}" for n, (drug, dose) in enumerate(self.drugs.items(), 1)],
            "disposition": ["Expired" if self.stay.died else dice.pick(("Home", "Home With Service", "Extended Care"))],
            "diagnoses": self._diagnoses(),
            "condition": [dice.pick(("Stable.", "Good.", "Fair.", "Mental Status: Clear and coherent."))],
            "instructions": [dice.pick(self.fillers["instructions"])],
            "followup": [dice.pick(self.fillers["followup"])],
        }

    def _story(self, complaint: str) -> str:
        if self.stay.newborn:
            weeks, mother = 34 + int(7 * self.dice.roll()), 20 + int(20 * self.dice.roll())
            return (
                f"Baby [**Known lastname {self.stay.patient.subject_id}**] was born at {weeks} weeks "
                f"to a {mother} year old mother, with Apgars of 8 and 9."
            )
        lines = [
            f"{self.slots['age']} year old {self.slots['man']} who presents with {complaint}.",
            self._line(self.case.principal, "story"),
            *(self._line(code, "story") for code in self.acute if self.dice.chance(0.5)),
            *(sentence(self._name(code)) for code in self.case.diagnoses if code.startswith("E")),
        ]
        return " ".join(filter(None, lines))

    def _course(self) -> list[str]:
        """The reason of the stay first, then the other conditions in any order, with stress where the bill has it."""
        case, dice = self.case, self.dice
        lines = [self._frame("principal", case.principal), self._line(case.principal, "course")]
        lines += [self._line(c, "course") or self._frame("procedure", c) for c in case.procedures]
        problems = [self._frame("acute_major" if c in case.major else "acute", c) for c in self.acute]
        for code in self.before:
            if code in case.major:
                problems.append(self._frame("chronic_major", code))
            elif not code.startswith(("V", "E")) and dice.chance(0.4):
                problems.append(self._frame("chronic", code))
        problems += [self._line(c, "course") for c in self.acute if dice.chance(0.4)]
        problems += [self._frame("ruled_out", code) for code in case.ruled_out]
        return [line for line in (*lines, *dice.shuffled(problems)) if line]

    def _diagnoses(self) -> list[str]:
        listed = [code for code in self.case.diagnoses if not code.startswith("E") and self.dice.chance(0.75)]
        return [self._name(code) for code in listed] or [self._name(self.case.principal)]

    def _findings(self, part: str) -> list[str]:
        lines = [self._line(c, part) for c in (*self.case.diagnoses, *self.case.procedures) if self.dice.chance(0.5)]
        return [line for line in lines if line]

    def _name(self, code: str) -> str:
        return self.dice.pick(names_of(code)).fill(self.dice, self.slots)

    def _frame(self, frame: str, code: str = "") -> str:
        slots = {**self.slots, "name": self._name(code)} if code else self.slots
        return sentence(self.dice.pick(self.table.frames[frame]).fill(self.dice, slots))

    def _line(self, code: str, part: str) -> str:
        """What the knowledge of the synthetic notes has the code say in a part; "" where it has nothing."""
        known = self.table.procedures if is_procedure(code) else self.table.diagnoses
        if code not in known or not known[code].lines[part]:
            return ""
        text = self.dice.pick(known[code].lines[part]).fill(self.dice, self.slots)
        return text if part == "complaint" else sentence(text)

    def _layout(self, parts: dict[str, list[str]]) -> str:
        dictated = self.dice.chance(0.2)
        service = "NEONATOLOGY" if self.stay.newborn else self.dice.pick(SERVICES)
        head = f"{_admission_lines(self.stay)}\n\nService: {service}"
        if dictated:
            sections = [f"{heading.upper()}:  {wrap(' '.join(parts[part]))}" for part, heading in DICTATED]
            return f"{head}\n\n" + "\n\n".join(sections) + f"\n\n{NOTICE}\n"
        head += "\n\nAllergies:\n" + self.dice.pick(("No known drug allergies", "Penicillins / Codeine", "Sulfa"))
        head += f"\n\nAttending:[**First Name3 (LF) {int(self.dice.roll() * 9000)}**]"
        sections = [f"{heading}:\n{wrap(chr(10).join(parts[part]))}" for part, heading in TYPED]
        tail = f"Completed by:[**{self.stay.discharged.year}-{self.stay.discharged.month}-{self.stay.discharged.day}**]"
        return f"{head}\n" + "\n\n".join(sections) + f"\n\n{tail}\n{NOTICE}\n"


#: Part -> heading, in the order of a typed and of a dictated summary.
TYPED = (
    ("complaint", "Chief Complaint"),
    ("procedures", "Major Surgical or Invasive Procedure"),
    ("story", "History of Present Illness"),
    ("history", "Past Medical History"),
    ("social", "Social History"),
    ("family", "Family History"),
    ("exam", "Physical Exam"),
    ("labs", "Pertinent Results"),
    ("course", "Brief Hospital Course"),
    ("home", "Medications on Admission"),
    ("drugs", "Discharge Medications"),
    ("disposition", "Discharge Disposition"),
    ("diagnoses", "Discharge Diagnosis"),
    ("condition", "Discharge Condition"),
    ("instructions", "Discharge Instructions"),
    ("followup", "Followup Instructions"),
)
DICTATED = (
    ("story", "History of Present Illness"),
    ("history", "Past Medical History"),
    ("home", "Medications on Admission"),
    ("social", "Social History"),
    ("exam", "Physical Examination"),
    ("labs", "Laboratory Data"),
    ("course", "Hospital Course"),
    ("procedures", "Procedures"),
    ("condition", "Condition at Discharge"),
    ("disposition", "Discharge Disposition"),
    ("diagnoses", "Discharge Diagnoses"),
    ("drugs", "Discharge Medications"),
    ("followup", "Followup Plans"),
)
