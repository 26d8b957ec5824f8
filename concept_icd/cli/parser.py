"""The command's parser: argparse's, which also names the nearest word for a mistyped verb, option or choice."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from concept_icd.errors import did_you_mean


class Parser(argparse.ArgumentParser):
    """Says `did you mean` where a word is not known. Parsers of verbs are of this class, too."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:  # type: ignore[override]
        """As argparse's; where options are unknown, `unknown_of` is the parser of the verb that was asked."""
        found, others = super().parse_known_args(args, namespace)
        if others and not hasattr(found, "unknown_of"):
            found.unknown_of = self
        return found, others

    def refuse(self, others: Sequence[str]) -> NoReturn:
        """Ends with exit code 2 over words that the parser does not know, with the nearest option of each."""
        words = (word.partition("=")[0] for word in others)
        near = [did_you_mean(word, self._option_string_actions) if word.startswith("-") else "" for word in words]
        self.error("unrecognized arguments: " + " ".join(word + hint for word, hint in zip(others, near, strict=True)))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += did_you_mean(str(value), map(str, action.choices or ()))
            raise
