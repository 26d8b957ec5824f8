"""Rows of the synthetic PATIENTS, ADMISSIONS and PRESCRIPTIONS: what surrounds the codes of a stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from concept_icd.corpora.mimic3.synthetic.billing import drugs_of, names_of, words
from concept_icd.corpora.mimic3.synthetic.files import Value
from concept_icd.corpora.mimic3.synthetic.stays import Patient, Stay
from concept_icd.corpora.mimic3.synthetic.text import pronouns
from concept_icd.corpora.synthetic.cases import Case
from concept_icd.corpora.synthetic.language import Dice

INSURANCE = {"Medicare": 5, "Private": 4, "Medicaid": 1, "Government": 0.3, "Self Pay": 0.1}
ETHNICITY = {
    "WHITE": 7,
    "BLACK/AFRICAN AMERICAN": 1,
    "UNKNOWN/NOT SPECIFIED": 1,
    "HISPANIC OR LATINO": 0.5,
    "ASIAN": 0.4,
}
RELIGION = {"CATHOLIC": 3, "NOT SPECIFIED": 2, "PROTESTANT QUAKER": 1, "JEWISH": 1, "": 1}
LANGUAGE = {"ENGL": 5, "": 4, "SPAN": 0.3, "PTUN": 0.1, "HAIT": 0.1}
MARITAL = {"MARRIED": 4, "SINGLE": 2, "WIDOWED": 1.4, "DIVORCED": 0.6, "": 0.5}
LEFT_FOR = {"HOME": 3, "HOME HEALTH CARE": 2, "SNF": 1.5, "REHAB/DISTINCT PART HOSP": 1.3}
#: Strength, dose, unit, form, its unit, route.
FORMS = (
    ("5 mg Tab", "10", "mg", "2", "TAB", "PO"),
    ("1g/10mL Vial", "1", "g", "0.1", "VIAL", "IV"),
    ("250mL Bag", "250", "mL", "1", "BAG", "IV DRIP"),
    ("25mcg/0.5mL Vial", "0.5", "mL", "1", "VIAL", "IM"),
)


def patient_row(patient: Patient) -> tuple[Value, ...]:
    """PATIENTS without ROW_ID."""
    last = patient.stays[-1]
    died = f"{last.discharged:%Y-%m-%d} 00:00:00" if last.died else None
    return patient.subject_id, patient.sex, _moment(patient.listed_birth), died, died, None, int(last.died)


def admission_row(stay: Stay, case: Case, dice: Dice) -> tuple[Value, ...]:
    """ADMISSIONS without ROW_ID; DIAGNOSIS is free text that somebody typed at the door, in capitals."""
    suspected = dice.pick(names_of(case.principal)).fill(dice, pronouns(stay.patient.sex)).upper()
    came = None if stay.newborn or dice.chance(0.4) else stay.admitted - timedelta(minutes=90 + int(dice.roll() * 300))
    kind = "NEWBORN" if stay.newborn else dice.pick_weighted({"EMERGENCY": 8, "ELECTIVE": 1.6, "URGENT": 0.3})
    return (
        *(stay.patient.subject_id, stay.hadm_id, _moment(stay.admitted), _moment(stay.discharged)),
        *(_moment(stay.discharged) if stay.died else None, kind),
        "PHYS REFERRAL/NORMAL DELI" if stay.newborn or came is None else "EMERGENCY ROOM ADMIT",
        "DEAD/EXPIRED" if stay.died else dice.pick_weighted(LEFT_FOR),
        *(dice.pick_weighted(table) or None for table in (INSURANCE, LANGUAGE, RELIGION, MARITAL, ETHNICITY)),
        *(_moment(came) if came else None, _moment(came + timedelta(minutes=80)) if came else None),
        *("NEWBORN" if stay.newborn else suspected, int(stay.died), 1),
    )


def prescription_rows(stay: Stay, case: Case, dice: Dice) -> Iterator[tuple[Value, ...]]:
    """PRESCRIPTIONS without ROW_ID: the same drug day after day; one stay in seven has none."""
    if dice.chance(0.15):
        return
    common = words()["common_drugs"].splitlines()
    drugs = [*(drug.capitalize() for drug in drugs_of(case.diagnoses)), *dice.some(common, 7)] or common[:1]
    days = (stay.discharged - stay.admitted).days
    for drug in drugs:
        for _ in range(1 + int(3 * dice.roll() * dice.roll())):
            start = stay.admitted.replace(hour=0, minute=0) + timedelta(days=int(dice.roll() * (days + 1)))
            strength, dose, unit, form, form_unit, route = dice.pick(FORMS)
            code = f"{drug[:4].upper()}{dice.pick(('5', '10', '1000'))}"
            yield (
                *(stay.patient.subject_id, stay.hadm_id, None, _moment(start), _moment(start + timedelta(days=2))),
                *("BASE" if "Dextrose" in drug or "Chloride" in drug else "MAIN", drug, drug, drug, code),
                *(f"{int(dice.roll() * 80000):06d}", f"{int(dice.roll() * 10**11):011d}", strength, dose, unit),
                *(form, form_unit, route),
            )


def _moment(moment: datetime) -> str:
    return moment.isoformat(" ", timespec="seconds")
