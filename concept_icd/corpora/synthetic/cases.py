"""Draws what happened to a synthetic patient: who, which codes in which billing order, and which decoys.

The order follows rules that a reader of the note can learn: the principal diagnosis is the one found after study to
have occasioned the admission; then come the conditions of this stay by severity, those that the note stresses
earlier; then chronic conditions, those that were actively treated earlier; then status (V) codes, then causes
(E codes). A code that explains another follows it. A little noise stands for the habits of human coders.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from concept_icd.corpora.synthetic.knowledge import Entity, Knowledge
from concept_icd.corpora.synthetic.language import Dice

#: Codes per note; now and then a young patient has fewer, a very sick one more.
FEWEST_CODES, MOST_CODES = 3, 9


@dataclass
class Patient:
    """What stays with a patient between admissions."""

    age: int
    sex: str
    chronic: list[str] = field(default_factory=list)
    past: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Case:
    """One admission. `diagnoses` and `procedures` are in billing order; the rest are decoys, never coded.

    Attributes:
        acute: coded conditions of this stay; the other diagnoses were there before.
        major: coded conditions that the text must stress.
        absent, ruled_out, family, remote: conditions denied, excluded by tests, of relatives, of the past.
        denied: entities whose own sentences of denial are used (statuses, causes, procedures not done).
    """

    patient: Patient
    diagnoses: tuple[str, ...]
    procedures: tuple[str, ...]
    acute: frozenset[str]
    major: frozenset[str]
    absent: tuple[str, ...]
    ruled_out: tuple[str, ...]
    family: tuple[str, ...]
    remote: tuple[str, ...]
    denied: tuple[str, ...]

    @property
    def principal(self) -> str:
        """The first diagnosis."""
        return self.diagnoses[0]


def draw_patient(dice: Dice) -> Patient:
    """Adults, more of them old."""
    return Patient(age=20 + int(77 * max(dice.roll(), dice.roll())), sex=dice.pick("FM"))


def draw_case(patient: Patient, dice: Dice, table: Knowledge) -> Case:
    """The next admission of a patient; adds to the patient's chronic and past conditions."""
    draw = Draw(patient, dice, table)
    principal = dice.pick_weighted(
        {code: e.principal for code, e in table.diagnoses.items() if e.principal and e.fits(patient.age, patient.sex)}
    )
    # Chronic before is acute now, once: heart failure may be the reason of an admission.
    patient.chronic = [code for code in patient.chronic if code != principal]
    draw.add_acute(principal)
    draw.add_background(table.diagnoses[principal])
    draw.add_procedures()
    diagnoses, procedures = draw.trimmed()
    draw.diagnoses = diagnoses
    major = frozenset(code for code in diagnoses[1:] if _can_be_major(table.diagnoses[code]) and dice.chance(0.35))
    case = Case(
        patient=Patient(patient.age, patient.sex),
        diagnoses=(principal, *_billing_order(diagnoses[1:], draw, major)),
        procedures=_procedure_order(procedures, table, dice),
        acute=frozenset(draw.acute),
        major=major,
        **draw_decoys(draw, procedures),
    )
    known = dict.fromkeys([*patient.chronic, *diagnoses])
    patient.chronic = [code for code in known if table.diagnoses[code].prevalence]
    patient.past += [code for code in diagnoses if code in draw.acute and table.diagnoses[code].remote]
    return case


class Draw:
    """The codes of one admission while they are drawn."""

    def __init__(self, patient: Patient, dice: Dice, table: Knowledge) -> None:
        self.patient, self.dice, self.table = patient, dice, table
        self.diagnoses: list[str] = []
        self.acute: set[str] = set()
        self.procedures: list[str] = []

    def admits(self, entity: Entity) -> bool:
        """The entity fits the patient and goes with what was drawn already."""
        return (
            entity.code not in self.diagnoses
            and entity.fits(self.patient.age, self.patient.sex)
            and not any(d in entity.excludes or entity.code in self.table.diagnoses[d].excludes for d in self.diagnoses)
            and (not entity.needs or bool(entity.needs & set(self.diagnoses)))
        )

    def add(self, code: str, probability: float = 1.0) -> bool:
        """Adds the diagnosis with this probability if it is admitted; says whether it did."""
        if not (self.admits(self.table.diagnoses[code]) and self.dice.chance(probability)):
            return False
        self.diagnoses.append(code)
        return True

    def add_acute(self, code: str, probability: float = 1.0) -> None:
        """A condition of this stay, what it leads to, and its cause."""
        if not self.add(code, probability):
            return
        self.acute.add(code)
        entity = self.table.diagnoses[code]
        for other, chance in entity.leads_to.items():
            self.add_acute(other, chance)
        if entity.causes:
            causes = {**entity.causes, "": max(0.0, 1 - sum(entity.causes.values()))}
            if cause := self.dice.pick_weighted(causes):
                self.add(cause)

    def add_background(self, principal: Entity) -> None:
        """Chronic conditions and statuses: known ones, those that go with the principal one, and by prevalence."""
        for code in self.patient.chronic:
            self.add(code, 0.9)
        for code, chance in principal.with_.items():
            self.add(code, chance)
        for code, entity in self.table.diagnoses.items():
            if entity.prevalence and self.add(code, entity.prevalence):
                for other, chance in {**entity.leads_to, **entity.with_}.items():
                    if self.table.diagnoses[other].prevalence:  # an acute complication belongs to the acute form
                        self.add(other, chance)
        common = self.dice.shuffled([code for code, e in self.table.diagnoses.items() if e.prevalence and e.plain])
        for code in common:
            if len(self.diagnoses) >= FEWEST_CODES:
                break
            self.add(code)

    def add_procedures(self) -> None:
        """What is done for the acute conditions, and what goes with it."""
        for code in self.diagnoses:
            for procedure, chance in self.table.diagnoses[code].procedures.items():
                # the procedures of a disease belong to its acute form
                if procedure not in self.procedures and code in self.acute and self.dice.chance(chance):
                    self.procedures.append(procedure)
        for procedure in tuple(self.procedures):
            for other, chance in self.table.procedures[procedure].leads_to.items():
                if self.dice.chance(chance):
                    self.procedures.append(other)

    def trimmed(self) -> tuple[list[str], list[str]]:
        """At most `MOST_CODES`: chronic conditions and statuses go, those first that no other code leans on."""
        diagnoses = list(self.diagnoses)
        while len(diagnoses) + len(self.procedures) > MOST_CODES:
            others = [self.table.diagnoses[code] for code in diagnoses]
            leant_on = {code for other in others for code in (*other.needs, other.after)}
            loose = [code for code in diagnoses if code not in self.acute]
            loose = [code for code in loose if code not in leant_on] or loose
            if not loose:
                break
            diagnoses.remove(self.dice.pick(loose))
        return diagnoses, self.procedures


