"""Draws the codes of a synthetic stay in billing order, and knows how to name and to spell every one of them.

The core of a case comes from the generator of synthetic notes (`draw_case`): a principal diagnosis, what goes with
it, and the rules of order. Added to it are the frequent codes of MIMIC-III-50, a rare code where the stay is in a
rare50 list, retired codes, and a long tail of billable codes from the ontology. Rule of order for what is added:
what the text calls acute follows the acute conditions, then chronic ones, then V codes, then E codes.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from concept_icd.corpora.mimic3.synthetic.stays import Stay
from concept_icd.corpora.mimic3.tasks import RARE50, TASKS
from concept_icd.corpora.synthetic.cases import Case, draw_case
from concept_icd.corpora.synthetic.cases import Patient as CasePatient
from concept_icd.corpora.synthetic.knowledge import knowledge
from concept_icd.corpora.synthetic.language import Dice, Template
from concept_icd.ontology.code_shapes import category_of, in_range
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Kind

#: Codes of the long tail: with the others about as many as MIMIC-III has.
TAIL: dict[Kind, int] = {"diagnosis": 6800, "procedure": 1950}
#: Nothing that is known of diseases goes further than this age.
OLDEST = 95
RARE = TASKS["mimic3-rare50"]
#: Adults get no codes of pregnancy, birth and the newborn, nor of one sex alone, from the tail.
NOT_IN_TAIL = ("600-608", "614-629", "630-679", "760-779", "V20-V39", "65-75")


@dataclass(frozen=True)
class Term:
    """A code that the words of this package add to what the synthetic notes know; see words.yaml."""

    rate: float = 0.0
    names: str = ""
    chronic: bool = False
    retired: bool = False
    with_: Mapping[str, float] = field(default_factory=dict)
    not_with: Sequence[str] = ()


@cache
def words() -> dict[str, Any]:
    """What words.yaml holds."""
    import yaml

    text = (Path(__file__).parent / "words.yaml").read_text(encoding="utf-8")
    return dict(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


@cache
def terms() -> dict[str, Term]:
    """Code -> what to do with it, in the file's order."""
    return {
        code: Term(**{"with_" if name == "with" else name: value for name, value in fields.items()})
        for code, fields in words()["codes"].items()
    }


def is_procedure(code: str) -> bool:
    """By its two characters before the dot; retired codes are in no ontology."""
    return len(category_of(code)) == 2


def raw_spelling(code: str) -> str:
    """As the tables spell it: "428.0" -> "4280", "04.07" -> "0407"."""
    return code.replace(".", "")


@cache
def names_of(code: str) -> tuple[Template, ...]:
    """What a note may call the code: names that somebody wrote, or the ontology's title, whole and shortened."""
    table = knowledge()
    if code in table.diagnoses or code in table.procedures:
        return table.entity(code).names
    if code in terms() and terms()[code].names:
        return tuple(Template.parse(name) for name in terms()[code].names.split("; "))
    title = load_ontology().resolve(code).title
    title = title[:1].lower() + title[1:] if title[1:2].islower() else title
    return tuple(Template((text,)) for text in dict.fromkeys((_short(title), title)))


def _short(title: str) -> str:
    """Without brackets and without what only a code book says."""
    title = re.sub(r"\s*[\[(][^\])]*[\])]", "", title)
    title = re.sub(
        r",? (not elsewhere classified|so described|without mention of [^,]*|not otherwise specified)", "", title
    )
    return re.sub(r",? (unspecified|unspecified as to [^,]*)$", "", title).strip() or title


@cache
def tail(kind: Kind) -> tuple[str, ...]:
    """The seldom codes of a kind, the most frequent first; the same whatever the seed."""
    known = {*knowledge().codes, *terms(), *map(code_of_rare, RARE50), *words()["newborn"]["diagnoses"]}
    codes = [code for code in load_ontology().codes(kind) if code not in known and not _barred(code)]
    return tuple(Dice(f"tail {kind}").shuffled(codes)[: TAIL[kind]])


@cache
def _tail_sums(kind: Kind) -> list[float]:
    """Running sums of the weights of the tail's codes."""
    return list(accumulate(1 / (rank + 15) for rank in range(len(tail(kind)))))


def code_of_rare(label: str) -> str:
    """The code that a published label of rare50 means."""
    return RARE.aliases.get(label, label)


def drugs_of(codes: Sequence[str]) -> dict[str, str]:
    """Drug -> dose, for the codes of conditions that have drugs."""
    table = knowledge().diagnoses
    return {drug: dose for code in codes if code in table for drug, dose in table[code].drugs.items()}


def _barred(code: str) -> bool:
    return any(in_range(category_of(code), span) for span in NOT_IN_TAIL)


