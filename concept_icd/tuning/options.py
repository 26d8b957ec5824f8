"""Options of a training run from one YAML file and command-line flags, whatever is trained.

A flag wins over the file, one parser checks the values of both, and an unknown name is told with the nearest known one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import Any, NoReturn

from transformers import HfArgumentParser

from concept_icd.errors import InputError, did_you_mean
from concept_icd.resources import read_yaml

#: What a file that may be somebody else's cannot say.
_COMMAND_LINE_ALONE = ("i_may_publish",)


def parse_into(classes: Sequence[type], argv: Sequence[str], configs: str) -> Any:
    """An instance of each of `classes` (dataclasses), from `--config FILE.yaml` and flags.

    Args:
        configs: the folder of shipped configs, which go by their bare names.

    Raises:
        InputError: the file is missing or not YAML, a key is unknown or has a wrong value, or a required one is
            missing.
    """
    known = names_of(classes)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    first.error = lambda _: _refuse("--config needs the name of a YAML file")  # type: ignore[assignment, method-assign]
    given, flags = first.parse_known_args(list(argv))
    for word in flags:
        name = word.split("=")[0].removeprefix("--").replace("-", "_").removeprefix("no_")
        if word.startswith("--") and name not in {*known, "help"}:
            raise InputError(f"there is no option {word.split('=')[0]}{did_you_mean(name, known)}")
    parser = HfArgumentParser(classes, allow_abbrev=False)  # type: ignore[arg-type]
    parser.error = _refuse  # argparse would print the usage of 200 options first
    try:
        return parser.parse_args_into_dataclasses([*_flags_of(given.config, configs, known), *flags])
    except (TypeError, ValueError) as error:
        raise InputError(f"the options do not fit together: {' '.join(str(error).split())}") from error


def make_from(classes: Sequence[type], values: dict[str, Any]) -> Any:
    """The same from keywords, for Python.

    Raises:
        InputError: an unknown option.
    """
    known = names_of(classes)
    parts: dict[type, dict[str, Any]] = {cls: {} for cls in classes}
    for key, value in values.items():
        if key not in known:
            raise InputError(f"there is no option {key!r}{did_you_mean(key, known)}")
        parts[known[key]][key] = value
    return tuple(cls(**parts[cls]) for cls in classes)


def names_of(classes: Sequence[type]) -> dict[str, type]:
    """Name of each option -> the class that has it."""
    return {field.name: cls for cls in classes for field in dataclasses.fields(cls)}


def _flags_of(config: str | None, configs: str, known: dict[str, type]) -> list[str]:
    """A config file as flags."""
    if config is None:
        return []
    path, content = read_yaml(configs, config)
    if not isinstance(content, dict):
        raise InputError(f"the config {path} must be a mapping of options to values")
    flags: list[str] = []
    for key, value in content.items():
        if key not in known:
            raise InputError(f"the config {path} has an unknown key {key!r}{did_you_mean(str(key), known)}")
        if key in _COMMAND_LINE_ALONE:
            raise InputError(f"the config {path} has the key {key!r}, which only you can give, on the command line")
        if value is not None:
            words = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
            flags += [f"--{key}", *map(str, words)]
    return flags


def _refuse(message: str) -> NoReturn:
    raise InputError(message)
