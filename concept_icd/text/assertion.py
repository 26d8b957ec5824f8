"""The cues by which a clause denies or doubts what it says: the only list of them.

They are general English, after NegEx (Chapman et al. 2001, "A simple algorithm for identifying negated findings and
diseases in discharge summaries"): a cue of denial reaches to the end of its clause, a cue of doubt the whole clause.
None of them is about a code. Where a clause ends, `sentences` says.
"""

from __future__ import annotations

import re
from typing import Literal

#: Whether something is affirmed (+), doubted (?) or denied (-).
Status = Literal["+", "?", "-"]

_DENIAL = re.compile(
    r"\b(?:no|not|without|denies|denied|deny|never|nor|neither|absent|absence of|negative for|free of|rather than|"
    r"ruled out|resolved|resolution of)\b",
    re.IGNORECASE,
)
_DOUBT = re.compile(
    r"\b(?:possibl[ey]|probabl[ey]|likely|may|might|could|cannot|suspect\w*|suggest\w*|question\w*|concern\w*|"
    r"appears?|versus|vs|or|consistent with|compatible with|evaluate|rule out|r/o)\b",
    re.IGNORECASE,
)


def denied_from(clause: str) -> int | None:
    """Where in a clause a denial begins, which reaches to its end; None without a cue.

    >>> denied_from("Cough without fever")
    6
    """
    cue = _DENIAL.search(clause)
    return cue.start() if cue else None


def is_doubted(clause: str) -> bool:
    """Whether a clause holds a cue of doubt.

    >>> is_doubted("Possible pneumonia"), is_doubted("Pneumonia")
    (True, False)
    """
    return bool(_DOUBT.search(clause))
