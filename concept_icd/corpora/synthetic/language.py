"""Sentence templates and the dice that fill them, the same on every platform and Python version.

In a template <a|b> is a choice, {12..90} a number, {name} a slot. Templates know nothing of medicine.
"""

from __future__ import annotations

import bisect
import itertools
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
_PART = re.compile(r"<([^<>|]*\|[^<>]*)>|\{([^{}]+)\}")
_NUMBER = re.compile(r"(\d+(?:\.(\d+))?)\.\.(\d+(?:\.\d+)?)")


class Dice:
    """Random draws from a seed. All come from `random.random()`, whose sequence Python promises never to change."""

    def __init__(self, seed: str) -> None:
        self.roll = random.Random(seed).random

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.roll() < probability

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, each as likely."""
        return items[int(self.roll() * len(items))]

    def pick_weighted(self, weights: Mapping[T, float]) -> T:
        """One of the keys, as likely as its weight."""
        sums = list(itertools.accumulate(weights.values()))
        return list(weights)[bisect.bisect(sums, self.roll() * sums[-1])]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in any order."""
        pool = list(items)
        return [pool.pop(int(self.roll() * len(pool))) for _ in range(len(pool))]

    def some(self, items: Sequence[T], most: int) -> list[T]:
        """Up to `most` of the items, without repeats."""
        return self.shuffled(items)[: int(self.roll() * (most + 1))]


@dataclass(frozen=True)
class Slot:
    """A word that the caller fills in."""

    name: str


@dataclass(frozen=True)
class Number:
    """A number drawn evenly from low to high (both included), with so many decimals."""

    low: float
    high: float
    decimals: int


@dataclass(frozen=True)
class Template:
    """Fixed text, slots, numbers and choices between templates, in a row."""

    parts: tuple[str | Slot | Number | tuple[Template, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Reads the notation of the module's docstring."""
        parts: list[str | Slot | Number | tuple[Template, ...]] = []
        end = 0
        for match in _PART.finditer(text):
            parts.append(text[end : match.start()])
            end = match.end()
            choice, word = match.groups()
            if choice is not None:
                parts.append(tuple(cls.parse(option) for option in choice.split("|")))
            elif number := _NUMBER.fullmatch(word):
                parts.append(Number(float(number[1]), float(number[3]), len(number[2] or "")))
            else:
                parts.append(Slot(word))
        parts.append(text[end:])
        return cls(tuple(part for part in parts if part != ""))

    def fill(self, dice: Dice, slots: Mapping[str, str]) -> str:
        """The text with every choice drawn. KeyError for a slot that has no word."""
        words = []
        for part in self.parts:
            if isinstance(part, str):
                words.append(part)
            elif isinstance(part, Slot):
                words.append(slots[part.name])
            elif isinstance(part, Number):
                step = 10.0**-part.decimals
                count = round((part.high - part.low) / step) + 1
                words.append(f"{part.low + int(dice.roll() * count) * step:.{part.decimals}f}")
            else:
                words.append(dice.pick(part).fill(dice, slots))
        return "".join(words)


def sentence(text: str) -> str:
    """With a capital at the start and a full stop at the end."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