def _can_be_major(entity: Entity) -> bool:
    return entity.plain and entity.severity > 1


def _billing_order(codes: Iterable[str], draw: Draw, major: frozenset[str]) -> list[str]:
    """Secondary diagnoses in billing order; see the module's docstring."""

    def weight(code: str) -> float:
        entity = draw.table.diagnoses[code]
        base = 8 if code in draw.acute else -20 if entity.cause else -10 if entity.status else 0
        stress = (5 if code in draw.acute else 10) if code in major else 0
        return base + 0.6 * entity.severity + stress + 1.5 * draw.dice.roll()

    weights = {code: weight(code) for code in codes}
    ordered = sorted(weights, key=lambda code: -weights[code])
    for code in [code for code in ordered if draw.table.diagnoses[code].after]:
        after = draw.table.diagnoses[code].after
        if after in ordered or after == draw.diagnoses[0]:
            ordered.remove(code)
            ordered.insert(ordered.index(after) + 1 if after in ordered else 0, code)
    return ordered


def _procedure_order(codes: list[str], table: Knowledge, dice: Dice) -> tuple[str, ...]:
    """The most definitive first; a procedure that goes with another follows it."""
    weights = {code: table.procedures[code].severity + 1.5 * dice.roll() for code in codes}
    ordered = sorted(weights, key=lambda code: -weights[code])
    for code in [code for code in ordered if table.procedures[code].after in ordered]:
        ordered.remove(code)
        ordered.insert(ordered.index(str(table.procedures[code].after)) + 1, code)
    return tuple(ordered)


def draw_decoys(draw: Draw, done: list[str]) -> dict[str, tuple[str, ...]]:
    """What the note mentions but nobody codes; nothing that contradicts a coded condition."""
    dice, table, patient = draw.dice, draw.table, draw.patient
    coded = [table.diagnoses[code] for code in draw.diagnoses]
    free = [
        code
        for code, entity in table.diagnoses.items()
        if entity.fits(patient.age, patient.sex) and not any(_related(entity, other) for other in coded)
    ]
    diseases = [code for code in free if table.diagnoses[code].plain and code not in patient.chronic]
    near = [code for entity in coded for code in entity.leads_to if code in diseases]
    denied = dice.shuffled([*near, *diseases] if dice.chance(0.5) else diseases)
    denied = list(dict.fromkeys([*dice.some(near, 1), *denied]))
    absent = denied[: 1 + int(2.5 * dice.roll())]
    ruled_out = denied[len(absent) : len(absent) + int(2.4 * dice.roll())]
    left = [code for code in diseases if code not in absent and code not in ruled_out]
    remote = [code for code in patient.past if code in left]
    remote += dice.some([code for code in left if table.diagnoses[code].remote and code not in remote], 1)
    remote += dice.some([c for c, e in table.procedures.items() if e.remote and c not in done], 1)
    withheld = [p for entity in coded for p in entity.procedures if p not in done and entity.code in draw.acute]
    # A sentence of denial speaks broadly ("never smoked", "drinks little"), so it keeps off all that is linked.
    linked = {code for entity in coded for code in (*entity.leads_to, *entity.with_, *entity.causes)}
    statuses = [code for code in free if table.diagnoses[code].lines["denied"] and code not in linked]
    return {
        "absent": tuple(absent),
        "ruled_out": tuple(ruled_out),
        "family": tuple(dice.some([c for c, e in table.diagnoses.items() if e.family], 2)),
        "remote": tuple(dict.fromkeys(remote)),
        "denied": (*dice.some(list(dict.fromkeys(withheld)), 2), *dice.some(statuses, 1)),
    }


def _related(one: Entity, other: Entity) -> bool:
    """Denying one would be odd, or false, where the other is coded."""
    return (
        one.code.split(".")[0] == other.code.split(".")[0]
        or one.code in (*other.excludes, *other.with_, *other.needs)
        or other.code in (*one.excludes, *one.with_, *one.needs, *one.leads_to)
    )
