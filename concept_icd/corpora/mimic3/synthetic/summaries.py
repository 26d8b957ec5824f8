"""Writes the discharge summaries of the synthetic MIMIC-III: real headings and layout, invented content.

Every coded condition is named in most summaries: acute ones in the hospital course, chronic ones in the history,
procedures in their list, and most again among the discharge diagnoses. The rest of the length is text that carries no
code. The layout is MIMIC's: headings with the text below them, or, where a summary was dictated, headings in capitals
with the text beside them; lines wrapped; names and dates replaced by marks such as [**2151-7-4**].
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate

from concept_icd.corpora.mimic3.synthetic.billing import drugs_of, is_procedure, names_of, words
from concept_icd.corpora.mimic3.synthetic.files import Value
from concept_icd.corpora.mimic3.synthetic.stays import Stay
from concept_icd.corpora.mimic3.synthetic.text import day, filled, fillers, numbered, pronouns, wrap
from concept_icd.corpora.synthetic.cases import Case
from concept_icd.corpora.synthetic.knowledge import Knowledge, knowledge
from concept_icd.corpora.synthetic.language import Dice, Template, sentence

#: Where the filler of a long summary goes, as often as named.
FILLED = (*["labs"] * 4, *["course"] * 3, "instructions", "exam", "story", "drugs", "drugs", "followup")
#: The same of a newborn, of whom nothing is told that only an adult does.
FILLED_NEWBORN = ("labs", "labs", "exam")
SERVICES = ("MEDICINE", "SURGERY", "CARDIOTHORACIC", "NEUROLOGY", "ORTHOPAEDICS", "CCU", "MICU")
NOTICE = "SYNTHETIC NOTE. Written by a program; it describes no real patient."


class SummaryWriter:
    """Writes one summary after the other.

    Args:
        length: mean number of characters; single summaries have between a third and twice as many.
    """

    def __init__(self, seed: int, length: int) -> None:
        self._length, self._table = length, knowledge()
        self._fillers = {sex: fillers(sex, Dice(f"{seed} filler {sex}"), self._table) for sex in "FM"}

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
        self.acute = [code for code in case.diagnoses[1:] if code in case.acute]
        self.before = [code for code in case.diagnoses[1:] if code not in case.acute and not code.startswith("E")]

    def write(self, length: int) -> str:
        parts = self._parts()
        size = sum(len(line) + 1 for lines in parts.values() for line in lines)
        while size < length:
            part = self.dice.pick(FILLED_NEWBORN if self.stay.newborn else FILLED)
            piece = self.dice.pick(self.fillers[part])
            if part == "labs":
                seen = self.stay.admitted + timedelta(days=int(self.dice.roll() * self._days))
                piece = f"{day(seen)} {piece}"
            parts[part].append(piece)
            size += len(piece) + 1
        return self._layout(parts)

    @property
    def _causes(self) -> list[str]:
        return [code for code in self.case.diagnoses if code.startswith("E")]

    @property
    def _days(self) -> int:
        return (self.stay.discharged - self.stay.admitted).days + 1

    def _parts(self) -> dict[str, list[str]]:
        case, dice = self.case, self.dice
        principal = case.principal
        complaint = self._line(principal, "complaint") or self._name(principal)
        home, new = self._drugs(self.before), self._drugs((principal, *self.acute))
        done = [f"{self._name(code)} on {day(self.stay.admitted)}" for code in dice.shuffled(case.procedures)]
        return {
            "complaint": [complaint[:1].upper() + complaint[1:]],
            "procedures": done or ["None"],
            "story": [self._story(complaint)],
            "history": numbered(self._history()),
            "social": self._social(),
            "family": [self._frame("family", code) for code in case.family] or [self._frame("family_none")],
            "exam": [self._frame("vitals"), *self._findings("findings")],
            "labs": [*self._findings("results"), *(self._frame("absent", c) for c in case.absent)],
            "course": self._course(),
            "home": numbered(home),
            "drugs": numbered([*home, *(drug for drug in new if " IV" not in drug and drug not in home)]),
            "disposition": ["Expired" if self.stay.died else dice.pick(("Home", "Home With Service", "Extended Care"))],
            "diagnoses": self._diagnoses(),
            "condition": [dice.pick(("Stable.", "Good.", "Fair.", "Mental Status: Clear and coherent."))],
            "instructions": [dice.pick(self.fillers["instructions"])],
            "followup": [dice.pick(self.fillers["followup"])],
        }

    def _history(self) -> list[str]:
        """What was there before, and what was there long ago and is not coded."""
        remote = [self._frame("remote_procedure" if is_procedure(c) else "remote", c) for c in self.case.remote]
        return self.dice.shuffled([*(self._name(code) for code in self.before), *remote])

    def _social(self) -> list[str]:
        if self.stay.newborn:
            return ["Lives with both parents."]
        return [self._frame("social"), *filter(None, (self._line(code, "social") for code in self.before))]

    def _drugs(self, codes: Sequence[str]) -> list[str]:
        return [f"{drug} {dose}" for drug, dose in drugs_of(codes).items()]

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
            *(self._line(code, "story") or sentence(self._name(code)) for code in self._causes),
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
            sections = [wrap(f"{heading.upper()}:  {' '.join(parts[part])}") for part, heading in DICTATED]
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


# Notes of the synthetic MIMIC-III that are no discharge summaries: they are many, and no reader of codes wants them.
#
# They are put together from paragraphs that are made once. Some have no stay, some no time, some were entered in error.

PARAGRAPHS, SENTENCES = 500, 4


@dataclass(frozen=True)
class Category:
    """One kind of note; see words.yaml."""

    share: int
    descriptions: list[str]
    paragraphs: int
    no_stay: float


class OtherNotes:
    """Draws rows of NOTEEVENTS."""

    def __init__(self, dice: Dice) -> None:
        self._categories = {name: Category(**fields) for name, fields in words()["other_notes"].items()}
        self._names = list(self._categories)
        self._sums = list(accumulate(category.share for category in self._categories.values()))
        sentences = filled(words()["other_sentences"], dice, "M", PARAGRAPHS * SENTENCES)
        self._pool = [
            wrap(" ".join(sentences[start : start + SENTENCES])) for start in range(0, len(sentences), SENTENCES)
        ]

    def draw(self, stay: Stay, dice: Dice) -> tuple[Value, ...]:
        """A note about a stay: a whole row but ROW_ID."""
        roll = dice.roll
        name = self._names[bisect(self._sums, roll() * self._sums[-1])]
        category = self._categories[name]
        written = stay.admitted + timedelta(
            minutes=int(roll() * (stay.discharged - stay.admitted).total_seconds() / 60)
        )
        time = written.isoformat(" ") if roll() < 0.8 else None
        first = int(roll() * len(self._pool))
        count = 1 + int(roll() * (2 * category.paragraphs - 1))
        return (
            stay.patient.subject_id,
            None if roll() < category.no_stay else stay.hadm_id,
            written.date().isoformat(),
            time,
            time if roll() < 0.5 else None,
            name,
            dice.pick(category.descriptions),
            14000 + int(roll() * 7000),
            "1" if roll() < 0.005 else None,
            "\n\n".join(self._pool[(first + 7 * number) % len(self._pool)] for number in range(count)) + "\n",
        )
