"""How the results' page and README.md print a figure: one rule, from the stored value, in one step.

A figure is rounded once, from the value in results/*.json, to the nearest number with that many digits, and to the even
one where the stored binary value lies exactly between two. No rounded figure is rounded again. README.md leaves out the
0 before the point.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def figure(value: float, digits: int = 3, sign: str = "") -> str:
    """ "0.862"; with sign "+", "+0.016"."""
    return f"{value:{sign}.{digits}f}"


def band(width: Mapping[str, Any] | None, digits: int = 3, sign: str = "") -> str:
    """ " [0.845, 0.877]", or nothing where there is no interval."""
    if width is None or width.get("low") is None:
        return ""
    return f" [{figure(width['low'], digits, sign)}, {figure(width['high'], digits, sign)}]"


def short(text: str) -> str:
    """As README.md prints it: ".862" for "0.862"."""
    return re.sub(r"(?<!\d)0\.", ".", text)
