"""The command blocks that the pages of the documentation print, in the order of the pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


@dataclass(frozen=True)
class Block:
    """One fenced block and the heading that it stands under (empty: the page's first lines)."""

    heading: str
    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        """Its commands, one a line, continued lines joined, without comments."""
        joined = re.sub(r" *\\\n *", " ", self.text).splitlines()
        return [line for line in (re.sub(r"\s+#.*$|^#.*$", "", line).strip() for line in joined) if line]


def blocks(page: Path, language: str) -> list[Block]:
    """The fenced blocks of a language on a page."""
    found, heading = [], ""
    pattern = r"^#{2,} +([^\n]*)$|^```(\w*)\n(.*?)^```$"
    for match in re.finditer(pattern, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        if match[1]:
            heading = match[1]
        elif match[2] == language:
            found.append(Block(heading, match[2], match[3]))
    return found
