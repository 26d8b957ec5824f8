"""Puts a stay into words from which its billing order can be learnt; see `notes` for the rules.

The writer sees the reason for admission and how each condition was treated, never the billed order with its noise.
"""

from __future__ import annotations

from concept_icd.corpora.synthetic.knowledge import Entity, Knowledge
from concept_icd.corpora.synthetic.language import Dice, sentence
from concept_icd.corpora.synthetic.stays import Stay
from concept_icd.corpora.synthetic.writer import Writer


class StayWriter(Writer):
    """One note. Conditions stand in any order, and what tells their roles stands beside them."""

    def __init__(self, stay: Stay, dice: Dice, table: Knowledge) -> None:
        super().__init__(stay.case, dice, table)
        self.stay = stay
        self.codes = dice.shuffled(self.codes)
        self.acute = [entity for entity in self.others if entity.code in stay.treatment]
        self.chronic = [e for e in self.others if e.code not in stay.treatment and not e.cause]
        self.sides = [entity for entity in self.acute if entity.code in stay.arrival]
        self.complaint = self._draw_complaint()

    def _draw_complaint(self) -> str:
        roll = self.dice.roll()
        if roll < 0.6:
            return self._line(self.principal, "complaint", whole=False)
        if roll < 0.75 and self.sides:
            return self._line(self.dice.pick(self.sides), "complaint", whole=False)
        return self._frame("vague_complaint", whole=False)

    def _chief_complaint(self) -> str:
        return self._frame("vague_complaint") if self.dice.chance(0.2) else f"{self.complaint.capitalize()}."

    def _story(self) -> list[str]:
        complaint = self.complaint if self.dice.chance(0.6) else self._frame("vague_complaint", whole=False)
        known = self.dice.shuffled([e for e in self.chronic if e.plain])[: self.dice.pick((1, 2, 2))]
        if known and self.dice.chance(0.6):
            others = " and ".join(self._name(entity) for entity in known)
            opening = self._frame("opening_with_history", complaint=complaint, others=others)
        else:
            opening = self._frame("opening", complaint=complaint)
        told = [self._told(self.principal, "reason"), *(self._told(entity, "side") for entity in self.sides)]
        first, rest = (told[:1], told[1:]) if self.dice.chance(0.55) else ([], told)
        return [opening, *first, *self.dice.shuffled(rest), *self._named(self.case.absent[:1], "absent")]

    def _told(self, entity: Entity, role: str) -> str:
        """What it was for this admission: named, or only how it began; a fall is told with what it broke."""
        roll = self.dice.roll()
        if roll < 0.5:
            words = [self._frame(f"{role}_named", name=self._name(entity))]
        elif roll < 0.75:
            words = [self._frame(f"{role}_before", whole=False), self._line(entity, "story")]
        else:
            words = [self._line(entity, "story"), self._frame(f"{role}_behind")]
        causes = (self.table.diagnoses[code] for code in entity.causes if code in self.case.diagnoses)
        return " ".join([*words, *(self._line(cause, "story") for cause in causes)])

    def _course(self) -> list[str]:
        problems = [self._treated(entity) for entity in (self.principal, *self.acute)]
        for entity in (e for e in self.chronic if e.plain):
            if entity.code in self.stay.changed:
                problems.append(self._frame("chronic_major", name=self._name(entity)))
            elif self.dice.chance(0.35):
                problems.append(self._frame("chronic", name=self._name(entity)))
        for entity in (e for e in self.others if not e.plain and e.lines["course"]):
            if entity.code in self.unnamed:
                problems.append(self._line(entity, "course"))
                self.unnamed.discard(entity.code)
        problems += self._named(self.case.ruled_out[:1], "ruled_out")
        return self.dice.shuffled([*problems, *map(self._procedure, self.done)])

    def _procedure(self, entity: Entity) -> str:
        self.unnamed.discard(entity.code)
        day = str(self.stay.days[entity.code])
        if self.dice.chance(0.5):
            return f"{self._frame('day', whole=False, day=day)} {self._line(entity, 'course')}"
        return self._frame("procedure_dated", name=self._name(entity), day=day)

    def _drug_list(self, drugs: dict[str, str]) -> str:
        return sentence(", ".join(drugs)) if drugs and self.dice.chance(0.7) else super()._drug_list(drugs)

    def _mixed(self, part: str, probability: float, most: int) -> list[str]:
        """Fewer than in a small stay: there are more conditions."""
        return super()._mixed(part, probability * 0.7, most - 1)

    def _treated(self, entity: Entity) -> str:
        """How much treatment an acute condition took, and whether it came in hospital."""
        treatment = self.stay.treatment[entity.code]
        acquired = entity.code not in self.stay.arrival and entity.after is None
        words = [self._frame("acquired", name=self._name(entity))] if acquired else []
        if acquired or self.dice.chance(0.5):
            return " ".join([*words, self._line(entity, "course"), self._frame(f"{treatment}_behind")])
        return self._frame(treatment, name=self._name(entity))

    def _discharge_diagnoses(self) -> list[str]:
        """In three notes of four: most diagnoses, in any order but for the reason, which is first in some."""
        if self.dice.chance(0.25):
            listed = [entity for entity in self.others if entity.code in self.unnamed and not entity.cause]
        else:
            listed = [e for e in (self.principal, *self.others) if not e.cause and self.dice.chance(0.85)]
        listed = self.dice.shuffled(listed)
        if self.principal in listed and self.dice.chance(0.3):
            listed.remove(self.principal)
            listed.insert(0, self.principal)
        return [self._name(entity) for entity in listed]
