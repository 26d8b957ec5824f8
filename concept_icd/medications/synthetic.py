"""Generated stays of invented patients, whose drugs depend on the codes by a known rule; any number, seeded.

The rule (`DrugRule`): a code brings each of its few ingredients with its own probability, independently; a few
background ingredients are given to all patients alike. So P(drug | codes) = 1 - (1 - background) * prod over codes (1 -
p). One stay in ten has no drugs on record, whatever its codes.

Codes: 5,000 billable codes of the real tree, in each chapter with a long tail (rank ** -1). A stay bills 5 to 20. It
has two sections in focus, one of them its patient's for life, from which three codes in five come, so codes of a
section and a chapter go together; the others come from anywhere. Newborns (one patient in eight) have codes of their
chapters alone, men and women those of their sex, and some chapters come with age.

Ingredients of a section and of a code are given far more often where the code is. So the drugs tell more than
frequencies do at every level: from the chapter (its sections share ingredients) to the code (it has its own).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.sparse import csr_array, hstack

from concept_icd.errors import InputError
from concept_icd.medications.stays import AGE, DRUG, FEMALE, OLDEST
from concept_icd.medications.strategy import Stays, Targets
from concept_icd.medications.targets import indicator, roll_up
from concept_icd.ontology.tree import load_ontology

CODES, INGREDIENTS = 5_000, 1_164
#: Ingredients that a section's codes share, and those that a code may have for itself.
OF_SECTION, OWN = 6, 2
BACKGROUND = 12
WITHOUT_DRUGS = 0.1
NEWBORN, RETURNING = 0.125, 0.21
FEWEST_CODES, MOST_CODES = 5, 20
#: Codes drawn for a stay, of which the first different ones are kept.
DRAWS = 60
#: Chapter -> its share of all codes (invented); AGEING: the factor on that share above 45 years, and again above 65.
SHARES = {
    "001-139": 4, "140-239": 4, "240-279": 14, "280-289": 5, "290-319": 5, "320-389": 4, "390-459": 22, "460-519": 9,
    "520-579": 7, "580-629": 7, "630-679": 3, "680-709": 2, "710-739": 3, "740-759": 1, "760-779": 6, "780-799": 5,
    "800-999": 7, "E000-E999": 5, "V01-V91": 12,
}  # fmt: skip
AGEING = {"390-459": 2.0, "140-239": 1.5, "580-629": 1.3, "290-319": 0.7, "800-999": 0.7, "E000-E999": 0.7}
OF_NEWBORNS = ("740-759", "760-779", "V01-V91")
OF_MEN, OF_WOMEN = ("600-608",), ("610-611", "614-616", "617-629", "630-679")
OPERATED = ("140-239", "520-579", "710-739", "800-999")


@dataclass(frozen=True, eq=False)
class DrugRule:
    """Which drugs codes bring.

    Attributes:
        codes: all that may be billed, in the tree's order; `sections`: of each, its section (or chapter).
        given: float64 (codes, ingredients), sparse: the probability that the code brings the ingredient.
        background: float64 (ingredients,): the probability that a patient gets it, whatever the codes.
    """

    codes: tuple[str, ...]
    sections: tuple[str, ...]
    given: csr_array
    background: np.ndarray


@dataclass(frozen=True, eq=False)
class SyntheticStays:
    """Stays, targets row for row, what was billed (0/1 (stays, codes of the rule)), and the rule."""

    stays: Stays
    targets: Targets
    billed: csr_array
    rule: DrugRule


@cache
def drug_rule() -> DrugRule:
    """The one rule of all generated stays, whatever their seed."""
    rng, ontology = np.random.default_rng(0), load_ontology()
    everything = ontology.codes("diagnosis")
    codes = tuple(everything[i] for i in np.sort(rng.choice(len(everything), CODES, replace=False)))
    sections = tuple(_section(ontology.ancestors(code) or (code,)) for code in codes)
    first = {section: int(rng.integers(INGREDIENTS)) for section in dict.fromkeys(sections)}
    rows, columns, chances = [], [], []
    for row, section in enumerate(sections):
        shared = (first[section] + rng.choice(OF_SECTION, 2, replace=False)) % INGREDIENTS
        own = rng.integers(INGREDIENTS, size=OWN)
        brought = np.unique([*shared, *own])
        rows += [row] * len(brought)
        columns += brought.tolist()
        chances += rng.uniform(0.3, 0.9, len(brought)).tolist()
    given = csr_array((np.array(chances), (np.array(rows), np.array(columns))), shape=(CODES, INGREDIENTS))
    background = np.zeros(INGREDIENTS)
    background[rng.choice(INGREDIENTS, BACKGROUND, replace=False)] = rng.uniform(0.1, 0.6, BACKGROUND)
    return DrugRule(codes, sections, given, background)


def synthetic_stays(number: int, seed: int = 0) -> SyntheticStays:
    """So many stays, such as MIMIC-III's 58,976; the same seed gives the same stays.

    Raises:
        InputError: fewer than one stay.

    >>> made = synthetic_stays(20, seed=0)
    >>> made.stays.inputs.shape, made.targets.gold.shape[0]
    ((20, 1166), 20)
    """
    if number < 1:
        raise InputError(f"{number} generated stays: one or more are needed")
    rng, rule = np.random.default_rng([seed, number]), drug_rule()
    patient = _patients(number, rng)
    people = int(patient.max()) + 1
    newborn = rng.random(people) < NEWBORN
    newborn[np.unique(patient[people:])] = False  # a patient with a second stay is no newborn
    female = rng.random(people) < 0.45
    age = np.where(newborn, 0, np.clip(rng.normal(63, 17, people), 16, 95).astype(np.int64))
    group = np.where(newborn, 0, 1 + 3 * female + (age >= 45) + (age >= 65))
    codes, wards = _draw_codes(patient, group, rule, rng)
    billed = indicator(codes, CODES)
    matrix = _draw_drugs(billed, rule, rng)
    who = csr_array(np.stack([female, np.clip(age / OLDEST, 0, 1)], axis=1)[patient].astype(np.float32))
    ids = tuple(f"{100_000 + stay}" for stay in range(number))
    stays = Stays(
        stay_ids=ids,
        patient_ids=tuple(f"{own + 1}" for own in patient),
        inputs=csr_array(hstack([matrix, who], format="csr", dtype=np.float32)),
        input_names=(*(f"{DRUG}ingredient {i:04}" for i in range(INGREDIENTS)), FEMALE, AGE),
        wards=wards,
    )
    bills = {stay: [rule.codes[code] for code in own] for stay, own in zip(ids, codes, strict=True)}
    return SyntheticStays(stays, roll_up(ids, bills, load_ontology())[0], billed, rule)


def _section(path: tuple[str, ...]) -> str:
    """The section of a path, or the chapter where it has no sections."""
    return path[1] if len(path) > 1 and "-" in path[1] else path[0]


def _patients(stays: int, rng: np.random.Generator) -> np.ndarray:
    """The patient of each stay; the last stays are of patients that come back."""
    people = max(1, round(stays * (1 - RETURNING)))
    return np.concatenate([np.arange(people), rng.integers(people, size=stays - people)])


@cache
def _weights() -> np.ndarray:
    """(7 groups, codes): how often each code is billed: newborns; men, then women, below 45, below 65, above."""
    rule, ontology, rng = drug_rule(), load_ontology(), np.random.default_rng(1)
    paths = [ontology.path(code) for code in rule.codes]
    base = np.zeros(CODES)
    for chapter, share in SHARES.items():
        own = np.flatnonzero([path[0] == chapter for path in paths])
        tail = 1 / (1 + rng.permutation(len(own)))
        base[own] = share * tail / tail.sum()

    def within(parts: tuple[str, ...]) -> np.ndarray:
        return np.array([not set(parts).isdisjoint(path) for path in paths])

    ageing = np.array([AGEING.get(path[0], 1.0) for path in paths])
    adult = base * ~within(OF_NEWBORNS[:2])
    groups = [base * within(OF_NEWBORNS)]
    for other_sex in (OF_WOMEN, OF_MEN):
        for band in range(3):
            groups.append(adult * ageing**band * ~within(other_sex) * ~(within(("630-679",)) & (band > 0)))
    return np.array(groups)


def _draw_codes(
    patient: np.ndarray, group: np.ndarray, rule: DrugRule, rng: np.random.Generator
) -> tuple[list[list[int]], tuple[str, ...]]:
    """The rows of each stay's codes, and its ward."""
    names = list(dict.fromkeys(rule.sections))
    starts = np.searchsorted(np.array([names.index(section) for section in rule.sections]), np.arange(len(names) + 1))
    operated = np.array([_chapter(rule.codes[start]) in OPERATED for start in starts[:-1]])
    people, stays = int(patient.max()) + 1, len(patient)
    own_focus, u = rng.random(people), rng.random((stays, DRAWS))
    kind, other_focus, size = rng.random((stays, DRAWS)), rng.random(stays), rng.random(stays)
    drawn = np.empty((stays, DRAWS), dtype=np.int64)
    surgical = np.empty(stays)
    for which, weights in enumerate(_weights()):
        at = np.flatnonzero(group[patient] == which)
        ends = np.concatenate([[0], np.cumsum(weights)])

        def section(uniform: np.ndarray, ends: np.ndarray = ends) -> np.ndarray:
            place = np.searchsorted(ends, uniform * ends[-1], side="right") - 1
            return np.searchsorted(starts, place, side="right") - 1

        first, second = section(own_focus[patient[at]]), section(other_focus[at])
        surgical[at] = np.where(operated[second], 0.6, 0.25)
        focus = np.where(kind[at] < 0.35, first[:, None], second[:, None])
        anywhere = kind[at] >= 0.6
        low = np.where(anywhere, 0, ends[starts[focus]])
        high = np.where(anywhere, ends[-1], ends[starts[focus + 1]])
        drawn[at] = np.searchsorted(ends, low + u[at] * (high - low), side="right") - 1
    drawn = np.minimum(drawn, CODES - 1)
    most = FEWEST_CODES + rng.binomial(MOST_CODES - FEWEST_CODES, 0.25 + 0.35 * size)
    codes = [list(dict.fromkeys(own))[:n] for own, n in zip(drawn.tolist(), most.tolist(), strict=True)]
    adult = np.where(rng.random(stays) < surgical, "surgical", "medical")
    return codes, tuple(np.where(group[patient] == 0, "newborn", adult).tolist())


def _chapter(code: str) -> str:
    return load_ontology().path(code)[0]


def _draw_drugs(billed: csr_array, rule: DrugRule, rng: np.random.Generator) -> csr_array:
    """0/1 (stays, ingredients), float32, after the rule."""
    stays = billed.shape[0]
    stay = np.repeat(np.arange(stays), np.diff(billed.indptr))
    first, length = rule.given.indptr[billed.indices], np.diff(rule.given.indptr)[billed.indices]
    stay_of = np.repeat(stay, length)
    entry = np.repeat(first - np.concatenate([[0], np.cumsum(length)[:-1]]), length) + np.arange(len(stay_of))
    given = rng.random(len(entry)) < rule.given.data[entry]
    usual = np.flatnonzero(rule.background)
    who, what = np.nonzero(rng.random((stays, len(usual))) < rule.background[usual])
    rows = np.concatenate([stay_of[given], who])
    columns = np.concatenate([rule.given.indices[entry[given]], usual[what]])
    recorded = rng.random(stays) >= WITHOUT_DRUGS
    rows, columns = rows[recorded[rows]], columns[recorded[rows]]
    matrix = csr_array((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=(stays, len(rule.background)))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
