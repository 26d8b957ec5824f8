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

from concept_icd.code_shapes import in_range
from concept_icd.corpora.synthetic_cases import Case, draw_case
from concept_icd.corpora.synthetic_cases import Patient as CasePatient
from concept_icd.corpora.synthetic_knowledge import knowledge
from concept_icd.corpora.synthetic_language import Dice, Template
from concept_icd.mimic3.synthetic_stays import Stay
from concept_icd.mimic3.tasks import RARE50, TASKS
from concept_icd.ontology import load_ontology

#: Codes of the long tail, of each kind: with the others about as many as MIMIC-III-full has.
TAIL_DIAGNOSES, TAIL_PROCEDURES = 6800, 1950
#: Adults get no codes of pregnancy, birth and the newborn, nor of one sex alone, from the tail.
NOT_IN_TAIL = ("600-608", "614-629", "630-679", "760-779", "V20-V39", "65-75")


@dataclass(frozen=True)
class Term:
    """A code that the words of this package add to what the synthetic notes know; see synthetic_words.yaml."""

    rate: float = 0.0
    names: str = ""
    chronic: bool = False
    retired: bool = False
    with_: Mapping[str, float] = field(default_factory=dict)
    not_with: Sequence[str] = ()


@cache
def words() -> dict[str, Any]:
    """What synthetic_words.yaml holds."""
    import yaml

    text = (Path(__file__).parent / "synthetic_words.yaml").read_text(encoding="utf-8")
    return dict(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


@cache
def terms() -> dict[str, Term]:
    """Code -> what to do with it, in the file's order."""
    return {
        code: Term(**{"with_" if name == "with" else name: value for name, value in fields.items()})
        for code, fields in words()["codes"].items()
    }


def retired_codes() -> tuple[str, ...]:
    """Codes that stays have and no D_ICD table lists."""
    return tuple(code for code, term in terms().items() if term.retired)


def is_procedure(code: str) -> bool:
    """Two characters before the dot, or four without one: retired and spoilt codes are no entries of the ontology."""
    return code.partition(".")[0].isdigit() and len(code.partition(".")[0]) == 2


def raw_spelling(code: str) -> str:
    """As the tables spell it: "428.0" -> "4280", "04.07" -> "0407"."""
    return code.replace(".", "")


def published_spelling(code: str) -> str:
    """As the published label sets do: a procedure code went through a number, "04.07" -> "40.7", "00.66" -> "66."."""
    if not is_procedure(code):
        return code
    number = str(int(raw_spelling(code)))
    return f"{number[:2]}.{number[2:]}"


def names_of(code: str) -> tuple[Template, ...]:
    """What a note may call the code: names that somebody wrote, or the ontology's title, whole and shortened."""
    return _names(code)


@cache
def _names(code: str) -> tuple[Template, ...]:
    table = knowledge()
    if code in table.diagnoses or code in table.procedures:
        return table.entity(code).names
    if code in terms() and terms()[code].names:
        return tuple(Template.parse(name) for name in terms()[code].names.split("; "))
    title = load_ontology().resolve(code).title
    title = title[:1].lower() + title[1:] if title[1:2].islower() else title
    return tuple(Template((text,)) for text in dict.fromkeys((_short(title), _short(title), title)))


def _short(title: str) -> str:
    """Without brackets and without what only a code book says."""
    title = re.sub(r"\s*[\[(][^\])]*[\])]", "", title)
    title = re.sub(
        r",? (not elsewhere classified|so described|without mention of [^,]*|not otherwise specified)", "", title
    )
    return re.sub(r",? (unspecified|unspecified as to [^,]*)$", "", title).strip() or title


@cache
def _tail() -> tuple[tuple[str, ...], tuple[str, ...], list[float], list[float]]:
    """Diagnoses and procedures of the tail, and the running sums of their weights; the same whatever the seed."""
    ontology, dice = load_ontology(), Dice("tail")
    known = {*knowledge().codes, *terms(), *RARE50, "04.07", "05.20", "07.77"}
    kept: list[tuple[str, ...]] = []
    for kind, count in (("diagnosis", TAIL_DIAGNOSES), ("procedure", TAIL_PROCEDURES)):
        codes = [c for c in ontology.codes(kind) if c not in known and not _barred(c)]  # type: ignore[arg-type]
        kept.append(tuple(dice.shuffled(codes)[:count]))
    return kept[0], kept[1], *([*accumulate(1 / (rank + 15) for rank in range(len(codes)))] for codes in kept)  # type: ignore[return-value]


def frequent_tail(count: int = 20) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The most frequent diagnoses and procedures of the tail."""
    diagnoses, procedures, *_ = _tail()
    return diagnoses[:count], procedures[:count]


def drugs_of(case: Case) -> dict[str, str]:
    """Drug -> dose, of the conditions that have drugs."""
    table = knowledge().diagnoses
    return {drug: dose for code in case.diagnoses if code in table for drug, dose in table[code].drugs.items()}


def _barred(code: str) -> bool:
    return any(in_range(code.partition(".")[0], span) for span in NOT_IN_TAIL)


def draw_billing(stay: Stay, state: CasePatient, dice: Dice) -> Case:
    """The case of a stay: diagnoses and procedures in billing order, and what the text may deny.

    Args:
        state: what the patient carries from stay to stay; it is changed.
    """
    if stay.newborn:
        return _newborn(stay, dice)
    state.age, state.sex = stay.age, stay.patient.sex
    case = draw_case(state, dice, knowledge())
    billing = _Billing(case, dice)
    billing.add_frequent()
    for label in stay.rare:
        billing.add(TASKS["mimic3-rare50"].aliases.get(label, label), chronic=False)
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
        """Seldom codes, of which the first ranks are not that seldom."""
        diagnoses, procedures, weights, procedure_weights = _tail()
        for _ in range(int(9 * self._dice.roll() * self._dice.roll() + self._dice.roll() * 2)):
            self.add(_pick(diagnoses, weights, self._dice), chronic=self._dice.chance(0.5))
        for _ in range(int(3.2 * self._dice.roll() * self._dice.roll() + 0.4)):
            self.add(_pick(procedures, procedure_weights, self._dice), chronic=False)

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
        )


def _pick(codes: Sequence[str], sums: list[float], dice: Dice) -> str:
    return codes[bisect(sums, dice.roll() * sums[-1])]


def _newborn(stay: Stay, dice: Dice) -> Case:
    table = words()["newborn"]
    principal = dice.pick_weighted(table["principal"])
    others = tuple(code for code, chance in table["diagnoses"].items() if dice.chance(chance))
    procedures = tuple(code for code, chance in table["procedures"].items() if dice.chance(chance))
    others = tuple(sorted(others, key=lambda code: code.startswith("V")))
    acute = frozenset((principal, *(code for code in others if not code.startswith("V"))))
    nobody = CasePatient(0, stay.patient.sex)
    return Case(nobody, (principal, *others), procedures, acute, frozenset(), (), (), (), (), ())
