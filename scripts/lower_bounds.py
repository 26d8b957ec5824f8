"""Prints the lowest versions that pyproject.toml allows, as constraints for pip, to test that they are low enough.

    python scripts/lower_bounds.py > build/lowest.txt
    make setup CONSTRAINTS=build/lowest.txt VENV=.venv-lowest

It reads the requirements of the core and of every extra. Of a package that several ask for, the highest bound counts.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def lowest(project: dict[str, Any], extras: list[str] | None = None) -> dict[str, Version]:
    """Package -> the lowest version that the core and these extras (None: all) allow.

    Raises:
        ValueError: a requirement names no lowest version.
    """
    optional = project.get("optional-dependencies", {})
    asked = [*project["dependencies"], *(line for name in extras or optional for line in optional[name])]
    found: dict[str, Version] = {}
    for line in asked:
        need = Requirement(line)
        name = canonicalize_name(need.name)
        if name == canonicalize_name(project["name"]):  # an extra that contains others
            continue
        bounds = [Version(part.version) for part in need.specifier if part.operator in (">=", "==", "~=")]
        if not bounds:
            raise ValueError(f"{line!r} names no lowest version")
        found[name] = max([*bounds, *([found[name]] if name in found else [])])
    return dict(sorted(found.items()))


if __name__ == "__main__":
    for name, version in lowest(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]).items():
        print(f"{name}=={version}")
