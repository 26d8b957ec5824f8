"""Puts an admission of a synthetic patient into words: one discharge summary, section by section.

It is told what happened (a `Case`) and knows no codes but those of the case. Every coded condition is named outright
at least once in most notes, and in some it only shows in findings and treatment.
"""

from __future__ import annotations

from collections.abc import Sequence

from concept_icd.corpora.synthetic.cases import Case, Patient
from concept_icd.corpora.synthetic.knowledge import Entity, Knowledge
from concept_icd.corpora.synthetic.language import Dice, Template, sentence


def _slots(patient: Patient, side: str) -> dict[str, str]:
    woman = patient.sex == "F"
    he, him, his, man = ("she", "her", "her", "woman") if woman else ("he", "him", "his", "man")
    return {
        **{"he": he, "him": him, "his": his, "man": man, "He": he.capitalize(), "His": his.capitalize()},
        **{"age": str(patient.age), "side": side},
    }


class Writer:
    """One note, section by section."""

    def __init__(self, case: Case, dice: Dice, table: Knowledge) -> None:
        self.case, self.dice, self.table = case, dice, table
        self.style = dice.pick((0, 1, 2))
        self.slots = _slots(case.patient, dice.pick(("left", "right")))
        self.codes = [table.entity(code) for code in (*case.diagnoses, *case.procedures)]
        self.principal, *self.others = (table.diagnoses[code] for code in case.diagnoses)
        self.done = [table.procedures[code] for code in case.procedures]
        self.chronic = [e for e in self.others if e.prevalence and e.code not in case.acute]
        self.acute = [e for e in self.others if e.plain and e not in self.chronic]
        self.home: dict[str, str] = {}
        self.hospital: dict[str, str] = {}
        self.unnamed = {entity.code for entity in self.codes}

    def write(self, min_words: int) -> tuple[str, tuple[str, ...]]:
        """The text and the drugs in it."""
        self._draw_drugs()
        parts: dict[str, list[str]] = {
            "complaint": [self._chief_complaint()],
            "story": self._story(),
            "history": [self._history()],
            "family": self._named(self.case.family, "family") or [self._frame("family_none")],
            "social": self._social(),
            "home": [self._drug_list(self.home)],
            "findings": [self._frame("vitals"), *self._mixed("findings", 0.45, 3)],
            "results": [*self._mixed("results", 0.5, 4), *self._named(self.case.absent[1:], "absent")],
            "course": self._course(),
        }
        if self.done and self.dice.chance(0.45):
            parts["procedures"] = [self._list([self._name(entity) for entity in self.dice.shuffled(self.done)])]
        if inpatient := {drug: dose for drug, dose in self.hospital.items() if "IV" in dose}:
            parts["inpatient"] = [self._drug_list(inpatient)]
        new = {drug: dose for drug, dose in self.hospital.items() if "IV" not in dose}
        if self.dice.chance(0.3):
            parts["discharge_drugs"] = [self._drug_list({**self.home, **new})]
        else:
            parts["discharge_drugs"] = ["As on admission.", *([f"New: {self._drug_list(new)}"] if new else [])]
        if diagnoses := self._discharge_diagnoses():
            parts["diagnoses"] = [self._list(diagnoses)]
        parts["closing"] = [self._frame("closing")]
        self._lengthen(parts, min_words)
        return self._layout(parts), tuple({**self.home, **self.hospital})

    def _chief_complaint(self) -> str:
        return self._line(self.principal, "complaint")

    def _story(self) -> list[str]:
        complaint = self._line(self.principal, "complaint", whole=False)
        known = self.dice.shuffled([e for e in self.chronic if e.plain])[: self.dice.pick((1, 2, 2))]
        if known and self.dice.chance(0.5):
            opening = self._frame(
                "opening_with_history", complaint=complaint, others=" and ".join(self._name(e) for e in known)
            )
        else:
            opening = self._frame("opening", complaint=complaint)
        story = [opening, self._line(self.principal, "story")]
        # What else was there on arrival is told here too, so that the story alone does not give away the principal.
        for entity in self.others:
            if entity.lines["story"] and (entity.cause or (entity in self.acute and self.dice.chance(0.5))):
                story.append(self._line(entity, "story"))
        story += self._named(self.case.absent[:1], "absent")
        if self.dice.chance(0.4):
            story.append(self._frame("principal", name=self._name(self.principal)))
        return story

    def _history(self) -> str:
        """Chronic conditions, and things of the past that must not be coded."""
        items = []
        for entity in (e for e in self.chronic if e.plain or e.lines["history"]):
            if entity.lines["history"] and self.dice.chance(0.4 if entity.plain else 0.8):
                items.append(self._line(entity, "history", whole=False))
                if entity.status:
                    self.unnamed.discard(entity.code)
            else:
                items.append(self._name(entity))
        for code in self.case.remote:
            frame = "remote" if code in self.table.diagnoses else "remote_procedure"
            items.append(self._frame(frame, name=self._name(self.table.entity(code)), whole=False))
        return self._list(self.dice.shuffled(items) or [self._frame("history_none", whole=False)])

    def _social(self) -> list[str]:
        lines = [self._frame("social")]
        for entity in self.others:
            if entity.lines["social"]:
                lines.append(self._line(entity, "social"))
                self.unnamed.discard(entity.code)
        lines += [self._line(self.table.diagnoses["305.1"], "denied")] if "305.1" in self.case.denied else []
        return self.dice.shuffled(lines)

    def _course(self) -> list[str]:
        """The principal problem first, then the others and the decoys in any order."""
        first = [self._frame("principal", name=self._name(self.principal))] if self.dice.chance(0.6) else []
        first.append(self._line(self.principal, "course"))
        first += [self._procedure(entity) for entity in self.done]
        problems = [[self._problem(entity, "acute")] for entity in self.acute]
        for entity in self.chronic:
            if entity.plain and (entity.code in self.case.major or self.dice.chance(0.35)):
                problems.append([self._problem(entity, "chronic")])
        for entity in (e for e in self.others if not e.plain and e.lines["course"]):
            if entity.code in self.unnamed or self.dice.chance(0.5):
                problems.append([self._line(entity, "course")])
                self.unnamed.discard(entity.code)
        problems += [[line] for line in self._named(self.case.ruled_out, "ruled_out")]
        for code in self.case.denied:
            entity = self.table.entity(code)
            if code != "305.1":
                problems.append([self._line(entity, "denied" if entity.kind == "diagnosis" else "withheld")])
        return first + [line for problem in self.dice.shuffled(problems) for line in problem]

    def _problem(self, entity: Entity, role: str) -> str:
        """One problem of the stay: named, described, or both; stressed where it must be."""
        if entity.code in self.case.major:
            named = self._frame(f"{role}_major", name=self._name(entity))
        elif self.dice.chance(0.7):
            named = self._frame(role, name=self._name(entity))
        else:
            named = ""
        described = self._line(entity, "course") if not named or self.dice.chance(0.45) else ""
        return " ".join(filter(None, (named, described)))

    def _procedure(self, entity: Entity) -> str:
        self.unnamed.discard(entity.code)
        if self.dice.chance(0.65):
            return self._line(entity, "course")
        return self._frame("procedure", name=self._name(entity))

    def _discharge_diagnoses(self) -> list[str]:
        """In three notes of four; not complete, and not in billing order but for a principal diagnosis often first."""
        listed = [e for e in (self.principal, *self.others) if not e.cause]
        if self.dice.chance(0.25):
            listed = [e for e in listed if e.code in self.unnamed and self.dice.chance(0.9)]
        else:
            listed = [e for e in listed if self.dice.chance(0.95 if e.code in self.unnamed else 0.7)]
        listed = self.dice.shuffled(listed)
        if self.principal in listed and self.dice.chance(0.6):
            listed.remove(self.principal)
            listed.insert(0, self.principal)
        return [self._name(entity) for entity in listed]

    def _mixed(self, part: str, probability: float, most: int) -> list[str]:
        """Some lines of the coded conditions for this part, among lines that say nothing."""
        lines = [self._line(e, part) for e in self.codes if e.lines[part] and self.dice.chance(probability)]
        empty = self.dice.shuffled(self.table.frames[part])[: 1 + int(1.5 * self.dice.roll())]
        return self.dice.shuffled([*lines[:most], *[self._say((template,), True, {}) for template in empty]])

    def _draw_drugs(self) -> None:
        for entity in self.codes:
            if entity.drugs:
                drugs = self.dice.shuffled(list(entity.drugs))[: 1 + int(1.3 * self.dice.roll())]
                chosen = self.home if entity in self.chronic else self.hospital
                chosen.update({drug: entity.drugs[drug] for drug in drugs})
        for drug in self.dice.some(list(self.table.common_drugs), 2):
            self.home[drug] = self.table.common_drugs[drug]
        self.hospital = {drug: dose for drug, dose in self.hospital.items() if drug not in self.home}

    def _lengthen(self, parts: dict[str, list[str]], min_words: int) -> None:
        """Adds lines that carry no code until the note is long enough."""
        words = len(self._layout(parts).split())
        while words < min_words:
            part = self.dice.pick(("findings", "results", "course", "course", "course", "closing"))
            line = self._frame("instructions" if part == "closing" else part)
            parts[part].append(line)
            words += len(line.split())

    def _layout(self, parts: dict[str, list[str]]) -> str:
        slots = self.slots
        head = f"{self.table.banner}\n\nSex: {self.case.patient.sex}  Age: {slots['age']}\n"
        sections = []
        for part, lines in parts.items():
            heading = self.table.headings[part][self.style % len(self.table.headings[part])]
            sections.append(f"{heading}: {' '.join(line for line in lines if line)}")
        return head + "\n" + "\n\n".join(sections) + "\n"

    def _named(self, codes: Sequence[str], frame: str) -> list[str]:
        return [self._frame(frame, name=self._name(self.table.diagnoses[code])) for code in codes]

    def _name(self, entity: Entity) -> str:
        self.unnamed.discard(entity.code)
        return self.dice.pick(entity.names).fill(self.dice, self.slots)

    def _frame(self, frame: str, whole: bool = True, **slots: str) -> str:
        return self._say(self.table.frames[frame], whole, slots)

    def _line(self, entity: Entity, part: str, whole: bool = True) -> str:
        return self._say(entity.lines[part], whole, {})

    def _say(self, templates: Sequence[Template], whole: bool, slots: dict[str, str]) -> str:
        text = self.dice.pick(templates).fill(self.dice, {**self.slots, **slots})
        return sentence(text) if whole else text

    def _list(self, items: Sequence[str]) -> str:
        """As a numbered list, or in one line."""
        if self.dice.chance(0.5):
            return "".join(f"\n{number}. {item}" for number, item in enumerate(items, 1))
        return sentence("; ".join(items))

    def _drug_list(self, drugs: dict[str, str]) -> str:
        if not drugs:
            return "None."
        if self.dice.chance(0.6):
            return sentence(", ".join(drugs))
        return sentence("; ".join(f"{drug} {dose}" for drug, dose in drugs.items()))
