"""What a scoring run will cost, before it is run: tokens, counted with the tokenizer, and the hours they take.

No weights are read. Tokens are those of packed scoring; vLLM computes a few more, since it shares whole blocks alone.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from concept_icd.corpora.reading import flaw
from concept_icd.doctor.cost_model import (
    CARDS,
    PACKED_OVER_PLAIN,
    ModelShape,
    Speed,
    head_flops,
    measured_speed,
    scoring_flops,
    shape_of,
)
from concept_icd.doctor.machine import find_device
from concept_icd.errors import InputError
from concept_icd.llm.base_model import load_tokenizer
from concept_icd.llm.concept_head import ConceptHead
from concept_icd.llm.prompts import TokenizedPrompt
from concept_icd.llm.question_tokens import QuestionTokens
from concept_icd.llm.reference import members_of
from concept_icd.records import Note
from concept_icd.scoring.adapters import Scoring

#: Notes whose tokens are counted; of more, a seeded sample stands for all.
SAMPLE = 2000


@dataclass(frozen=True)
class TokenCount:
    """The tokens of a run in which every note is asked as many questions.

    Attributes:
        notes: that can be scored. counted: of these, how many were tokenised; the other figures follow from them.
        flawed, truncated: notes that cannot be scored, and notes that are not read to their end.
        concepts: questions a note. question_tokens: of all of these together.
        note_tokens: of each note counted, with the words around it.
        readings: adapters that read a note, where the scores of several are averaged; the mean over the notes.
        by_head: a concept head answers, so that questions have no tokens.
    """

    notes: int
    counted: int
    flawed: int
    truncated: int
    concepts: int
    question_tokens: int
    note_tokens: Sequence[int]
    readings: float = 1.0
    by_head: bool = False

    @property
    def computed(self) -> float:
        """Tokens that go through the model: each note once an adapter, each question once a note."""
        return self.readings * self.notes * (fmean(self.note_tokens) + self.question_tokens)

    @property
    def reused(self) -> float:
        """Tokens that one prompt a question would compute besides."""
        return self.readings * self.notes * fmean(self.note_tokens) * (self.concepts - 1)

    @property
    def times_fewer(self) -> float:
        """Tokens of one prompt a question, over those computed."""
        return (self.computed + self.reused) / self.computed

    @property
    def margin(self) -> float:
        """Half the 95 % interval of `computed`, as a share of it; 0 where every note was counted."""
        if self.counted == self.notes:
            return 0.0
        return self.readings * self.notes * 1.96 * stdev(self.note_tokens) / self.counted**0.5 / self.computed

    def asking(self, questions: int) -> TokenCount:
        """The same with fewer questions a note, of the mean length: what a selection asks is not known beforehand."""
        questions = min(questions, self.concepts)
        tokens = round(self.question_tokens * questions / self.concepts)
        return replace(self, concepts=questions, question_tokens=tokens)

    def flops(self, shape: ModelShape) -> float:
        """Floating-point operations of the run."""
        return (
            self.readings
            * self.notes
            * fmean(
                scoring_flops(shape, tokens, self.question_tokens)
                + (head_flops(shape, tokens, self.concepts) if self.by_head else 0)
                for tokens in self.note_tokens
            )
        )


@dataclass(frozen=True)
class Estimate:
    """How long one device takes; several share it evenly.

    Attributes:
        seconds: of the device, without loading the model. cost: in the currency of the price, or None.
        source: where the speed comes from.
    """

    device: str
    seconds: float
    cost: float | None
    source: str


def count_tokens(scoring: Scoring, sample: int = SAMPLE, seed: int = 0) -> TokenCount:
    """Tokenises the questions, and the notes or `sample` of them.

    Raises:
        InputError: the tokenizer is not there, the prompt's answers are no single tokens in it, or no note can be
            scored.
    """
    spec = next(iter(scoring.specs.values()))
    tokenizer, positions = load_tokenizer(spec.model)
    member = members_of(spec.adapter)[0] if spec.adapter else None
    learned = QuestionTokens.load(member) if member else None
    head = ConceptHead.load(member) if member else None
    asked = head.rows if head else learned.ids(len(tokenizer)) if learned else None
    longest = min(spec.options.get("max_length") or positions, positions)
    tokens = TokenizedPrompt(scoring.prompt, tokenizer, longest, spec.options["note_text"], asked)
    questions = [len(tokens.encode_concept(concept)) for concept in scoring.concepts.concepts]
    notes = [note for group in scoring.notes.values() for note in group]
    sound = [note for note in notes if not flaw(note.text)]
    if not sound:
        raise InputError(f"none of the {len(notes)} notes can be scored")
    counted = _sample(sound, sample, seed)
    encoded = [tokens.encode_note(note, max(questions)) for note in counted]
    return TokenCount(
        notes=len(sound),
        counted=len(counted),
        flawed=len(notes) - len(sound),
        truncated=round(len(sound) * fmean(note.truncated is not None for note in encoded)),
        concepts=len(questions),
        question_tokens=0 if head else sum(questions),
        note_tokens=[len(note.ids) for note in encoded],
        readings=fmean(scoring.specs[name].readings for name, group in scoring.notes.items() for _ in group),
        by_head=head is not None,
    )


def estimate_hours(count: TokenCount, model: str, price_per_hour: float | None = None) -> list[Estimate]:
    """This machine, whose speed is measured for two seconds, and the cards of `concept_icd.doctor.cost_model`.

    Raises:
        InputError: the model's size is not known on this machine.
    """
    flops, device = PACKED_OVER_PLAIN * count.flops(shape_of(model)), find_device()
    speeds: Mapping[str, Speed] = {device.name: measured_speed(device)} | {
        card.title: card.speed for card in CARDS.values()
    }
    price = None if price_per_hour is None else price_per_hour / 3600
    return [
        Estimate(name, flops / speed.flops, None if price is None else price * flops / speed.flops, speed.source)
        for name, speed in speeds.items()
    ]


def _sample(notes: Sequence[Note], size: int, seed: int) -> Sequence[Note]:
    return notes if len(notes) <= size else random.Random(seed).sample(notes, size)
