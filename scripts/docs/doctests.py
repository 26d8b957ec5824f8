"""An extension of Griffe: doctests in docstrings become blocks of code on the pages."""

from __future__ import annotations

import re
from typing import Any

import griffe

#: From a line with a prompt to the next empty line.
DOCTEST = re.compile(r"^( *)>>> .*(?:\n(?! *$).*)*", re.MULTILINE)


class Doctests(griffe.Extension):
    """Puts every doctest of a docstring into a fence."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called once for each class, function and module."""
        if obj.docstring is not None:
            obj.docstring.value = DOCTEST.sub(r"\1```pycon\n\g<0>\n\1```", obj.docstring.value)
