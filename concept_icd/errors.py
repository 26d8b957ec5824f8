"""The errors that are the user's to mend; everything else is a bug and keeps its traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class InputError(Exception):
    """Bad input, told in one sentence: which file, which row or note, what is wrong, what mends it.

    The command line prints the sentence and exits with code 2. The sentence never holds note text.
    """


class MissingExtraError(InputError):
    """An optional dependency is not installed; the sentence names the pip command."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: {pip_command(extra)}")


def pip_command(extra: str) -> str:
    """What installs an extra: from the checkout that this is, or from the package's name."""
    checkout = Path(__file__).resolve().parent.parent
    return f"pip install '{checkout if (checkout / 'pyproject.toml').is_file() else 'concept-icd'}[{extra}]'"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the known word nearest to `word`, or an empty string."""
    nearest = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""
