"""Draws who is in the synthetic MIMIC-III and when: patients, stays, dates, and the splits they belong to.

The codes and the notes of a stay are drawn later; here is what must be known of all stays before the first row is
written. About 60,000 stays take some 40 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from concept_icd.corpora.mimic3.tasks import RARE50, TASKS
from concept_icd.corpora.synthetic.language import Dice
from concept_icd.errors import InputError

#: HADM_IDs have six digits and begin with 1 in MIMIC-III; a prime, so that multiples of anything fall on all of them.
FIRST_STAY, MOST_STAYS = 100_001, 99_991
#: Dates are shifted to the century that begins here.
EPOCH = datetime(2100, 1, 1)
#: Fewer stays leave a list empty.
FEWEST_STAYS = 60
#: From so many stays on the shares of the splits are the published ones of MIMIC-III-full; with fewer, its dev split
#: would be a handful of stays.
MANY_STAYS = 10_000
FEW, MANY = (7, 1, 2), (905, 31, 64)
SPLITS = ("train", "dev", "test")
#: Published sizes of the rare50 lists, and the share of a split's stays that they may take where stays are few.
RARE_STAYS, RARE_SHARE = TASKS["mimic3-rare50"].stays, 0.2
MEN_ONLY = ("607.82", "V26.52")


@dataclass(slots=True)
class Patient:
    """Someone with one stay or more; `born` is the true day, `listed_birth` the one in the table."""

    subject_id: int
    sex: str
    born: datetime
    split: str
    clean_split: str
    stays: list[Stay] = field(default_factory=list)

    @property
    def listed_birth(self) -> datetime:
        """Three centuries before the first stay for whoever passes 89, as MIMIC-III does."""
        if self.stays[-1].age <= 89:
            return self.born
        return self.stays[0].admitted.replace(year=self.stays[0].admitted.year - 300, day=1, hour=0, minute=0)


@dataclass(slots=True)
class Stay:
    """One admission; `rare` are labels of rare50 as published."""

    patient: Patient
    hadm_id: int
    admitted: datetime
    discharged: datetime
    newborn: bool
    summarized: bool
    coded: bool
    died: bool = False
    rare: tuple[str, ...] = ()

    @property
    def age(self) -> int:
        """In years at admission."""
        return int((self.admitted - self.patient.born).days / 365.25)

    @property
    def listed(self) -> bool:
        """In the lists of the benchmarks: it has a summary and codes."""
        return self.summarized and self.coded


def draw_patients(stays: int, seed: int) -> list[Patient]:
    """Patients with `stays` stays in all, in the order of SUBJECT_ID.

    Raises:
        InputError: too few stays for every admission list, or more than six-digit HADM_IDs allow.
    """
    if stays < FEWEST_STAYS:
        raise InputError(f"--stays {stays} is too few to fill every admission list; use at least {FEWEST_STAYS}")
    if stays > MOST_STAYS:
        raise InputError(f"--stays {stays} is more than MIMIC-III's admission numbers allow; use at most {MOST_STAYS}")
    dice = Dice(f"{seed} stays")
    splits = _splits(dice, MANY if stays >= MANY_STAYS else FEW)
    clean = _splits(dice, FEW)
    numbers = _stay_numbers(dice)
    patients: list[Patient] = []
    left = stays
    while left:
        newborn = dice.chance(0.13)
        subject_id = 2 * len(patients) + 3 + int(2 * dice.roll())
        patient = Patient(subject_id, "F" if dice.chance(0.44) else "M", EPOCH, next(splits), next(clean))
        count = 1 if newborn else min(left, dice.pick_weighted({1: 0.82, 2: 0.11, 3: 0.035, 4: 0.02, 6: 0.015}))
        _add_stays(patient, [next(numbers) for _ in range(count)], newborn, dice)
        patients.append(patient)
        left -= count
    _spread_rare_codes(patients, dice)
    return patients


def _splits(dice: Dice, shares: tuple[int, int, int]) -> Iterator[str]:
    """Blocks of patients with exactly these shares, each in another order."""
    block = [split for split, share in zip(SPLITS, shares, strict=True) for _ in range(share)]
    while True:
        yield from dice.shuffled(block)


def _stay_numbers(dice: Dice) -> Iterator[int]:
    """HADM_IDs in no order, none twice."""
    start, step = int(dice.roll() * MOST_STAYS), 20_011 + int(dice.roll() * 40_000)
    return (FIRST_STAY + (start + step * number) % MOST_STAYS for number in range(MOST_STAYS))


def _add_stays(patient: Patient, numbers: list[int], newborn: bool, dice: Dice) -> None:
    """Draws the patient's birth and one stay after the other."""
    age = 20 + int(77 * max(dice.roll(), dice.roll()))
    admitted = EPOCH + timedelta(minutes=int(dice.roll() * 36_000 * 1440))
    days = 0 if newborn else int(365.25 * age) + 1 + int(360 * dice.roll())
    patient.born = (admitted - timedelta(days=days)).replace(hour=0, minute=0)
    for number in numbers:
        discharged = admitted + timedelta(minutes=1440 + int(1440 * 16 * dice.roll() * dice.roll()))
        stay = Stay(patient, number, admitted, discharged, newborn, dice.chance(0.9), dice.chance(0.985))
        patient.stays.append(stay)
        admitted = discharged + timedelta(minutes=20 * 1440 + int(1440 * 600 * dice.roll()))
    patient.stays[-1].died = not newborn and dice.chance(0.1)


def _spread_rare_codes(patients: list[Patient], dice: Dice) -> None:
    """Gives the stays of the rare50 lists a rare label each, now and then two, the same first ones in every split."""
    labels = dice.shuffled(RARE50)
    for split in SPLITS:
        able = [s for p in patients if p.split == split for s in p.stays if s.listed and not s.newborn]
        count = min(RARE_STAYS[split], max(1, round(RARE_SHARE * len(able))))
        for number, stay in enumerate(dice.shuffled(able)[:count]):
            stay.rare = tuple(labels[n % len(labels)] for n in range(number, number + 1 + dice.chance(0.12)))
            if any(label in MEN_ONLY for label in stay.rare):
                stay.patient.sex = "M"
