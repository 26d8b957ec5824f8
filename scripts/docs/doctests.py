"""An extension of Griffe: doctests in docstrings become blocks of code on the pages."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

#: From a line with a prompt to the next empty line.
DOCTEST = re.compile(r"^( *)>>> .*(?:\n(?! *$).*)*", re.MULTILINE)


class Doctests(griffe.Extension):
    """Puts every doctest of a docstring into a fence."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called once for each class, function and module."""
        if obj.docstring is not None:
            obj.docstring.value = DOCTEST.sub(_fenced, obj.docstring.value)


def _fenced(found: re.Match[str]) -> str:
    """The block without what indents all of it; within a section (`Args:`), it stays where it is."""
    block, indent = textwrap.dedent(found[0]), found[1] if found.string[: found.start()].rstrip().endswith(":") else ""
    return textwrap.indent(f"```pycon\n{block}\n```", indent)
