"""The command blocks that README.md and the pages of docs/ print, in the order of a page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = "README.md"
#: Every page that is written by hand, by its path in the checkout.
PAGES = (README, *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")))


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        """Its commands, one a line, continued lines joined, without comments."""
        joined = re.sub(r" *\\\n *", " ", self.text).splitlines()
        return [line for line in (re.sub(r"\s+#.*$|^#.*$", "", line).strip() for line in joined) if line]


def blocks(page: str, language: str) -> list[Block]:
    """The fenced blocks of a language on a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(page, name, content) for name, content in found if name == language]
