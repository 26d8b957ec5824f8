"""An expert's numbers as two files: NAME.json, and NAME.safetensors, whose checksum the first holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from concept_icd.artifacts import read_json, require_finite, sha256, write_json
from concept_icd.errors import InputError
from concept_icd.outputs import writing


def save_arrays(folder: Path, name: str, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes both into an existing folder."""
    from safetensors.numpy import save_file

    path = folder / f"{name}.safetensors"
    with writing(path):
        save_file(dict(arrays), path)
    write_json(folder / f"{name}.json", {**record, "sha256": sha256(path)})


@contextmanager
def loaded_arrays(folder: Path, name: str) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """What `save_arrays` wrote; what is made of it in the block may raise as damaged data do.

    Raises:
        InputError: a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    record, path = read_json(folder / f"{name}.json"), folder / f"{name}.safetensors"
    try:
        if record["sha256"] != sha256(path):
            raise KeyError(path.name)
        arrays = load_file(path)
        require_finite(path, arrays)
        yield record, arrays
    except (KeyError, TypeError, ValueError, IndexError, OSError, SafetensorError) as error:
        told = f"{folder}: {name}.json or {path.name} is missing or damaged: fit the coder again"
        raise InputError(told) from error
