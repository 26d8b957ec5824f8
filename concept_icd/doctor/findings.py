"""One thing that the doctor has seen, and what mends it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

#: "missing" is needed for the task and absent; a "warning" costs time or comparability; a "note" is a fact.
State = Literal["ok", "missing", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """A line of the report: the section it stands in, how it is, in words, and the command that mends it."""

    section: str
    state: State
    text: str
    mend: str | None = None


def all_there(findings: Iterable[Finding]) -> bool:
    """Whether nothing that is needed is missing."""
    return all(finding.state != "missing" for finding in findings)


def readable_bytes(count: float) -> str:
    """Bytes as people read them.

    >>> readable_bytes(5.6e9)
    '5.6 GB'
    >>> readable_bytes(850e6)
    '850 MB'
    """
    if count >= 1e12:
        return f"{count / 1e12:.1f} TB"
    if count >= 10e9:
        return f"{count / 1e9:.0f} GB"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def readable_seconds(seconds: float) -> str:
    """A duration as people read it, rounded as an estimate deserves.

    >>> [readable_seconds(s) for s in (0.3, 40, 900, 9000, 400_000, 1e7)]
    ['under a second', '40 s', '15 min', '2.5 h', '111 h', '116 days']
    """
    if seconds < 1:
        return "under a second"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    if seconds < 36_000:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 3600:.0f} h" if seconds < 3_600_000 else f"{seconds / 86_400:,.0f} days"


def readable_count(count: float) -> str:
    """A large number in words.

    >>> [readable_count(n) for n in (2_400_000, 8.03e9)]
    ['2.4 million', '8.0 billion']
    """
    return f"{count / 1e9:.1f} billion" if count >= 1e9 else f"{count / 1e6:.1f} million"
