"""How records print: in one line, and without text."""

from __future__ import annotations

from typing import Any

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
