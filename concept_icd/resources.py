"""Where the files that travel with the package are: prompts, ontology tables, configs, the tiny model.

In a wheel they lie in `concept_icd/_data/<name>`; in a checkout (also when installed in editable mode) they
are the top-level folders `<name>` beside the package.
"""

from __future__ import annotations

from pathlib import Path

from concept_icd.errors import InputError

_PACKAGE = Path(__file__).resolve().parent


def resource(name: str) -> Path:
    """The path of a shipped file or folder, e.g. `resource("prompts/concept.yaml")`.

    Raises:
        InputError: the installation lacks it.
    """
    for root in (_PACKAGE / "_data", _PACKAGE.parent):
        if (root / name).exists():
            return root / name
    raise InputError(f"{name} is missing from this installation of concept-icd; reinstall it")
