"""Names that verbs and options had before: they go on working, and say on stderr what they are called now."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from concept_icd.progress import say

#: The first words of a command -> what they are called now.
VERBS = {
    ("code-stays",): ("medications", "code"),
    ("fit-descent",): ("fit-selection",),
    ("prepare", "medications"): ("medications", "prepare"),
    ("prepare", "synthetic"): ("synth", "notes"),
    ("study", "medications"): ("medications", "study"),
    ("study",): ("medications", "study"),
}


def new_words(words: Sequence[str]) -> list[str]:
    """The words of a command, its verb by its present name.

    >>> new_words(["fit-selection", "--out", "selection.json"])
    ['fit-selection', '--out', 'selection.json']
    """
    for old, new in VERBS.items():
        if tuple(words[: len(old)]) == old:
            _say(" ".join(old), " ".join(new))
            return [*new, *words[len(old) :]]
    return list(words)


class OldOption(argparse.Action):
    """An option's name of before, which the help does not show; `new` is what it is called now."""

    def __init__(self, *args: Any, new: str, **options: Any) -> None:
        super().__init__(*args, **{"default": argparse.SUPPRESS, "help": argparse.SUPPRESS, **options})
        self.new = new

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        """Stores the values where the option of today has them."""
        _say(self.option_strings[0], self.new)
        setattr(namespace, self.dest, values)


def _say(old: str, new: str) -> None:
    say(f"`{old}` is now called `{new}`")
