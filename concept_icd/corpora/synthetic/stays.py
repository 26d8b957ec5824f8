"""Draws a stay whose billing order depends on what its note tells; the rules stand in `notes`.

It knows nothing of sentences: what the text must tell (which condition was the reason, what was there on arrival, how
much treatment each took, on which day a procedure was done) is drawn here, and the order follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from concept_icd.corpora.synthetic.cases import Case, Draw, Patient, draw_decoys
from concept_icd.corpora.synthetic.knowledge import Entity, Knowledge
from concept_icd.corpora.synthetic.language import Dice

T = TypeVar("T")
Treatment = Literal["intense", "ordinary", "slight"]
TREATMENTS: tuple[Treatment, ...] = ("intense", "ordinary", "slight")
#: Share of stays whose principal diagnosis is drawn among all acute conditions, the reason for admission included.
ANY_PRINCIPAL = 0.14
#: How often a code behind the principal diagnosis, or a procedure, changes places with its successor.
SWAPS = 0.08
FEWEST_DIAGNOSES, MOST_DIAGNOSES, MOST_PROCEDURES = 8, 12, 3
#: From this severity on a procedure can be the definitive treatment of a condition.
DEFINITIVE = 5
#: Nobody gets these in hospital, and nobody comes for them by the way.
ELECTIVE = "715.36"
ON_ARRIVAL = ("540.9", "820.21", "291.81")


@dataclass(frozen=True)
class Stay:
    """One admission.

    Attributes:
        case: what the note is to tell; its diagnoses are the reason, then the others in any order.
        reason: the condition that led to the admission.
        arrival: acute conditions that were there on arrival, the reason among them; the others came in hospital.
        treatment: acute condition -> how much treatment it took.
        changed: chronic conditions whose treatment was changed.
        days: procedure -> hospital day.
        ruled_diagnoses, ruled_procedures: in the order of the rules, without noise.
        diagnoses, procedures: in billing order.
    """

    case: Case
    reason: str
    arrival: frozenset[str]
    treatment: Mapping[str, Treatment]
    changed: frozenset[str]
    days: Mapping[str, int]
    ruled_diagnoses: tuple[str, ...]
    ruled_procedures: tuple[str, ...]
    diagnoses: tuple[str, ...]
    procedures: tuple[str, ...]


def draw_older_patient(dice: Dice) -> Patient:
    """Old enough for many chronic conditions."""
    return Patient(age=40 + int(52 * max(dice.roll(), dice.roll())), sex=dice.pick("FM"))


def draw_stay(patient: Patient, dice: Dice, table: Knowledge) -> Stay:
    """The next admission of a patient; adds to the patient's chronic and past conditions."""
    draw = Draw(patient, dice, table)
    reason = _draw_acute(draw)
    acute = dict.fromkeys(code for code in draw.diagnoses if code in draw.acute)
    _draw_chronic(draw)
    procedures = _draw_procedures(draw)
    here = [code for code in acute if table.diagnoses[code].after is None]
    arrival = {reason, *(code for code in here if code in ON_ARRIVAL or dice.chance(0.65))}
    treatment = {code: TREATMENTS[int(3 * dice.roll())] for code in acute}
    chronic = [code for code in draw.diagnoses if code not in acute and table.diagnoses[code].plain]
    changed = frozenset(code for code in chronic if table.diagnoses[code].severity > 1 and dice.chance(0.3))
    days = _draw_days(procedures, dice, table)
    principal = dice.pick(here) if dice.chance(ANY_PRINCIPAL) else reason

    def rules(principal: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        others = [code for code in draw.diagnoses if code != principal]
        ordered = sorted(others, key=lambda code: _place(table.diagnoses[code], treatment, changed))
        return tuple(_explained(principal, ordered, table)), _procedure_order(principal, procedures, days, table)

    ruled, billed = rules(reason), rules(principal)
    case = Case(
        patient=Patient(patient.age, patient.sex),
        diagnoses=(reason, *dice.shuffled([code for code in draw.diagnoses if code != reason])),
        procedures=tuple(sorted(procedures, key=lambda code: days[code])),
        acute=frozenset(acute),
        major=frozenset(),
        **draw_decoys(draw, procedures),
    )
    patient.chronic = [
        code for code in dict.fromkeys([*patient.chronic, *draw.diagnoses]) if table.diagnoses[code].prevalence
    ]
    patient.past += [code for code in acute if table.diagnoses[code].remote]
    return Stay(
        case, reason, frozenset(arrival), treatment, changed, days, *ruled,
        (billed[0][0], *_swapped(billed[0][1:], dice)), tuple(_swapped(billed[1], dice)),
    )  # fmt: skip


def _draw_acute(draw: Draw) -> str:
    """Three to five acute conditions (and what belongs to them); returns the reason for admission."""
    table, dice = draw.table, draw.dice
    pool = [code for code, entity in table.diagnoses.items() if entity.lines["complaint"]]
    reason = dice.pick([code for code in pool if draw.admits(table.diagnoses[code])])
    draw.patient.chronic = [code for code in draw.patient.chronic if code not in pool]
    number = 3 + int(3 * dice.roll())
    chosen: list[str] = []
    code = reason
    while True:
        chosen.append(code)
        draw.add(code)
        draw.acute.add(code)
        if code == "038.9" and draw.add("995.92", 0.5):
            draw.acute.add("995.92")
        for cause, chance in table.diagnoses[code].causes.items():
            draw.add(cause, chance)
        led_to = {other for one in chosen for other in table.diagnoses[one].leads_to}
        left = [other for other in pool if other != ELECTIVE and draw.admits(table.diagnoses[other])]
        if len(chosen) == number or not left:
            return reason
        code = dice.pick_weighted({other: 2.0 if other in led_to else 1.0 for other in left})


def _draw_chronic(draw: Draw) -> None:
    """Known conditions, then others and at most two statuses by prevalence, until there are enough diagnoses."""
    table, dice = draw.table, draw.dice
    enough = FEWEST_DIAGNOSES + int((MOST_DIAGNOSES - FEWEST_DIAGNOSES + 1) * dice.roll())

    def admitted(code: str) -> bool:
        entity = table.diagnoses[code]
        statuses = sum(table.diagnoses[other].status for other in draw.diagnoses)
        brings = sum(chance == 1 for chance in entity.leads_to.values())
        return draw.admits(entity) and statuses + entity.status <= 2 and len(draw.diagnoses) + brings < enough

    def add(code: str) -> None:
        draw.add(code)
        for other, chance in table.diagnoses[code].leads_to.items():
            if chance == 1:
                draw.add(other)

    for code in draw.patient.chronic:
        if admitted(code) and dice.chance(0.9):
            add(code)
    while left := {code: e.prevalence for code, e in table.diagnoses.items() if e.prevalence and admitted(code)}:
        add(dice.pick_weighted(left))


def _draw_procedures(draw: Draw) -> list[str]:
    draw.add_procedures()
    done = draw.procedures
    while len(done) > MOST_PROCEDURES:
        done.remove(draw.dice.pick([code for code in done if code != "96.04"]))
    if not done:
        possible = [p for code in draw.diagnoses if code in draw.acute for p in draw.table.diagnoses[code].procedures]
        done.append(draw.dice.pick(possible or ["38.93"]))
    return done


def _draw_days(procedures: Sequence[str], dice: Dice, table: Knowledge) -> dict[str, int]:
    """Each on its own day, but ventilation begins with the tube."""
    days = dict(zip(procedures, dice.shuffled(range(1, 8)), strict=False))
    return {code: days.get(str(table.procedures[code].after), day) for code, day in days.items()}


def _place(entity: Entity, treatment: Mapping[str, Treatment], changed: frozenset[str]) -> tuple[float, ...]:
    """What secondary diagnoses are sorted by: group, then treatment, then severity, then the code's place in order."""
    if entity.code in treatment:
        return (0, TREATMENTS.index(treatment[entity.code]), -entity.severity)
    if entity.plain:
        return (1, entity.code not in changed, -entity.severity)
    return (3 if entity.cause else 2, 0, -entity.severity)


def _explained(principal: str, others: list[str], table: Knowledge) -> list[str]:
    """With the principal diagnosis; a code that explains another follows it."""
    ordered = [principal, *others]
    for code in others:
        after = table.diagnoses[code].after
        if after in ordered:
            ordered.remove(code)
            ordered.insert(ordered.index(after) + 1, code)
    return ordered


def _procedure_order(
    principal: str, procedures: Sequence[str], days: Mapping[str, int], table: Knowledge
) -> tuple[str, ...]:
    """The gravest procedure of the principal diagnosis, if grave; then by day, a tube before its ventilation."""
    own = {
        code: table.procedures[code].severity for code in procedures if code in table.diagnoses[principal].procedures
    }
    gravest = max((DEFINITIVE, *own.values()))

    def place(code: str) -> tuple[bool, int, bool]:
        return own.get(code, 0) < gravest, days[code], bool(table.procedures[code].after)

    return tuple(sorted(procedures, key=place))


def _swapped(codes: Sequence[T], dice: Dice) -> list[T]:
    """Once from the front, each code changes places with the next one now and then."""
    swapped = list(codes)
    for place in range(len(swapped) - 1):
        if dice.chance(SWAPS):
            swapped[place : place + 2] = swapped[place + 1], swapped[place]
    return swapped
