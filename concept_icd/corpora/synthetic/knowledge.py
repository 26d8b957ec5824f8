"""The knowledge table of the generator of synthetic notes, read from the YAML files beside this module."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from concept_icd.corpora.synthetic.language import Template
from concept_icd.records import Kind

#: The parts of a note that a condition can speak in; "denied" speaks of its absence.
PARTS = ("complaint", "story", "history", "social", "findings", "results", "course", "denied", "withheld")


@dataclass(frozen=True)
class Entity:
    """A diagnosis or procedure: how it shows in a note and what it comes with (see diagnoses.yaml)."""

    code: str
    kind: Kind
    names: tuple[Template, ...]
    lines: Mapping[str, tuple[Template, ...]]
    severity: float
    principal: float
    prevalence: float
    leads_to: Mapping[str, float]
    with_: Mapping[str, float]
    procedures: Mapping[str, float]
    causes: Mapping[str, float]
    drugs: Mapping[str, str]
    needs: frozenset[str]
    excludes: frozenset[str]
    after: str | None
    age: tuple[int, int]
    sex: str | None
    family: bool
    remote: bool
    status: bool
    cause: bool

    def fits(self, age: int, sex: str) -> bool:
        """A patient of this age and sex can have it."""
        return self.age[0] <= age <= self.age[1] and self.sex in (None, sex)

    @property
    def plain(self) -> bool:
        """A disease, which a note can name outright or deny; not a V code's status or an E code's cause."""
        return not (self.status or self.cause)


@dataclass(frozen=True)
class Knowledge:
    """Diagnoses and procedures by code, in the order of the files, and the sentence frames."""

    diagnoses: Mapping[str, Entity]
    procedures: Mapping[str, Entity]
    frames: Mapping[str, tuple[Template, ...]]
    headings: Mapping[str, tuple[str, ...]]
    common_drugs: Mapping[str, str]
    banner: str

    def entity(self, code: str) -> Entity:
        """The diagnosis or procedure of a code."""
        return self.diagnoses[code] if code in self.diagnoses else self.procedures[code]

    @property
    def codes(self) -> tuple[str, ...]:
        """Every code, diagnoses first."""
        return (*self.diagnoses, *self.procedures)


@cache
def knowledge() -> Knowledge:
    """The table, read once."""
    frames = _yaml("frames.yaml")
    headings = {part: tuple(words.split("; ")) for part, words in frames.pop("headings").items()}
    banner, drugs = frames.pop("banner").strip(), frames.pop("drugs")
    return Knowledge(
        {code: _entity(code, "diagnosis", fields) for code, fields in _yaml("diagnoses.yaml").items()},
        {code: _entity(code, "procedure", fields) for code, fields in _yaml("procedures.yaml").items()},
        {name: _lines(text) for name, text in frames.items()},
        headings,
        drugs,
        banner,
    )


@cache
def ordered_knowledge() -> Knowledge:
    """The table with what stays in billing order say besides: frames, and lines of more conditions.

    Sentences on a procedure that tell its day are left out: there the day is drawn with the stay.
    """
    table, more = knowledge(), _yaml("order.yaml")
    diagnoses, procedures = dict(table.diagnoses), dict(table.procedures)
    for code, fields in more.pop("lines").items():
        lines = {**diagnoses[code].lines, **{part: _lines(text) for part, text in fields.items()}}
        diagnoses[code] = replace(diagnoses[code], lines=lines)
    for code, entity in procedures.items():
        course = tuple(template for template in entity.lines["course"] if not _tells_a_day(template))
        procedures[code] = replace(entity, lines={**entity.lines, "course": course})
    frames = {**table.frames, **{name: _lines(text) for name, text in more.items()}}
    return replace(table, diagnoses=diagnoses, procedures=procedures, frames=frames)


def _tells_a_day(template: Template) -> bool:
    return any(isinstance(part, str) and re.search(r"\bdays?\b|within", part) for part in template.parts)


def _yaml(name: str) -> dict[str, Any]:
    import yaml

    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    return dict(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def _lines(text: str) -> tuple[Template, ...]:
    return tuple(Template.parse(line) for line in text.splitlines())


def _entity(code: str, kind: Kind, fields: dict[str, Any]) -> Entity:
    if "complaint" in fields:
        fields["complaint"] = fields["complaint"].replace("; ", "\n")
    entity = Entity(
        code=code,
        kind=kind,
        names=tuple(Template.parse(name) for name in fields.pop("names").split("; ")),
        lines={part: _lines(fields.pop(part, "")) for part in PARTS},
        severity=fields.pop("severity"),
        principal=fields.pop("principal", 0),
        prevalence=fields.pop("prevalence", 0),
        leads_to=fields.pop("leads_to", {}),
        with_=fields.pop("with", {}),
        procedures=fields.pop("procedures", {}),
        causes=fields.pop("causes", {}),
        drugs=fields.pop("drugs", {}),
        needs=frozenset(fields.pop("needs", ())),
        excludes=frozenset(fields.pop("excludes", ())),
        after=fields.pop("after", None),
        age=tuple(fields.pop("age", (18, 98))),
        sex=fields.pop("sex", None),
        family=fields.pop("family", False),
        remote=fields.pop("remote", True),
        status=fields.pop("status", False),
        cause=fields.pop("cause", False),
    )
    if fields:
        raise ValueError(f"{code}: unknown fields {sorted(fields)}")
    return entity
