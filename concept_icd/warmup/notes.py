"""Made-up short notes: mentions of codes put into the sentences that reports and clinic notes use.

The frames are general English of clinical writing; none of them knows any code. A mention is present, absent
("no evidence of"), uncertain ("rule out") or of the family; only a present one counts as documented.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Status = Literal["present", "absent", "uncertain", "family"]


@dataclass(frozen=True)
class Mention:
    """A code, the words the note uses for it, and whether the patient has it."""

    code: str
    words: str
    status: Status


_HISTORY = (
    "{x}.", "{x}.", "history of {x}.", "{age} with {x}.", "{age} with {x}.", "{age} with history of {x}.",
    "{age} with a {time} history of {x}.", "patient with {x}.", "{x} for {time}.", "{age}, {x}.", "known {x}.",
    "followup {x}.", "follow-up of {x}.", "{age} who presents with {x}.", "new onset {x}.", "recurrent {x}.",
)  # fmt: skip
_FINDING = (
    "{x}.", "{x}.", "{x} is seen.", "{side} {x}.", "findings consistent with {x}.", "there is {x}.", "mild {x}.",
    "stable {x}.", "persistent {x}.", "{x}, unchanged.", "appearance is compatible with {x}.", "interval {x}.",
    "moderate {x} is again noted.", "findings represent {x}.", "improving {x}.", "evidence of {x}.",
)  # fmt: skip
_NO_FINDING = (
    "no evidence of {x}.", "no {x}.", "no {x} is identified.", "no {x} is seen.", "negative for {x}.",
    "no radiographic evidence of {x}.", "no definite {x}.", "without {x}.", "there is no {x}.", "resolved {x}.",
)  # fmt: skip
_UNCERTAIN = (
    "rule out {x}.", "evaluate for {x}.", "question {x}.", "possible {x}.", "? {x}.", "assess for {x}.",
    "{x} cannot be excluded.", "may represent {x}.", "suspect {x}.", "looking for {x}.", "concern for {x}.",
    "differential includes {x}.", "versus {x}.", "check for {x}.",
)  # fmt: skip
_FAMILY = (
    "mother has {x}.", "family history of {x}.", "family history is significant for {x}.", "his father had {x}.",
    "sibling with {x}.", "her sister was diagnosed with {x}.",
)  # fmt: skip
_NORMAL = (
    "the lungs are clear.", "normal chest radiograph.", "normal exam.", "normal renal ultrasound.", "normal study.",
    "no acute abnormality.", "heart size is normal.", "otherwise unremarkable.", "no change from prior.",
    "both kidneys are normal in size.", "bones are intact.", "no pneumothorax.", "no focal abnormality.",
)  # fmt: skip
_CLINIC = (
    "the patient presents with {x}.", "he was admitted for {x}.", "she has {x}.", "the patient has a history of {x}.",
    "he was found to have {x}.", "hospital course was complicated by {x}.", "she was treated for {x}.",
    "the patient reports {x}.", "continue current management of {x}.", "exam is notable for {x}.", "s/p {x}.",
    "this is a {age} who comes in because of {x}.", "imaging showed {x}.", "{x} is well controlled.",
)  # fmt: skip
_NOT_CLINIC = (
    "denies {x}.", "no {x}.", "there was no evidence of {x}.", "she denies any {x}.", "negative for {x}.",
    "{x} was ruled out.", "workup for {x} was negative.", "he has never had {x}.", "no history of {x}.",
)  # fmt: skip
_FILLER = (
    "vital signs are stable.", "follow up in two weeks.", "medications were reviewed.", "she lives at home.",
    "he tolerated this well.", "labs were drawn.", "the plan was discussed with the patient.", "afebrile.",
    "return if symptoms worsen.", "alert and oriented.", "discharged home in good condition.",
)  # fmt: skip
_HEADINGS = (
    "DIAGNOSES", "DISCHARGE DIAGNOSES", "ASSESSMENT", "PROBLEM LIST", "PAST MEDICAL HISTORY", "IMPRESSION",
    "FINAL DIAGNOSIS", "ACTIVE PROBLEMS",
)  # fmt: skip
_NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "11", "12", "14", "16")


def compose_note(mentions: Sequence[Mention], rng: random.Random, reports: float = 0.5) -> str:
    """A note that mentions all of them; the share `reports` of notes looks like a radiology report."""
    shuffled = rng.sample(mentions, len(mentions))
    if rng.random() < reports:
        return _report(shuffled, rng)
    return rng.choice((_problem_list, _clinic_note, _clinic_note))(shuffled, rng)


def _report(mentions: Sequence[Mention], rng: random.Random) -> str:
    history: list[str] = []
    impression: list[str] = []
    for mention in mentions:
        in_history = rng.random() < {"present": 0.5, "absent": 0.1, "uncertain": 0.6, "family": 1.0}[mention.status]
        frames = {"absent": _NO_FINDING, "uncertain": _UNCERTAIN, "family": _FAMILY}.get(
            mention.status, _HISTORY if in_history else _FINDING
        )
        (history if in_history else impression).append(_say(rng.choice(frames), mention.words, rng))
    if not impression or rng.random() < 0.3:
        impression.insert(rng.randint(0, len(impression)), _sentence(rng.choice(_NORMAL)))
    if not history:
        history.append(_sentence(rng.choice(("Followup.", _age(rng) + ".", "Routine.", "Status post fall."))))
    if len(impression) > 1 and rng.random() < 0.4:
        impression = [f"{number}. {text}" for number, text in enumerate(impression, start=1)]
    return f"CLINICAL HISTORY: {' '.join(history)}\nIMPRESSION: {' '.join(impression)}"


def _problem_list(mentions: Sequence[Mention], rng: random.Random) -> str:
    listed = [mention for mention in mentions if mention.status == "present"]
    others = [mention for mention in mentions if mention.status != "present"]
    marks = rng.choice((("{n}. ", "\n"), ("- ", "\n"), ("", "\n"), ("", ", "), ("", "; ")))
    lines = [marks[0].replace("{n}", str(n)) + mention.words for n, mention in enumerate(listed, start=1)]
    parts = [f"{rng.choice(_HEADINGS)}:{rng.choice((' ', chr(10)))}{marks[1].join(lines)}"] if lines else []
    parts += [_clinic_sentence(mention, rng) for mention in others]
    return "\n".join(rng.sample(parts, len(parts)))


def _clinic_note(mentions: Sequence[Mention], rng: random.Random) -> str:
    told: list[str] = []
    present = [mention for mention in mentions if mention.status == "present"]
    if len(present) > 2 and rng.random() < 0.5:  # several in one sentence
        joined = ", ".join(mention.words for mention in present[:-1]) + f" and {present[-1].words}"
        told.append(_say(rng.choice(_CLINIC), joined, rng))
        present = []
    told += [_clinic_sentence(mention, rng) for mention in present]
    told += [_clinic_sentence(mention, rng) for mention in mentions if mention.status != "present"]
    told += [_sentence(rng.choice(_FILLER)) for _ in range(rng.randint(0, 2))]
    return " ".join(rng.sample(told, len(told)))


def _clinic_sentence(mention: Mention, rng: random.Random) -> str:
    frames = {"present": _CLINIC, "absent": _NOT_CLINIC, "uncertain": _UNCERTAIN, "family": _FAMILY}[mention.status]
    return _say(rng.choice(frames), mention.words, rng)


def _say(frame: str, words: str, rng: random.Random) -> str:
    time = f"{rng.choice(_NUMBERS)} {rng.choice(('day', 'week', 'month'))}"
    text = frame.replace("{age}", _age(rng)).replace("{time}", time).replace("{side}", rng.choice(("left", "right")))
    return _sentence(text.replace("{x}", words))


def _age(rng: random.Random) -> str:
    unit = rng.choice(("year", "year", "month"))
    who = rng.choice(("", " male", " female", " boy", " girl", " man", " woman"))
    return f"{rng.choice((*_NUMBERS, str(rng.randint(2, 90))))}-{unit}-old{who}".replace("-", rng.choice(("-", " ")))


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
