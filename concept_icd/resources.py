"""Where the files that travel with the package are: prompts, ontology tables, configs, the tiny model.

In a wheel they lie in `concept_icd/_data/<name>`; in a checkout (also when installed in editable mode) they
are the top-level folders `<name>` beside the package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from concept_icd.errors import InputError, did_you_mean

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


def shipped_yaml(folder: str, name: str) -> Path:
    """The path of a shipped YAML file of `folder` by its bare name, e.g. `shipped_yaml("configs", "mimic3-50")`.

    Raises:
        InputError: there is none of that name; says which there are.
    """
    names = sorted(file.stem for file in resource(folder).glob("*.yaml"))
    if name not in names:
        kind = folder.split("/")[0].removesuffix("s")
        raise InputError(
            f"there is no {kind} {name!r}{did_you_mean(name, names)}; name one of {', '.join(names)}, or a YAML file"
        )
    return resource(folder) / f"{name}.yaml"


def read_yaml(folder: str, name_or_path: str | Path) -> tuple[Path, Any]:
    """A YAML file by its path, or a shipped one of `folder` ("prompts", "configs") by its bare name.

    Returns:
        The path that was read, and what it holds.

    Raises:
        InputError: no such file, or it is not YAML.
    """
    import yaml

    path, kind = Path(name_or_path), folder.split("/")[0].removesuffix("s")
    if path.suffix not in (".yaml", ".yml"):
        path = shipped_yaml(folder, str(name_or_path))
    try:
        return path, yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the {kind} {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InputError(f"the {kind} {path} is not valid YAML: {' '.join(str(error).split())}") from error