def draw_billing(stay: Stay, state: CasePatient, dice: Dice) -> Case:
    """The case of a stay: diagnoses and procedures in billing order, and what the text may deny.

    Args:
        state: what the patient carries from stay to stay; it is changed.
    """
    if stay.newborn:
        return _newborn(stay, dice)
    state.age, state.sex = min(stay.age, OLDEST), stay.patient.sex
    case = draw_case(state, dice, knowledge())
    billing = _Billing(case, dice)
    billing.add_frequent()
    for label in stay.rare:
        billing.add(code_of_rare(label), chronic=False)
    billing.add_tail()
    return billing.case()


class _Billing:
    """The codes of a case while more are added."""

    def __init__(self, case: Case, dice: Dice) -> None:
        self._case, self._dice = case, dice
        self._known = {*case.diagnoses, *case.procedures}
        self._acute: list[str] = []
        self._chronic: list[str] = []
        self._status: list[str] = []
        self._causes: list[str] = []
        self._procedures = list(case.procedures)

    def add(self, code: str, chronic: bool) -> None:
        """Adds a code to the part of the bill where it belongs."""
        if code in self._known:
            return
        self._known.add(code)
        if is_procedure(code):
            self._procedures.append(code)
        elif code.startswith("V"):
            self._status.append(code)
        elif code.startswith("E"):
            self._causes.append(code)
        else:
            (self._chronic if chronic else self._acute).append(code)

    def add_frequent(self) -> None:
        """The codes of the words file by their rates, with what goes with them."""
        for code, term in terms().items():
            if code in self._known or not self._known.isdisjoint(term.not_with):
                continue
            if self._dice.chance(term.rate):
                self.add(code, term.chronic)
                for other, chance in term.with_.items():
                    if self._known.isdisjoint(terms().get(other, Term()).not_with) and self._dice.chance(chance):
                        self.add(other, chronic=False)

    def add_tail(self) -> None:
        """Seldom codes; the first of the tail are not that seldom."""
        roll = self._dice.roll
        for _ in range(int(13 * roll() * roll() + 5 * roll())):
            self.add(_draw_tail("diagnosis", self._dice), chronic=self._dice.chance(0.5))
        for _ in range(int(6 * roll() * roll() + 0.7)):
            self.add(_draw_tail("procedure", self._dice), chronic=False)

    def case(self) -> Case:
        """The whole case; now and then an added acute condition is the reason of the stay, and leads the bill."""
        case, dice = self._case, self._dice
        principal, *others = case.diagnoses
        if self._acute and dice.chance(0.25):
            others.insert(0, principal)
            principal = self._acute.pop(0)
        major = frozenset((*case.major, *(code for code in self._acute if dice.chance(0.3))))
        acute = [c for c in others if c in case.acute or c == case.principal]
        rest = [c for c in others if c not in acute]
        status = [c for c in rest if knowledge().diagnoses[c].status]
        causes = [c for c in rest if knowledge().diagnoses[c].cause]
        chronic = [c for c in rest if c not in status and c not in causes]
        stressed = [c for c in self._acute if c in major]
        plain = [c for c in self._acute if c not in major]
        order = (principal, *stressed, *acute, *plain, *chronic, *self._chronic, *status, *self._status)
        return replace(
            case,
            diagnoses=(*order, *causes, *self._causes),
            procedures=tuple(self._procedures),
            acute=frozenset((*case.acute, principal, case.principal, *self._acute)),
            major=major - {principal},
            absent=self._not_billed(case.absent),
            ruled_out=self._not_billed(case.ruled_out),
            remote=self._not_billed(case.remote),
        )

    def _not_billed(self, decoys: Sequence[str]) -> tuple[str, ...]:
        """Those that no added code contradicts."""
        categories = {category_of(code) for code in self._known}
        return tuple(code for code in decoys if category_of(code) not in categories)


def _draw_tail(kind: Kind, dice: Dice) -> str:
    sums = _tail_sums(kind)
    return tail(kind)[bisect(sums, dice.roll() * sums[-1])]


def _newborn(stay: Stay, dice: Dice) -> Case:
    table = words()["newborn"]
    principal = dice.pick_weighted(table["principal"])
    others = tuple(code for code, chance in table["diagnoses"].items() if dice.chance(chance))
    procedures = tuple(code for code, chance in table["procedures"].items() if dice.chance(chance))
    others = tuple(sorted(others, key=lambda code: code.startswith("V")))
    acute = frozenset((principal, *(code for code in others if not code.startswith("V"))))
    nobody = CasePatient(0, stay.patient.sex)
    return Case(nobody, (principal, *others), procedures, acute, frozenset(), (), (), (), (), ())
